"""Scores of a data set: once each, in order, on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import labelwise as lw
from labelwise.data.loading import eval_loader
from labelwise.data.transforms import build_transform
from labelwise.errors import LabelwiseError
from labelwise.evaluation import collect
from labelwise.evaluation.figures import figures
from labelwise.evaluation.scores import StoredScores
from labelwise.metrics.bootstrap import bootstrap_counts, bootstrap_map, interval
from labelwise.runs import Run

CPU = torch.device("cpu")


@pytest.fixture
def parts(run_folder: Path, table: Path) -> tuple:
    """Model, test rows and a loader of them."""
    run = Run.open(run_folder)
    rows = lw.read(f"parquet:{table}").split("test")
    transform = build_transform(run.config.transform(), train=False)
    return run.model(), rows, list(eval_loader(rows, transform, batch_size=4, workers=0))


def test_scores_stand_in_the_order_of_the_rows(parts: tuple) -> None:
    model, rows, batches = parts
    straight = collect(model, batches, rows, CPU)
    mixed = collect(model, batches[::-1], rows, CPU)
    assert straight.rows.tolist() == list(range(17))
    assert np.array_equal(straight.logits, mixed.logits)
    assert np.array_equal(straight.values, rows.values)


def test_a_row_that_comes_twice_is_a_fault(parts: tuple) -> None:
    model, rows, batches = parts
    with pytest.raises(LabelwiseError, match=f"{rows.image_id(4)} scored twice; expected each image once"):
        collect(model, [*batches, batches[1]], rows, CPU)


def test_groups_are_stored_and_drawn_whole(parts: tuple, run_folder: Path, tmp_path: Path) -> None:
    model, rows, batches = parts
    persons = replace(rows, group=np.arange(17) // 6)
    plain, grouped = (collect(model, batches, data, CPU) for data in (rows, persons))
    for scores, data, group in ((plain, rows, None), (grouped, persons, [*(np.arange(17) // 6)])):
        scores.save(tmp_path / "scores.npz", data)
        stored = StoredScores.read(tmp_path / "scores.npz")
        assert (None if stored.group is None else stored.group.tolist()) == group
        assert np.array_equal(stored.logits, scores.logits)
    run = Run.open(run_folder)
    intervals = [
        figures(scores, run.labels.names, run.decisions())[0]["intervals"]["mAP"]
        for scores in (plain, grouped)
    ]
    counts = bootstrap_counts(17, group=persons.group)
    expected = interval(bootstrap_map(plain.logits, plain.hard, plain.known, counts))
    assert intervals[1] == pytest.approx(expected)
    assert intervals[0] != intervals[1]


def test_a_model_in_training_mode_is_evaluated_in_evaluation_mode(parts: tuple) -> None:
    model, rows, batches = parts
    expected = collect(model, batches, rows, CPU)
    assert np.array_equal(collect(model.train(), batches, rows, CPU).logits, expected.logits)


def test_the_watcher_sees_each_batch_with_maps(parts: tuple) -> None:
    model, rows, batches = parts
    seen: list[int] = []

    def watch(batch: lw.types.Batch, output: lw.Output) -> None:
        assert output.maps is not None
        torch.testing.assert_close(output.maps.sum((2, 3)), torch.ones(len(batch.index), 10))
        seen.extend(batch.index.tolist())

    collect(model, batches, rows, CPU, watch)
    assert seen == list(range(17))


def test_scores_come_back_from_disk(parts: tuple, tmp_path: Path) -> None:
    model, rows, batches = parts
    scores = collect(model, batches, rows, CPU)
    scores.save(tmp_path / "scores" / "test.npz", rows)
    with np.load(tmp_path / "scores" / "test.npz") as stored:
        assert stored["ids"].tolist() == [rows.image_id(i) for i in range(17)]
        assert np.array_equal(stored["logits"], scores.logits)
        assert np.array_equal(stored["values"], scores.values)
        assert np.array_equal(stored["known"], scores.known)


def test_soft_labels_count_from_one_half_on(parts: tuple) -> None:
    model, rows, batches = parts
    scores = collect(model, batches, rows, CPU)
    soft = type(scores)(
        scores.rows[:1], scores.logits[:1], np.array([[0.49, 0.5, 1.0]]), scores.known[:1, :3], []
    )
    assert soft.hard.tolist() == [[0, 1, 1]]
    assert scores.probabilities == pytest.approx(1 / (1 + np.exp(-scores.logits.astype(float))))
