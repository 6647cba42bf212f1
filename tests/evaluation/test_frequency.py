"""mAP of head, medium and tail: from a train split counted by hand to results, report and command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import labelwise as lw
import tiny_runs
from labelwise.cli import app
from labelwise.errors import LabelwiseError
from labelwise.evaluation.frequency import Frequencies, frequencies_of
from labelwise.reports import finish_report
from labelwise.runs import Run
from labelwise.runs.config import make_config
from labelwise.training.fit import train


def test_bounds_belong_to_the_medium_group() -> None:
    counts = np.array([101, 100, 50, 20, 19, 0])
    assert Frequencies(counts).groups() == ("head", "medium", "medium", "medium", "tail", "tail")
    assert Frequencies(counts, (60, 60)).groups() == ("head", "head", "tail", "tail", "tail", "tail")


def test_a_group_is_the_mean_of_its_labels_that_have_an_ap() -> None:
    groups = Frequencies(np.array([500, 300, 30, 2, 1])).figures(
        {"a": {"AP": 0.9}, "b": {"AP": 0.6}, "c": {"AP": None}, "d": {"AP": 0.2}, "e": {"AP": None}},
        {"c": "no known positive", "e": "nothing known"},
    )
    assert groups["head"] == {"labels": 2.0, "mAP": pytest.approx(0.75), "labels_without_AP": {}}
    assert groups["medium"] == {"labels": 1.0, "mAP": None, "labels_without_AP": {"c": "no known positive"}}
    assert groups["tail"] == {"labels": 2.0, "mAP": 0.2, "labels_without_AP": {"e": "nothing known"}}
    assert "tail" not in Frequencies(np.array([500])).figures({"a": {"AP": 0.9}}, {})


def test_counts_are_of_known_training_cells(table: Path, tmp_path: Path) -> None:
    settings = tiny_runs.settings(f"parquet:{table}", epochs=1, frequency_bounds=[8, 12])
    settings["data"] |= {"known_proportion": 0.7, "untrained_labels": True}
    run = train(make_config(settings), tmp_path / "run", quiet=True)
    results = json.loads((run.path / "results.json").read_text())
    rows = lw.read(f"parquet:{table}").split("train")
    known = np.load(run.path / "known.npz")["known"].astype(bool)
    counts = {
        name: int(sum(known[i, j] and rows.values[i, j] == 1 for i in range(len(rows))))
        for j, name in enumerate(rows.labels.names)
    }
    assert results["training"]["train_positives"] == counts
    assert len(set(counts.values())) > 1
    assert not known.all()
    test = results["splits"]["test"]
    for group, named in test["metrics"]["frequency"].items():
        inside = {"head": lambda n: n > 12, "medium": lambda n: 8 <= n <= 12, "tail": lambda n: n < 8}[group]
        own = [name for name, n in counts.items() if inside(n)]
        scored = [test["per_label"][name]["AP"] for name in own if test["per_label"][name]["AP"] is not None]
        assert named["labels"] == len(own)
        assert named["mAP"] == (pytest.approx(np.mean(scored)) if scored else None)
    assert sum(g["labels"] for g in test["metrics"]["frequency"].values()) == len(counts)
    finish_report(run.path)
    page = (run.path / "report.html").read_text()
    assert "how many training images show the label" in page
    assert "8 to 12" in page

    outcome = CliRunner().invoke(app, ["evaluate", str(run.path), "--json", "--workers", "0"])
    evaluated = json.loads(outcome.stdout)
    assert evaluated["metrics"]["frequency"].keys() == test["metrics"]["frequency"].keys()
    for group, row in evaluated["metrics"]["frequency"].items():
        assert row["mAP"] == pytest.approx(test["metrics"]["frequency"][group]["mAP"], abs=0.02)
    shown = CliRunner().invoke(app, ["evaluate", str(run.path), "--workers", "0"])
    assert "mAP by frequency in training:" in shown.stdout


def test_a_run_without_counts_has_no_such_figures(tmp_path: Path) -> None:
    assert frequencies_of(tmp_path, ("a",), (20, 100)) is None
    (tmp_path / "results.json").write_text(json.dumps({"training": {"images": 3}}))
    assert frequencies_of(tmp_path, ("a",), (20, 100)) is None
    (tmp_path / "results.json").write_text(json.dumps({"training": {"train_positives": {"a": 7}}}))
    assert frequencies_of(tmp_path, ("a", "b"), (20, 100)) is None
    assert frequencies_of(tmp_path, ("a",), (20, 100)).counts.tolist() == [7]  # type: ignore[union-attr]


@pytest.mark.parametrize("bounds", [[100, 20], [0, 20], [20]])
def test_bounds_that_do_not_rise(bounds: list[int]) -> None:
    with pytest.raises(LabelwiseError, match="frequency_bounds"):
        make_config({"data": {"source": "x"}, "frequency_bounds": bounds})


def test_bounds_are_kept_with_the_run(run_folder: Path) -> None:
    assert Run.open(run_folder).config.frequency_bounds == (20, 100)
