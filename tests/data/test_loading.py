"""Loaders: the same batches for any number of workers, processes and restarts; unreadable images are reported."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from labelwise.data.dataset import Dataset
from labelwise.data.loading import eval_loader, train_loader
from labelwise.data.transforms import TransformConfig, build_transform
from labelwise.errors import LabelwiseError
from labelwise.types import Batch, LabelSet

CONFIG = TransformConfig(image_size=8, multi_scale=(1.0, 0.75, 0.5), cutout=0.3)
RANDOM, FIXED = build_transform(CONFIG, True), build_transform(CONFIG, False)


def table(rows: int, bad: tuple[int, ...] = ()) -> Dataset:
    """Row i is a uniform image of grey 2 i with a mark; every third cell is unknown."""
    images = []
    for row in range(rows):
        pixels = np.full((12, 10, 3), min(2 * row, 250), np.uint8)
        pixels[2:5, 1:4] = 255
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        images.append(buffer.getvalue()[: -30 if row in bad else None])
    cells = np.arange(rows * 2).reshape(rows, 2)
    known = cells % 3 > 0
    values = ((cells % 2 == 0) & known).astype(np.uint8)
    return Dataset(LabelSet(("a", "b")), pa.array(images, pa.binary()), None, values, known)


def rows(batches: list[Batch]) -> list[list[int]]:
    return [batch.index.tolist() for batch in batches]


def flat(batches: Iterable[Batch]) -> list[int]:
    return [row for batch in batches for row in batch.index.tolist()]


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.images, b.images)
        and torch.equal(a.index, b.index)
        and torch.equal(a.targets.values, b.targets.values)
        and torch.equal(a.targets.known, b.targets.known)
        and a.unreadable == b.unreadable
        for a, b in zip(one, other, strict=True)
    )


def train(data: Dataset, transform: object = RANDOM, **options: object) -> object:
    return train_loader(data, transform, **{"batch_size": 4, "seed": 7, "workers": 0, **options})


def test_a_batch_holds_the_rows_it_names() -> None:
    data = table(10)
    for batch in eval_loader(data, FIXED, batch_size=4, workers=0):
        for i, row in enumerate(batch.index.tolist()):
            assert torch.equal(batch.images[i], FIXED(data[row].image))
            assert torch.equal(batch.targets.values[i], data[row].values)
            assert torch.equal(batch.targets.known[i], data[row].known)
        assert batch.images.dtype == torch.uint8
        assert batch.index.dtype == torch.int64
        assert batch.targets.values.dtype == torch.float32
        assert batch.unreadable == ()


def test_evaluation_is_in_order_and_whole_and_can_be_repeated() -> None:
    loader = eval_loader(table(10), FIXED, batch_size=4, workers=0)
    assert len(loader) == 3
    assert rows(list(loader)) == rows(list(loader)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    parts = [eval_loader(table(10), FIXED, batch_size=2, workers=0, rank=r, world=3) for r in range(3)]
    assert [rows(list(part)) for part in parts] == [[[0, 3], [6, 9]], [[1, 4], [7]], [[2, 5], [8]]]


def test_an_epoch_is_a_permutation_that_changes() -> None:
    loader = train(table(11))
    assert loader.steps_per_epoch == 2
    first, second = (flat(loader.epoch(e)) for e in (0, 1))
    assert len(set(first)) == len(set(second)) == 8
    assert first != second
    assert first != flat(train(table(11), seed=8).epoch(0))
    assert {row for epoch in range(8) for row in flat(loader.epoch(epoch))} == set(range(11))


def test_fewer_rows_than_a_batch_make_one_batch() -> None:
    loader = train(table(3), batch_size=64)
    assert loader.steps_per_epoch == 1
    assert [sorted(part) for part in rows(list(loader.epoch(0)))] == [[0, 1, 2]]


def test_workers_change_nothing() -> None:
    data = table(14, bad=(3,))
    expected = [list(train(data).epoch(e)) for e in (0, 1)]
    loader = train(data, workers=2)
    assert same(list(loader.epoch(0)), expected[0])
    assert same(list(loader.epoch(1)), expected[1])
    list(islice(loader.epoch(5), 1))  # a pass that is left early does not disturb the next
    assert same(list(loader.epoch(1, start_step=1)), expected[1][1:])
    loader.close()
    with pytest.raises(LabelwiseError, match="a loader that was closed"):
        loader.epoch(0)


def test_spawned_workers_return_the_same() -> None:
    data = table(6)
    loader = train(data, workers=1, context="spawn")
    assert same(list(loader.epoch(2)), list(train(data).epoch(2)))
    loader.close()


def test_a_restart_continues_without_reading_earlier_images() -> None:
    data = table(16)
    whole = list(train(data).epoch(3))
    seen: list[int] = []

    def counted(image: Tensor) -> Tensor:
        seen.append(1)
        return RANDOM(image)

    assert same(list(train(data, counted).epoch(3, start_step=2)), whole[2:])
    assert len(seen) == 8
    assert list(train(data).epoch(3, start_step=4)) == []
    with pytest.raises(LabelwiseError, match="start step 5 of an epoch with 4 steps"):
        train(data).epoch(3, start_step=5)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(4, 9), st.integers(4, 20), st.integers(0, 3))
def test_processes_together_see_the_one_process_batch(world: int, batch: int, count: int, epoch: int) -> None:
    data = table(count)
    alone = list(train(data, batch_size=batch).epoch(epoch))
    ranks = [list(train(data, batch_size=batch, rank=r, world=world).epoch(epoch)) for r in range(world)]
    for step, whole in enumerate(alone):
        together = [ranks[r][step] for r in range(world)]
        assert flat(together) == whole.index.tolist()
        assert torch.equal(torch.cat([part.images for part in together]), whole.images)


def test_unreadable_images_are_left_out_and_reported() -> None:
    batches = list(eval_loader(table(6, bad=(1, 4, 5)), FIXED, batch_size=4, workers=0))
    assert batches[0].index.tolist() == [0, 2, 3]
    ((row, reason),) = batches[0].unreadable
    assert row == 1
    assert reason.endswith("bytes is truncated")
    assert len(batches[0].images) == len(batches[0].targets) == 3
    assert [row for row, _ in batches[1].unreadable] == [4, 5]
    assert batches[0].to("cpu").unreadable == batches[0].unreadable


def test_a_batch_without_a_readable_image_is_blank_and_unknown() -> None:
    for workers in (0, 1):
        loader = train(table(2, bad=(0, 1)), batch_size=2, workers=workers)
        (batch,) = loader.epoch(0)
        assert batch.images.shape == (1, 3, 8, 8)
        assert not batch.targets.known.any()
        assert not batch.targets.values.any()
        assert sorted(row for row, _ in batch.unreadable) == [0, 1]
        assert batch.index.tolist() == [batch.unreadable[0][0]]
        loader.close()


def test_missing_files_are_reported_with_their_path(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "here.png")
    states = np.zeros((2, 1), np.uint8), np.ones((2, 1), bool)
    data = Dataset(LabelSet(("a",)), pa.array(["here.png", "gone.png"]), tmp_path, *states)
    (batch,) = eval_loader(data, FIXED, batch_size=2, workers=0)
    assert batch.index.tolist() == [0]
    assert batch.unreadable == ((1, f"image {tmp_path / 'gone.png'} does not exist"),)


def threads(image: Tensor) -> Tensor:
    return torch.full((3, 2, 2), torch.get_num_threads(), dtype=torch.uint8)


def test_workers_use_one_thread_and_keep_the_global_state() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()
    for workers in (0, 1):
        loader = train(table(8), threads if workers else RANDOM, workers=workers)
        batches = list(loader.epoch(0)) + list(loader.epoch(1))
        if workers:
            assert {int(batch.images.max()) for batch in batches} == {1}
        loader.close()
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


def test_augmentation_differs_between_rows_epochs_and_seeds() -> None:
    data = table(1)
    pictures = [
        next(iter(train(data, batch_size=1, seed=seed).epoch(epoch))).images[0]
        for seed in range(3)
        for epoch in range(4)
    ]
    assert len({tuple(picture.flatten().tolist()) for picture in pictures}) > 8


def test_soft_targets_pass_unchanged() -> None:
    data = Dataset(
        LabelSet(("a",)), table(2).images, None, np.array([[0.25], [1.0]], np.float32), np.ones((2, 1), bool)
    )
    (batch,) = eval_loader(data, FIXED, batch_size=2, workers=0)
    assert batch.targets.values.tolist() == [[0.25], [1.0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch size 0; expected at least 1"),
        ({"workers": -1}, "-1 workers"),
        ({"seed": -1}, "seed -1"),
        ({"rank": 2, "world": 2}, "process 2 of 2; expected a rank from 0 to world - 1"),
        ({"world": 5}, "4 images per step for 5 processes; expected at least one image per process"),
    ],
)
def test_wrong_arguments(options: dict[str, int], message: str) -> None:
    with pytest.raises(LabelwiseError, match=message):
        train(table(6), **options)
    with pytest.raises(LabelwiseError, match="a data set without images"):
        train(table(6).take([]))
