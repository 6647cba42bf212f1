"""The charts of the pages are made from the tables in results/."""

from __future__ import annotations

import csv
import runpy

import pytest

from documents import ROOT

CHARTS = runpy.run_path(str(ROOT / "docs" / "charts.py"))


def table(name: str) -> list[dict[str, str]]:
    with (ROOT / "results" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", CHARTS["CHARTS"])
def test_a_chart_is_made_from_its_table(name: str) -> None:
    written = (ROOT / "docs" / f"{name}.svg").read_text(encoding="utf-8")
    assert written == CHARTS["chart"](name), "run: python docs/charts.py"


def test_every_series_has_a_line() -> None:
    kinds = {(row["kind"], row["method"]) for row in table("corruption") if row["kind"] != "clean"}
    works = {(row["against"], row["work"]) for row in table("growth")}
    assert CHARTS["chart"]("corruption").count("<polyline") == len(kinds)
    assert CHARTS["chart"]("growth").count("<polyline") == len(works)
    gains = [
        row for row in table("voc-when-448") if row["by"] == "size" and row["against"].endswith("-uniform")
    ]
    assert CHARTS["chart"]("voc-when-448").count("<circle") == len(gains) == 36


def test_the_kept_share() -> None:
    rows = table("corruption")
    clean = {row["method"]: float(row["mAP"]) for row in rows if row["kind"] == "clean"}
    for row in rows:
        assert abs(float(row["kept"]) - float(row["mAP"]) / clean[row["method"]]) < 2e-4


def test_positions_by_hand() -> None:
    """A point at (0.1, 0.75) in a plot of 100 x 80 with its origin at 20, 34."""
    parts = CHARTS["panel"]("title", 20, (100, 80), [(0.5, "mid")], [(0.25, "low")], [[(0.1, 0.75), (1, 0)]])
    assert "".join(parts) == (
        '<text x="20.0" y="24.0" font-weight="600">title</text>'
        '<line x1="20" x2="120" y1="94.0" y2="94.0" stroke="#ddd"/>'
        '<text x="14.0" y="98.0" text-anchor="end">low</text>'
        '<text x="70.0" y="130.0" text-anchor="middle">mid</text>'
        '<polyline points="30.0,54.0 120.0,114.0" fill="none" stroke="#b45309" stroke-width="2"/>'
    )
