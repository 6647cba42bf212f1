"""Class-aware sampling: shares, the same samples over processes, and a resumed run with the same bytes."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from test_loading import flat, same
from test_loading import table as pictures
from torch import Tensor

import tiny_runs
from labelwise.data.dataset import Dataset
from labelwise.data.loading import train_loader
from labelwise.data.sampling import ClassAware, Shuffled, order_of, turns
from labelwise.errors import LabelwiseError, Stopped
from labelwise.runs.config import make_config
from labelwise.runs.run import WEIGHTS, Run
from labelwise.training.fit import train
from labelwise.training.loop import Trainer
from labelwise.training.stopping import StopRequest

POSITIVE = np.zeros((60, 4), bool)
POSITIVE[:40, 0] = True
POSITIVE[36:46, 1] = True  # four of them with the first label too
POSITIVE[50, 2] = True  # one image; the fourth label has none
LOADED = {"batch_size": 6, "seed": 7, "workers": 0}


def test_labels_and_their_images_are_sampled_uniformly() -> None:
    order = ClassAware(POSITIVE)
    rows = np.concatenate([order.rows(3, epoch) for epoch in range(400)])
    assert len(rows) == 400 * 60
    assert set(rows.tolist()) == set(range(46)) | {50}
    share = np.bincount(rows, minlength=60) / len(rows)
    expected = np.zeros(60)
    for label in range(3):  # a third each, uniform over its images
        expected += POSITIVE[:, label] / POSITIVE[:, label].sum() / 3
    deviation = np.sqrt(expected * (1 - expected) / len(rows))
    assert (np.abs(share - expected) <= 4.5 * deviation).all()


def test_samples_depend_on_seed_and_epoch() -> None:
    order = ClassAware(POSITIVE)
    assert np.array_equal(order.rows(1, 2), order.rows(1, 2))
    assert not np.array_equal(order.rows(1, 2), order.rows(1, 3))
    assert not np.array_equal(order.rows(1, 2), order.rows(2, 2))


def test_turns_count_earlier_occurrences() -> None:
    rows = np.random.default_rng(0).integers(0, 9, 200)
    assert turns(rows).tolist() == [int((rows[:i] == rows[i]).sum()) for i in range(200)]
    assert turns(rows[:0]).tolist() == []


def data() -> Dataset:
    dataset = pictures(30)
    dataset.known[:] = True
    dataset.values[:] = 0
    dataset.values[:25, 0] = 1
    dataset.values[25:27, 1] = 1
    return dataset


def noisy(image: Tensor) -> Tensor:
    """An image of the random numbers of its augmentation."""
    return torch.rand(3, 2, 2)


def test_processes_together_see_the_batches_of_one() -> None:
    rows = data()
    order = ClassAware(rows.positive)
    whole = list(train_loader(rows, noisy, **LOADED, order=order).epoch(2))
    parts = [
        list(train_loader(rows, noisy, **LOADED, order=order, rank=r, world=3).epoch(2)) for r in range(3)
    ]
    assert len(set(flat(whole))) < len(flat(whole))
    for step, batch in enumerate(whole):
        assert torch.equal(batch.images, torch.cat([part[step].images for part in parts]))
        assert torch.equal(batch.index, torch.cat([part[step].index for part in parts]))
    assert same(list(train_loader(rows, noisy, **LOADED, order=order).epoch(2, 3)), whole[3:])


def test_a_repeated_image_is_augmented_differently() -> None:
    rows = data()
    batches = list(train_loader(rows, noisy, **LOADED, order=ClassAware(rows.positive)).epoch(0))
    seen = [image for batch in batches for image in batch.images]
    assert len({tuple(image.flatten().tolist()) for image in seen}) == len(seen)
    plain = list(train_loader(rows, noisy, **LOADED).epoch(0))
    assert sorted(flat(plain)) == list(range(30))
    assert same(plain, list(train_loader(rows, noisy, **LOADED, order=Shuffled(30)).epoch(0)))


def test_unknown_cells_are_not_positive() -> None:
    rows = data()
    rows.known[25:27] = False
    sampled = order_of(rows, "class-aware").rows(0, 0)
    assert sampled.max() < 25
    rows.known[:] = False
    with pytest.raises(LabelwiseError, match="without a known positive in train"):
        order_of(rows, "class-aware")


def test_a_stopped_run_ends_in_the_same_bytes(
    table: Path, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("labelwise.training.course"), "_finish", lambda *parts: None)
    settings = tiny_runs.settings(f"parquet:{table}", sampling="class-aware")
    config = make_config(settings)
    whole = train(config, tmp_path / "whole", quiet=True)
    stop, original = StopRequest(), Trainer._step

    def step(self: Trainer, batches: object) -> object:
        if self.progress.step == 3:
            stop.by = "a test"
        return original(self, batches)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        with pytest.raises(Stopped):
            train(config, tmp_path / "parts", quiet=True, stop=stop)
    parts = train(config, tmp_path / "parts", resume=True, quiet=True)
    assert (parts.path / WEIGHTS).read_bytes() == (whole.path / WEIGHTS).read_bytes()
    assert Run.open(run_folder).config.sampling == "shuffle"
    assert (run_folder / WEIGHTS).read_bytes() != (whole.path / WEIGHTS).read_bytes()
