"""labelwise tune: stored decisions, printed figures and refused arguments."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from labelwise.evaluation import StoredScores
from labelwise.metrics import functional as F
from labelwise.training import Run
from tiny_runs import command


@pytest.fixture
def own(tmp_path: Path, run_folder: Path) -> Path:
    """A copy of the run that the test may change."""
    return shutil.copytree(run_folder, tmp_path / "run")


def test_decisions_are_stored_and_figures_follow(own: Path) -> None:
    before = json.loads((own / "results.json").read_text())["splits"]
    done = command("tune", own, "--objective", "recall=0.9", "--calibration", "temperature", "--workers", "0")
    assert done.code == 0, done.err
    assert "recall=0.9 on val of parquet:" in " ".join(done.out.split())
    assert "macro F1" in done.out
    run = Run.open(own)
    decisions = run.decisions()
    assert (decisions.bias == 0).all()
    assert (decisions.scale != 1).any()
    after = json.loads((own / "results.json").read_text())["splits"]
    assert after["test"]["metrics"]["mAP"] == before["test"]["metrics"]["mAP"]
    assert after["test"]["metrics"]["pointing"] == before["test"]["metrics"]["pointing"]
    assert after["test"]["conditions"]["decisions_from"] == decisions.source
    stored = StoredScores.read(own / "scores" / "test.npz")
    called = decisions.select(decisions.probabilities(stored.logits)).astype(float)
    expected = F.threshold_metrics(called, (stored.values >= 0.5).astype(int), stored.known)
    assert after["test"]["metrics"]["tuned"] == pytest.approx(expected)
    rows = after["test"]["per_label"].values()
    assert [row["threshold"] for row in rows] == decisions.thresholds.tolist()


def test_val_figures_are_cross_fitted(own: Path) -> None:
    done = command("tune", own, "--json", "--workers", "0")
    record = json.loads(done.out)
    stored = json.loads((own / "results.json").read_text())["splits"]["val"]
    assert record["metrics"]["tuned"] == pytest.approx(stored["metrics"]["tuned"])
    run, scores = Run.open(own), StoredScores.read(own / "scores" / "val.npz")
    d = run.decisions()
    y = (scores.values >= 0.5).astype(int)
    in_sample = F.threshold_metrics(d.select(d.probabilities(scores.logits)).astype(float), y, scores.known)
    assert record["metrics"]["tuned"]["CF1_macro"] < in_sample["CF1_macro"]
    keys = {"thresholds", "calibration", "rules", "reasons", "protocol", "metrics", "per_label"}
    assert set(record) >= keys
    assert set(record["reasons"]) == set(run.labels.names)


def test_labels_with_few_positives_are_named(own: Path) -> None:
    scores = StoredScores.read(own / "scores" / "val.npz")
    few = [str(j) for j in np.flatnonzero(((scores.values >= 0.5) & scores.known).sum(0) < 2)]
    done = command("tune", own, "--workers", "0")
    warning = [line for line in done.err.splitlines() if line.startswith("warning: fewer than 2 known")]
    assert len(warning) == bool(few)
    assert not few or warning[0].endswith(": " + ", ".join(few))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "test"], "--split test: what is fitted on test looks better there than it is"),
        (["--split", "val+test"], "--split val+test: what is fitted on test"),
        (["--split", "train"], "a model is surer of the images that it was trained on"),
        (
            ["--objective", "f2"],
            "objective 'f2'; expected f1, precision=0.9, recall=0.8, cost=FP:FN or top=3",
        ),
        (["--calibration", "beta"], "calibration 'beta'; expected one of: platt, temperature, none"),
        (["--split", "dev"], "split 'dev' of"),
    ],
)
def test_refused_arguments(run_folder: Path, arguments: list[str], message: str) -> None:
    stored = (run_folder / "labels.json").read_bytes()
    assert message in command("tune", run_folder, *arguments, "--workers", "0").message
    assert (run_folder / "labels.json").read_bytes() == stored
