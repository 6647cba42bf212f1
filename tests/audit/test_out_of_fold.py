"""Folds: who is held out, what a held-out row's label can reach, and both kinds of backbone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelwise.audit import out_of_fold as module
from labelwise.audit.out_of_fold import fold_config, out_of_fold
from labelwise.data import read
from labelwise.data.dataset import Dataset
from labelwise.runs.config import make_config
from labelwise.runs.run import Run
from labelwise.training.maps import MapSource
from tiny_runs import photographs, settings


def run_of(source: Path, folder: Path, freeze: bool, **changes: object) -> Run:
    backbone = {"name": "test_resnet", "weights": "none", "freeze": freeze}
    config = make_config(
        settings(
            f"csv:{source}",
            backbone=backbone,
            method="baseline-gap",
            extractor={},
            ema=0.0,
            epochs=1,
            **changes,
        )
    )
    return Run(folder, config, read(f"csv:{source}").labels)


@pytest.fixture
def rows(tmp_path: Path) -> Dataset:
    return read(f"csv:{photographs(tmp_path / 'photos', train=15)}").split("train")


def test_a_backbone_with_weights_is_frozen(tmp_path: Path, rows: Dataset) -> None:
    source = tmp_path / "photos" / "labels.csv"
    free = run_of(source, tmp_path, False).config
    assert not fold_config(free).backbone.freeze
    hub = free.model_copy(update={"backbone": free.backbone.model_copy(update={"weights": "hub"})})
    assert fold_config(hub).backbone.freeze
    assert not hub.backbone.freeze


@pytest.mark.parametrize("freeze", [True, False])
def test_labels_of_held_out_rows_do_not_reach_their_scores(
    tmp_path: Path, rows: Dataset, freeze: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path / "photos" / "labels.csv", tmp_path / "run", freeze)
    codes = np.arange(len(rows)) % 3
    monkeypatch.setattr(module, "fold_codes", lambda *_: codes)
    before = out_of_fold(run, rows, 3)
    assert before.rows.tolist() == list(range(len(rows)))
    assert np.isfinite(before.logits).all()
    values = rows.values.copy()
    values[codes == 0] = 1 - values[codes == 0]
    after = out_of_fold(run, replace(rows, values=values), 3)
    np.testing.assert_array_equal(after.logits[codes == 0], before.logits[codes == 0])
    assert (after.logits[codes != 0] != before.logits[codes != 0]).any(axis=1).all()
    np.testing.assert_array_equal(after.values, values)
    assert not (tmp_path / "run").exists(), "nothing is written into the run"


def test_an_unreadable_image_is_left_out_and_listed(tmp_path: Path, rows: Dataset) -> None:
    run = run_of(
        tmp_path / "photos" / "labels.csv", tmp_path / "run", True,
        data={"source": "csv:x", "max_unreadable": 1.0},
    )  # fmt: skip
    (tmp_path / "photos" / "train4.jpg").write_bytes(b"no image")
    scores = out_of_fold(run, rows, 3)
    assert scores.rows.tolist() == [row for row in range(15) if row != 4]
    assert [row for row, _ in scores.unreadable] == [4]
    np.testing.assert_array_equal(scores.values, rows.values[scores.rows])


def test_a_part_of_the_maps_is_numbered_from_zero(rows: Dataset) -> None:
    maps = np.arange(15, dtype=np.float16).reshape(15, 1, 1, 1)
    part = module.PartOfMaps(MapSource(maps, rows, {7: "bad"}), np.array([3, 7, 11]))
    first, second = part.batches([(0, np.array([2, 1])), (0, np.array([0]))])
    assert first.index.tolist() == [2]
    assert first.unreadable == ((1, "bad"),)
    assert first.images.flatten().tolist() == [11]
    assert second.images.flatten().tolist() == [3]
    np.testing.assert_array_equal(second.targets.values.numpy(), rows.values[[3]])


def test_folds_treat_unknown_cells_as_the_run_does(tmp_path: Path, rows: Dataset) -> None:
    known = np.random.default_rng(0).random(rows.known.shape) < 0.6
    source, partial = tmp_path / "photos" / "labels.csv", rows.with_known(known)
    left_out = out_of_fold(run_of(source, tmp_path / "run", True), partial, 3)
    negative = run_of(source, tmp_path / "run", True, unknown={"name": "negative"})
    taken = out_of_fold(negative, partial, 3)
    assert taken.logits.mean() < left_out.logits.mean()
    np.testing.assert_array_equal(taken.known, known)
