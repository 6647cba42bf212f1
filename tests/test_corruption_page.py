"""The picture of corruption figures is drawn from the table that is kept."""

from __future__ import annotations

import csv
import runpy

from documents import ROOT


def test_the_picture_is_drawn_from_the_table() -> None:
    with (ROOT / "results" / "corruption.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    clean = {row["method"]: float(row["mAP"]) for row in rows if row["kind"] == "clean"}
    for row in rows:
        assert abs(float(row["kept"]) - float(row["mAP"]) / clean[row["method"]]) < 2e-4
    drawn = runpy.run_path(str(ROOT / "docs" / "corruption.py"))["draw"](rows)
    written = (ROOT / "docs" / "corruption.svg").read_text(encoding="utf-8")
    assert written == drawn, "run: python docs/corruption.py"
    assert written.count("<polyline") == 2 * len({row["kind"] for row in rows} - {"clean"})
