"""Parquet shards, read by `datasets` and pyarrow split by split."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from labelwise.data import Dataset, read
from labelwise.data.writers import convert, datasets
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet
from written_sets import ODD_NAMES, STATES, dataset, matrices

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
names = st.one_of(
    st.sampled_from(["dog", "cat", "tall, cat"]), st.sampled_from(ODD_NAMES).filter(str.isascii)
)


def rows_of(out: Path, labels: list[str]) -> dict[str, tuple[list[float], str, bytes | None]]:
    """Path of the image -> states, split and bytes, read with pyarrow."""
    rows = {}
    for file in sorted((out / "data").iterdir()):
        table = parquet.read_table(file)
        features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
        assert list(features) == table.column_names
        for row in table.to_pylist():
            if "labels" in features and features["labels"]["_type"] == "Sequence":
                assert features["labels"]["feature"]["names"] == labels
                present = row["labels"]
                states = [np.nan if present is None else float(j in present) for j in range(len(labels))]
            else:
                cells = [row[datasets._column(name)] for name in labels]
                states = [np.nan if cell is None else float(cell) for cell in cells]
            rows[row["image"]["path"]] = (states, file.name.split("-")[0], row["image"]["bytes"])
    return rows


@quick
@given(matrices(names, st.sampled_from(STATES), ("train", "val", "extra")))
def test_the_shards_have_any_matrix(
    photos: Path, tmp_path_factory: pytest.TempPathFactory, arguments: dict[str, Any]
) -> None:
    data = dataset(photos, **arguments)
    out = tmp_path_factory.mktemp("shards") / "out"
    convert(data, out, "datasets")
    rows = rows_of(out, list(data.labels))
    expected = np.where(data.known, data.values.astype(float), np.nan)
    splits = ["train", "validation", "extra", "unassigned"]
    assert len(rows) == len(data)
    for row, name in enumerate(data.images.to_pylist()):
        states, split, content = rows[name]
        np.testing.assert_array_equal(states, expected[row])
        assert split == ("train" if data.split_of is None else splits[data.split_of[row]])
        assert content == (photos / name).read_bytes()


@quick
@given(
    matrices(
        names.filter(lambda name: name == name.strip()), st.sampled_from(STATES), ("train", "val", "test")
    ),
    st.sampled_from(["embed", "paths"]),
)
def test_the_reader_returns_the_same_matrix(
    photos: Path, tmp_path_factory: pytest.TempPathFactory, arguments: dict[str, Any], images: str
) -> None:
    data = dataset(photos, **arguments)
    if data.split_of is None:
        data = data.with_split(np.zeros(len(data)), ("train",))
    written = convert(data, tmp_path_factory.mktemp("shards") / "out", "datasets", images=images)
    again = read(str(written.source))
    content = {Path(data.encoded(row)).read_bytes(): row for row in range(len(data))}  # type: ignore[arg-type]
    order = [content[_bytes(again.encoded(row))] for row in range(len(again))]
    assert sorted(order) == list(range(len(data)))
    assert list(again.labels) in (list(data.labels), [datasets._column(name) for name in data.labels])
    np.testing.assert_array_equal(again.known, data.known[order])
    np.testing.assert_array_equal(again.values, data.values[order] * data.known[order])
    splits = [-1] * len(again) if again.split_of is None else again.split_of  # where no row is in a split
    assert [[*again.split_names, ""][code] for code in splits] == [
        [*data.split_names, ""][data.split_of[row]] for row in order
    ]


def _bytes(image: Path | bytes) -> bytes:
    return image if isinstance(image, bytes) else Path(image).read_bytes()


def loaded(out: Path, cache: Path) -> Any:
    tool = pytest.importorskip("datasets", reason="datasets is not installed")
    return tool.load_dataset(str(out), cache_dir=str(cache))


def test_datasets_shows_names_splits_and_images(small: Dataset, photos: Path, tmp_path: Path) -> None:
    data = replace(small, known=np.ones_like(small.known))
    data = replace(data, known=data.known & (np.arange(4) != 2)[:, None])
    written = convert(data, tmp_path / "out", "datasets")
    assert written.files == (
        "data/train-00000-of-00001.parquet",
        "data/validation-00000-of-00001.parquet",
    )
    splits = loaded(tmp_path / "out", tmp_path / "cache")
    assert list(splits) == ["train", "validation"]
    assert splits["train"].features["labels"].feature.names == ["dog", "tall, cat", "person"]
    assert splits["train"]["labels"] == [[0, 2], [1]]
    assert splits["validation"]["labels"] == [None, []]
    assert splits["train"]["group"] == [7, 7]
    assert [image.size for image in splits["validation"]["image"]] == [(42, 30), (43, 30)]


def test_unknown_labels_are_nulls_of_a_column_each(small: Dataset, tmp_path: Path) -> None:
    data = replace(small, labels=LabelSet(("dog", "group", "cat")))
    written = convert(data, tmp_path / "out", "datasets", images="paths")
    assert "Columns of labels with reserved names: label:group is group." in written.notes
    assert any("a column of true, false and null" in note for note in written.notes)
    rows = loaded(tmp_path / "out", tmp_path / "cache")["validation"]
    assert rows.features["dog"].dtype == "bool"
    assert rows["dog"] == [None, False]
    assert rows["label:group"] == [True, False]
    assert rows[0]["image"].size == (42, 30)


def test_shards_hold_no_more_than_their_share(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "SHARD_BYTES", 1)
    monkeypatch.setattr(datasets, "BLOCK_BYTES", 1)
    written = convert(replace(small, split_of=None, split_names=()), tmp_path / "out", "datasets")
    assert written.files == tuple(f"data/train-{i:05}-of-00004.parquet" for i in range(4))
    assert "A data set without splits is called train." in written.notes
    assert [image.size[0] for image in loaded(tmp_path / "out", tmp_path / "cache")["train"]["image"]] == [
        40, 41, 42, 43,
    ]  # fmt: skip


def test_embedded_images_are_written_from_the_table(small: Dataset, tmp_path: Path) -> None:
    content = [Path(small.encoded(row)).read_bytes() for row in range(4)]  # type: ignore[arg-type]
    inside = replace(small, images=pa.array(content, pa.large_binary()), root=None)
    convert(inside, tmp_path / "out", "datasets")
    table = parquet.read_table(tmp_path / "out" / "data" / "train-00000-of-00001.parquet")
    assert table["image"].to_pylist() == [{"bytes": c, "path": None} for c in content[:2]]
    with pytest.raises(LabelwiseError, match="images inside the data set"):
        convert(inside, tmp_path / "other", "datasets", images="paths")


def test_a_missing_image_leaves_no_files(small: Dataset, tmp_path: Path) -> None:
    lost = replace(small, images=pa.array(["a/0.jpg", "a/1.jpg", "a/gone.jpg", "a/3.jpg"]))
    with pytest.raises(LabelwiseError, match=r"image a/gone\.jpg: No such file"):
        convert(lost, tmp_path / "out", "datasets")
    assert list(tmp_path.iterdir()) == []


def test_splits_that_datasets_refuses(small: Dataset, tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match="a split called 'my split'"):
        convert(replace(small, split_names=("train", "my split")), tmp_path / "out", "datasets")
    with pytest.raises(LabelwiseError, match="splits called val and validation"):
        convert(replace(small, split_names=("validation", "val")), tmp_path / "out", "datasets")


def test_a_folder_that_is_not_empty_is_never_replaced(small: Dataset, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    convert(small, tmp_path / "out", "datasets")
    for replaced in (False, True):
        with pytest.raises(LabelwiseError, match="a folder that is not empty"):
            convert(small, tmp_path / "out", "datasets", replaced=replaced)
