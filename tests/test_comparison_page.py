"""The tables of the comparison and of the README are written from the measurements that are kept."""

from __future__ import annotations

import runpy
import statistics

import pytest

from documents import ROOT

TABLES = runpy.run_path(str(ROOT / "docs" / "tables.py"))
PAGES = [path.read_text(encoding="utf-8") for path in TABLES["PAGES"]]


@pytest.mark.parametrize("written", PAGES)
def test_a_page_holds_what_was_measured(written: str) -> None:
    assert TABLES["page"](written) == written, "run: python docs/tables.py"


def test_every_table_stands_somewhere_once() -> None:
    found = [name for written in PAGES for _, name, _ in TABLES["TABLE"].findall(written)]
    assert sorted(found) == sorted(TABLES["TABLES"])


def test_a_line_by_hand() -> None:
    runs = [row for row in TABLES["kept"]("voc-methods-448") if row["row"] == "dlfl"]
    (gap,) = (
        row
        for row in TABLES["kept"]("voc-methods-448-differences")
        if (row["row"], row["against"]) == ("dlfl", "dlfl-uniform")
    )
    values = [100 * float(row["mAP"]) for row in runs]
    (line,) = (
        line for line in TABLES["methods"]("voc-methods-448").splitlines() if line.startswith("| `dlfl` ")
    )
    cells = [cell.strip().replace("\u00a0", " ") for cell in line.strip("|").split("|")]
    assert cells[1:3] == [f"{sum(values) / 3:.2f} ± {statistics.stdev(values):.2f}", "3"]
    assert cells[3].strip("*").startswith(f"{100 * float(gap['difference']):+.1f} [")


def test_a_line_of_the_readme_by_hand() -> None:
    found = []
    for name in ("voc-methods", "voc-methods-448", "voc-finetuned"):
        values = [100 * float(row["mAP"]) for row in TABLES["kept"](name) if row["row"] == "ssgrl"]
        found.append(f"{sum(values) / 3:.2f}\u00a0±\u00a0{statistics.stdev(values):.2f}")
    found[2] = f"**{found[2]}**"  # the best of its column
    assert f"| `ssgrl` | {' | '.join(found)} |" in PAGES[-1].splitlines()


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"a": "0.5"}], "50.00"),
        ([{"a": "0.5"}, {"a": "0.52"}], "51.00 ± 1.41"),
        ([{"a": ""}, {"a": "0.25"}], "25.00"),
        ([{"a": ""}], ""),
    ],
)
def test_figures(rows: list[dict[str, str]], told: str) -> None:
    assert TABLES["figure"](rows, "a") == told


@pytest.mark.parametrize(
    ("mean", "low", "high", "verdict", "told"),
    [
        ("0.02", "0.01", "0.03", "higher", "**+2.0 [+1.0, +3.0]**"),
        ("0.02", "-0.01", "0.03", "within noise", "+2.0 [-1.0, +3.0]"),
        ("0.02", "0.01", "0.03", "within noise", "+2.0 [+1.0, +3.0]"),
        ("0.02", "0.0001", "0.03", "higher", "**+2.0 [+0.0, +3.0]**"),
        ("0.02", "-0.0001", "0.03", "within noise", "+2.0 [+0.0, +3.0]"),
        ("-0.02", "-0.03", "-0.0001", "lower", "**-2.0 [-3.0, -0.0]**"),
    ],
)
def test_only_what_is_more_than_noise_is_bold(
    mean: str, low: str, high: str, verdict: str, told: str
) -> None:
    gap = {"difference": mean, "low": low, "high": high, "verdict": verdict}
    assert TABLES["interval"](gap) == told
