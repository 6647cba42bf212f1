"""The canonical table: an exact round trip, and plain Parquet files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from labelwise.data import Dataset, read
from labelwise.data.dataset import BOX_TYPE
from labelwise.data.table import write_table
from labelwise.errors import LabelwiseError
from labelwise.types import Group, LabelSet

Photo = Callable[..., Path]


@pytest.fixture
def data(tmp_path: Path, photo: Photo) -> Dataset:
    names = [photo(tmp_path / "pictures" / f"{i}.jpg", seed=i).name for i in range(4)]
    box = {"label": 1, "x0": 0.1, "y0": 0.2, "x1": 0.3, "y1": 0.4}
    return Dataset(
        labels=LabelSet(("dog", "group", "label:x"), {"odd": Group(("dog", "group"), True)}),
        images=pa.array(names),
        root=tmp_path / "pictures",
        values=np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0], [0, 1, 0]], np.uint8),
        known=np.array([[1, 1, 1], [0, 1, 0], [1, 1, 1], [0, 1, 1]], bool),
        split_of=np.array([0, 2, -1, 0], np.int16),
        split_names=("train", "val", "test"),
        group=np.array([5, 5, 9, 2**40], np.int64),
        boxes=pa.array([[box], [], [box, box], []], BOX_TYPE),
        source="made here",
        notes=("One.", "Two."),
    )


def same(a: Dataset, b: Dataset) -> None:
    assert a.labels == b.labels
    for name in ("values", "known", "split_of", "group"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.values.dtype == b.values.dtype
    assert (a.split_names, a.notes) == (b.split_names, b.notes)
    assert [a.boxes_of(i) for i in range(len(a))] == [b.boxes_of(i) for i in range(len(b))]


@pytest.mark.parametrize("soft", [False, True])
def test_round_trip_is_exact(data: Dataset, tmp_path: Path, soft: bool) -> None:
    if soft:
        data = replace(data, values=(data.values * np.float32(0.7)).astype(np.float32))
    write_table(data, tmp_path / "t.parquet")
    again = read(f"parquet:{tmp_path / 't.parquet'}")
    same(data, again)
    assert again.images.to_pylist() == data.images.to_pylist()
    assert again.encoded(1).resolve() == data.encoded(1).resolve()
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["t.parquet"]


def test_embedded_images(data: Dataset, tmp_path: Path) -> None:
    write_table(data, tmp_path / "t.parquet", embed_images=True)
    expected = [data.encoded(i).read_bytes() for i in range(4)]
    again = read(str(tmp_path / "t.parquet"))
    same(data, again)
    assert [again.encoded(i) for i in range(4)] == expected
    assert again.image_id(2) == "row 2"
    part = again.take([3, 1, 2]).take([False, True, True])
    assert [part.image_id(i) for i in range(2)] == [
        "row 1",
        "row 2",
    ]  # the names in the whole table
    assert [part.encoded(i) for i in range(2)] == expected[1:3]
    assert again[0].image.shape == (3, 32, 48)
    write_table(again.take([3, 1]), tmp_path / "two.parquet")
    assert read(str(tmp_path / "two.parquet")).encoded(0) == expected[3]


def test_a_moved_table_takes_its_images_along_or_says_so(data: Dataset, tmp_path: Path) -> None:
    write_table(data, tmp_path / "t.parquet")
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert len(read(str(moved / "t.parquet"))) == 4
    (moved / "pictures").rename(moved / "elsewhere")
    with pytest.raises(LabelwiseError, match=r"4 of 4 image files missing under .*correct images=DIR$"):
        read(str(moved / "t.parquet"))
    assert len(read(f"parquet:{moved / 't.parquet'}?images={moved / 'elsewhere'}")) == 4


def test_a_failed_write_leaves_the_old_table(data: Dataset, tmp_path: Path) -> None:
    write_table(data, tmp_path / "t.parquet")
    before = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "pictures" / "2.jpg").unlink()
    with pytest.raises(LabelwiseError, match=r"image 2.jpg: No such file"):
        write_table(data, tmp_path / "t.parquet", embed_images=True)
    assert (tmp_path / "t.parquet").read_bytes() == before
    assert len([p for p in tmp_path.iterdir() if p.is_file()]) == 1


def test_plain_parquet_by_the_rules_of_columns(data: Dataset, tmp_path: Path) -> None:
    table = pa.table(
        {
            "path": ["0.jpg", "1.jpg", "2.jpg"],
            "split": pa.array(["train", "test", "train"]).dictionary_encode(),
            "dog": pa.array([True, None, False]),
            "cat": pa.array([1.0, 0.0, float("nan")]),
            "cow": pa.array([1, 0, None], pa.int64()),
        }
    )
    parquet.write_table(table, tmp_path / "plain.parquet")
    plain = read(f"parquet:{tmp_path / 'plain.parquet'}?images={tmp_path / 'pictures'}")
    assert plain.labels.names == ("dog", "cat", "cow")
    assert plain.values.tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert plain.known.tolist() == [[True] * 3, [False, True, True], [True, False, False]]
    assert plain.splits() == {"train": 2, "test": 1}
    lists = pa.table({"image": ["0.jpg", "1.jpg"], "labels": [["dog", "cat"], []]})
    parquet.write_table(lists, tmp_path / "lists.parquet")
    named = read(f"parquet:{tmp_path / 'lists.parquet'}?images={tmp_path / 'pictures'}")
    assert named.values.tolist() == [[1, 1], [0, 0]]


def test_refusals(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match="in a folder that does not exist"):
        write_table(data, tmp_path / "no" / "t.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(LabelwiseError, match=r"bad.parquet: .*; expected a complete Parquet file"):
        read(str(tmp_path / "bad.parquet"))
    write_table(data, tmp_path / "t.parquet")
    with pytest.raises(LabelwiseError, match=r"option 'ignore' for .*canonical"):
        read(f"parquet:{tmp_path / 't.parquet'}?ignore=dog")
    table = parquet.read_table(tmp_path / "t.parquet")
    parquet.write_table(table.drop_columns(["dog"]), tmp_path / "less.parquet")
    with pytest.raises(LabelwiseError, match="without the column 'dog'"):
        read(str(tmp_path / "less.parquet"))
