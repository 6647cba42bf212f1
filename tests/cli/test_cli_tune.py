"""labelwise tune: what it stores, what it prints, what it refuses."""

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
    """A run that may be changed."""
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
    found = after["test"]["per_label"]
    assert [row["threshold"] for row in found.values()] == decisions.thresholds.tolist()


def test_val_figures_are_of_images_decided_without_them(own: Path) -> None:
    done = command("tune", own, "--json", "--workers", "0")
    told = json.loads(done.out)
    stored = json.loads((own / "results.json").read_text())["splits"]["val"]
    assert told["metrics"]["tuned"] == pytest.approx(stored["metrics"]["tuned"])
    run, scores = Run.open(own), StoredScores.read(own / "scores" / "val.npz")
    d = run.decisions()
    y = (scores.values >= 0.5).astype(int)
    flattered = F.threshold_metrics(d.select(d.probabilities(scores.logits)).astype(float), y, scores.known)
    assert told["metrics"]["tuned"]["CF1_macro"] < flattered["CF1_macro"]
    assert set(told) >= {"thresholds", "calibration", "rules", "reasons", "protocol", "metrics", "per_label"}
    assert set(told["reasons"]) == set(run.labels.names)


def test_labels_with_few_positives_are_named(own: Path) -> None:
    scores = StoredScores.read(own / "scores" / "val.npz")
    few = [str(j) for j in np.flatnonzero(((scores.values >= 0.5) & scores.known).sum(0) < 2)]
    done = command("tune", own, "--workers", "0")
    warning = [line for line in done.err.splitlines() if line.startswith("warning: fewer than 2 known")]
    assert len(warning) == bool(few)
    assert not few or warning[0].endswith(": " + ", ".join(few))


@pytest.mark.parametrize(
    ("words", "text"),
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
def test_what_it_refuses(run_folder: Path, words: list[str], text: str) -> None:
    stored = (run_folder / "labels.json").read_bytes()
    assert text in command("tune", run_folder, *words, "--workers", "0").told
    assert (run_folder / "labels.json").read_bytes() == stored
