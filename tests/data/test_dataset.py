"""The class `Dataset`."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from labelwise.data import Dataset, read
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet


@pytest.fixture
def data(tmp_path: Path, photo: Callable[..., Path]) -> Dataset:
    names = [photo(tmp_path / f"{i}.jpg", seed=i).name for i in range(5)]
    values = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [0, 1]], np.uint8)
    return Dataset(
        labels=LabelSet(("cat", "dog")),
        images=pa.chunked_array([names[:2], names[2:]]),
        root=tmp_path,
        values=values,
        known=np.array([[1, 1], [0, 1], [1, 1], [1, 1], [1, 1]], bool),
        split_of=np.array([0, 1, 0, -1, 1], np.int16),
        split_names=("train", "test"),
        source="made here",
        notes=("A note.",),
    )


def test_a_row(data: Dataset) -> None:
    sample = data[1]
    assert sample.id == "1.jpg"
    assert sample.image.dtype == torch.uint8
    assert sample.values.tolist() == [0, 1]
    assert sample.known.tolist() == [False, True]
    assert data[-1].id == "4.jpg"
    with pytest.raises(IndexError):
        data[5]


def test_splits_and_takes(data: Dataset) -> None:
    assert data.splits() == {"train": 2, "test": 2}
    assert data.split("test").images.to_pylist() == ["1.jpg", "4.jpg"]
    assert data.split("test+train").images.to_pylist() == ["0.jpg", "1.jpg", "2.jpg", "4.jpg"]
    assert data.take([3, 0, 3]).images.to_pylist() == ["3.jpg", "0.jpg", "3.jpg"]
    assert data.take(np.array([True, False, False, False, True])).values.tolist() == [[1, 0], [0, 1]]
    assert len(data.take([])) == 0
    for name in ("val", "", "train+val"):
        with pytest.raises(
            LabelwiseError, match=r"of made here; expected a split that it has: train \(2\), test"
        ):
            data.split(name)


def test_hidden_labels_are_unknown_and_zero(data: Dataset) -> None:
    mask = np.ones((5, 2), bool)
    mask[0] = False
    hidden = data.with_known(mask)
    assert hidden.known.tolist() == [[False, False], [False, True], *[[True, True]] * 3]
    assert hidden.values[0].tolist() == [0, 0]
    assert hidden.values.dtype == np.uint8
    assert data.values[0].tolist() == [1, 0]


def test_summary_and_pickle(data: Dataset) -> None:
    again = pickle.loads(pickle.dumps(data))
    assert again.summary() == data.summary()
    assert data.summary().splitlines() == [
        "made here: 5 images, 2 labels",
        "splits: train 2, test 2",
        "positives: 5, 1.00 an image; 10.0% of the cells unknown",
        "labels: dog 3, cat 2",
        "note: A note.",
    ]
    assert repr(data) == "<Dataset made here: 5 images, 2 labels; splits: train 2, test 2>"


def test_shapes_must_agree(data: Dataset) -> None:
    with pytest.raises(LabelwiseError, match=r"values of shape \[5, 2\] for 5 images and 1 labels"):
        Dataset(LabelSet(("cat",)), data.images, None, data.values, data.known)


def test_built_in_scenes() -> None:
    data = read("digits:?train=12&val=4&test=4&seed=1")
    assert data.splits() == {"train": 12, "val": 4, "test": 4}
    assert data.source == "digits:?train=12&val=4&test=4&seed=1"
    assert data.labels.names == tuple("0123456789")
    assert all({b[0] for b in data.boxes_of(i)} == set(np.flatnonzero(data.values[i])) for i in range(20))


def test_rows_by_split_share_their_cells(data: Dataset) -> None:
    ordered = data.by_split()
    assert ordered.images.to_pylist() == ["3.jpg", "0.jpg", "2.jpg", "1.jpg", "4.jpg"]
    for name in ("train", "test"):
        ours, theirs = ordered.split(name), data.split(name)
        assert ours.images.to_pylist() == theirs.images.to_pylist()
        assert np.array_equal(ours.values, theirs.values)
        assert np.array_equal(ours.known, theirs.known)
        assert [ours.image_id(i) for i in range(2)] == [theirs.image_id(i) for i in range(2)]
        assert np.shares_memory(ours.values, ordered.values)
    assert ordered.by_split() is ordered
