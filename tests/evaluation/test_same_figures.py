"""The line of training, `evaluate`, results.json and the report agree to the digit and name their threshold rule."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from labelwise.evaluation.figures import decimals
from labelwise.reports import write_report
from labelwise.reports.record import read_run
from labelwise.reports.sections import percent
from tiny_runs import TINY, command


@pytest.fixture(scope="module")
def trained(base: Path, table: Path) -> tuple[Path, str]:
    """A run and what its training printed."""
    out = base / "same-figures"
    done = command("train", "--data", f"parquet:{table}", "--out", out, *TINY)
    assert done.code == 0, done.err
    return out, done.err


def figures(text: str) -> dict[str, str]:
    """mAP, and CF1 and OF1 of each rule, from a printed line."""
    line = " ".join(text.split())
    found = {"mAP": re.search(r"mAP (\S+)", line)[1]}  # type: ignore[index]
    for rule in ("at 0.5", "by the run's decisions", "by the run's decisions, cross-fitted"):
        if match := re.search(rf"{rule}: CF1 (\S+), OF1 (\S+)", line):
            found[rule] = f"{match[1]} {match[2]}"
    return found


@pytest.mark.parametrize("split", ["val", "test"])
def test_every_place_shows_the_same(trained: tuple[Path, str], split: str) -> None:
    run, printed = trained
    line = next(line for line in printed.splitlines() if line.startswith(f"{split}: mAP"))
    entry = json.loads((run / "results.json").read_text())["splits"][split]
    m, rule = entry["metrics"], "by the run's decisions" + (", cross-fitted" if split == "val" else "")
    expected = {
        "mAP": decimals(m["mAP"]),
        "at 0.5": f"{decimals(m['CF1'])} {decimals(m['OF1'])}",
        rule: f"{decimals(m['tuned']['CF1'])} {decimals(m['tuned']['OF1'])}",
    }
    assert figures(line) == expected
    done = command("evaluate", run, "--split", split, "--workers", "0")
    assert figures(done.out[done.out.index("mAP") :]) == expected
    again = json.loads(command("evaluate", run, "--split", split, "--json", "--workers", "0").out)
    assert again["metrics"]["tuned"] == pytest.approx(m["tuned"], abs=5e-5)
    assert again["conditions"]["decisions_from"] == entry["conditions"]["decisions_from"]
    for name, row in entry["per_label"].items():
        for key in ("AP", "F1", "precision", "recall", "threshold"):
            assert decimals(again["per_label"][name][key], 3) == decimals(row[key], 3)
    if split == "val":
        best = [line for line in printed.splitlines() if line.endswith("s") and "  best  " in line][-1]
        assert f"val mAP {decimals(m['mAP'])}" in best


def test_the_report_of_a_run_without_test_is_cross_fitted_throughout(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    run = shutil.copytree(trained[0], tmp_path / "run")
    results = json.loads((run / "results.json").read_text())
    del results["splits"]["test"]
    (run / "results.json").write_text(json.dumps(results))
    record, m = read_run(run), results["splits"]["val"]["metrics"]
    scores = record.scores["val"]
    for j, name in enumerate(record.names):
        called, hit = scores.selected[:, j] & scores.known[:, j], scores.true[:, j] & scores.known[:, j]
        row = results["splits"]["val"]["per_label"][name]
        assert row["recall"] == pytest.approx((called & hit).sum() / hit.sum())
    page = write_report(run).read_text()
    assert f'{percent(m["tuned"]["CF1"])}<small>%</small></span><span class="what">CF1</span>' in page
    assert "a threshold per label: f1 on val of " in page
    assert "platt calibration, cross-fitted." in page
