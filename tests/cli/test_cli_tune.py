"""labelwise tune: stored decisions, printed figures and refused arguments."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelwise.evaluation import StoredScores
from labelwise.metrics import functional as F
from labelwise.runs import Run
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


def test_a_floor_is_promised_by_label_and_stored(own: Path) -> None:
    """In the output, labels.json, results.json, the report and `evaluate`; another objective removes it again."""
    done = command("tune", own, "--objective", "recall=0.5", "--confidence", "0.8", "--workers", "0")
    assert done.code == 0, done.err
    stored = json.loads((own / "labels.json").read_text())["floors"]
    assert (stored["kind"], stored["floor"], stored["confidence"]) == ("recall", 0.5, 0.8)
    held = [name for name, row in stored["labels"].items() if row["promised"]]
    others = [name for name in stored["labels"] if name not in held]
    assert held
    assert others
    said = f"recall of at least 0.5: promised for {len(held)} of {len(held) + len(others)} labels at 80 %"
    assert said in " ".join(done.out.split())
    warning = next(line for line in done.err.splitlines() if line.startswith("warning: recall of at least"))
    assert all(f"{name} (needs about " in warning for name in others)
    for split in json.loads((own / "results.json").read_text())["splits"].values():
        assert {name: row["floor"] for name, row in split["per_label"].items()} == stored["labels"]
        assert said in split["conditions"]["floor"]
    scores, d = StoredScores.read(own / "scores" / "val.npz"), Run.open(own).decisions()
    positive = (scores.values >= 0.5) & scores.known
    called = d.probabilities(scores.logits) >= d.thresholds
    for j, name in enumerate(Run.open(own).labels.names):
        row = stored["labels"][name]
        assert (row["trials"], row["hits"]) == (positive[:, j].sum(), (positive & called)[:, j].sum())
        assert (row["low"] >= 0.5) == row["promised"] or not row["promised"]
    assert command("report", own).code == 0
    page = (own / "report.html").read_text()
    assert said in page
    assert page.count(">promised</td>") == len(held)
    assert "is not supported, best-effort thresholds: " in page
    assert command("tune", own, "--workers", "0").code == 0
    assert "floors" not in json.loads((own / "labels.json").read_text())
    assert '"floor"' not in (own / "results.json").read_text()


def test_a_floor_without_a_known_positive_changes_nothing(own: Path, tmp_path: Path) -> None:
    names = Run.open(own).labels.names
    for value in ("0", ""):
        cells = [*[[value] * len(names)] * 4, ["1"] * len(names)]
        rows = [
            f"{own.parent}/{i}.png,{','.join(row)},{'val' if i < 4 else 'train'}"
            for i, row in enumerate(cells)
        ]
        for i in range(5):
            Image.new("RGB", (32, 32), (i, 0, 0)).save(own.parent / f"{i}.png")
        (tmp_path / "empty.csv").write_text("\n".join(["image," + ",".join(names) + ",split", *rows]))
        stored = (own / "labels.json").read_bytes()
        source = f"csv:{tmp_path / 'empty.csv'}"
        done = command("tune", own, "--data", source, "--objective", "precision=0.9", "--workers", "0")
        assert "without a known positive; expected known positives" in done.message
        assert (own / "labels.json").read_bytes() == stored


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--objective", "precision=0"], "objective 'precision=0'; expected f1, precision=0.9"),
        (["--objective", "precision=1"], "give a precision over 0 and under 1"),
        (["--objective", "recall=1.5"], "give a recall over 0 and under 1"),
        (["--objective", "recall=0.9", "--confidence", "1"], "confidence=1.0; expected a number over 0"),
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
