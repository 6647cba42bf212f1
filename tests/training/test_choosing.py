"""Labels that validation or test cannot judge: left out by name, or training stops before it begins."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import tiny_runs
from labelwise.evaluation.scores import StoredScores
from tiny_runs import TINY, command

Cells = Callable[[list[str]], list[str]]
COLOURS = list(tiny_runs.COLOURS)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The CSV of 21 photographs of three colours."""
    return tiny_runs.photographs(tmp_path / "photos")


def rewritten(file: Path, head: list[str], change: Cells) -> Path:
    """The table with its label cells changed: `change` takes those of a row and the name of its split."""
    with open(file, newline="") as stream:
        rows = list(csv.reader(stream))[1:]
    with open(file, "w", newline="") as stream:
        lines = [[row[0], *change(row[1:]), row[-1]] for row in rows]
        csv.writer(stream).writerows([["image", *head, "split"], *lines])
    return file


def positives_only(row: list[str]) -> list[str]:
    """1 or blank everywhere, as a collection of tags is."""
    return [cell if cell == "1" else "" for cell in row[:3]]


def train(photos: Path, out: Path, *arguments: str) -> tiny_runs.Outcome:
    return command("train", "--data", f"csv:{photos}", "--out", out, *TINY, *arguments)


def test_a_label_of_1_and_blank_is_left_out_by_name(photos: Path, tmp_path: Path) -> None:
    rewritten(photos, [*COLOURS, "tag"], lambda row: [*row[:3], "1" if row[0] == "1" else ""])
    printed = train(photos, tmp_path / "run").err
    assert "note: val cannot judge, and its mAP leaves out: tag (no known negative)" in printed
    for split in ("val", "test"):
        assert f"{split}: left out of the mAP: tag (no known negative)" in printed
    splits = json.loads((tmp_path / "run" / "results.json").read_text())["splits"]
    for split, result in splits.items():
        stored = StoredScores.read(tmp_path / "run" / "scores" / f"{split}.npz")
        by_hand = {
            name: average_precision_score(stored.values[:, j], stored.logits[:, j])
            for j, name in enumerate(COLOURS)
        }
        assert {name: result["per_label"][name]["AP"] for name in COLOURS} == pytest.approx(by_hand)
        assert result["metrics"]["mAP"] == pytest.approx(np.mean(list(by_hand.values())))
        assert result["metrics"]["labels_without_AP"] == {"tag": "no known negative"}
        tag = result["per_label"]["tag"]
        assert (tag["AP"], tag["F1"], tag["precision"], tag["negatives"]) == (None, None, None, 0)
        assert tag["positives"] > 0
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    chosen = [line["val"]["mAP"] for line in log if line["kind"] == "epoch"]
    assert chosen == [pytest.approx(splits["val"]["metrics"]["mAP"])]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Labels left out of the mAP: tag (no known negative)." in page
    outcome = command("evaluate", tmp_path / "run", "--workers", "0")
    assert "left out of the mAP: tag (no known negative)" in outcome.out
    outcome = command("evaluate", tmp_path / "run", "--workers", "0", "--json")
    assert "NaN" not in outcome.out
    assert json.loads(outcome.out)["metrics"]["labels_without_AP"] == {"tag": "no known negative"}


def test_data_without_any_negative_stop_before_training(photos: Path, tmp_path: Path) -> None:
    rewritten(photos, COLOURS, positives_only)
    message = train(photos, tmp_path / "run").message
    assert message.startswith(
        "labelwise: 4 val images in which no label has both a known positive and a known negative; expected at least "
        "one such label, since it decides epochs and thresholds; write 0 where a label is absent"
    )
    assert not (tmp_path / "run").exists()


def test_going_on_without_a_judge_keeps_the_last_epoch(photos: Path, tmp_path: Path) -> None:
    rewritten(photos, COLOURS, positives_only)
    outcome = train(
        photos, tmp_path / "run", "--epochs", "2", "--set", "data.unjudged_validation=true", "--no-report"
    )
    assert outcome.code == 0, outcome.err
    assert (
        "warning: no label of val has both a known positive and a known negative: nothing is chosen"
        in outcome.err
    )
    assert "val mAP" not in outcome.err
    assert (
        "test: mAP -  at 0.5: CF1 -, OF1 -  by the run's decisions: CF1 -, OF1 -  (5 images)" in outcome.err
    )
    text = (tmp_path / "run" / "results.json").read_text()
    assert "NaN" not in text
    results = json.loads(text)
    assert results["training"]["chosen_on"] == "nothing; the last epoch"
    assert results["training"]["best_epoch"] == 2
    assert results["splits"]["test"]["metrics"]["mAP"] is None
    judged = command("evaluate", tmp_path / "run", "--workers", "0")
    assert judged.code == 0, judged.err
    assert "mAP - [-, -]" in judged.out
    assert command("report", tmp_path / "run").code == 0
    message = command("evaluate", tmp_path / "run", "--workers", "0", "--corrupt").message
    assert "5 images of" in message
    assert "no label has both a known positive and a known negative" in message


def test_single_positives_in_training_are_judged_by_a_whole_val(photos: Path, tmp_path: Path) -> None:
    outcome = train(photos, tmp_path / "run", "--single-positive", "--no-report")
    assert outcome.code == 0, outcome.err
    assert "left out" not in outcome.err
    assert "val cannot judge" not in outcome.err
