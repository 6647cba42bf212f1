"""A column of objects of which a field holds the names of labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from labelwise.data import read
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]


@pytest.mark.parametrize("option", ["", "?labels=objects"])
def test_the_field_of_names_is_named(tmp_path: Path, photo: Photo, option: str) -> None:
    for number in range(2):
        photo(tmp_path / f"{number}.jpg", seed=number)
    objects = [{"bbox": [[0, 0, 1, 1]], "categories": ["cat", "dog"]}, {"bbox": [], "categories": ["cat"]}]
    table = pa.table({"image": ["0.jpg", "1.jpg"], "objects": objects})
    parquet.write_table(table, tmp_path / "train.parquet")
    source = f"parquet:{tmp_path / 'train.parquet'}"
    with pytest.raises(LabelwiseError, match=r"add \?labels=objects\.categories for the names"):
        read(source + option)
    assert read(f"{source}?labels=objects.categories").values.tolist() == [[1, 1], [1, 0]]
    beside = table.append_column("tags", pa.array([["owl"], ["cow"]]))
    parquet.write_table(beside, tmp_path / "train.parquet")
    if not option:
        assert read(source).labels.names == ("cow", "owl")


def test_the_field_of_names_in_lists_of_objects_is_named(tmp_path: Path, photo: Photo) -> None:
    for number in range(2):
        photo(tmp_path / f"{number}.jpg", seed=number)
    objects = [
        [{"category": "cat", "area": 2.0}, {"category": "dog", "area": 1.0}],
        [{"category": "cat", "area": 3.0}],
    ]
    parquet.write_table(
        pa.table({"image": ["0.jpg", "1.jpg"], "objects": objects}), tmp_path / "train.parquet"
    )
    source = f"parquet:{tmp_path / 'train.parquet'}"
    with pytest.raises(LabelwiseError, match=r"add \?labels=objects\.category for the names"):
        read(source)
    assert read(f"{source}?labels=objects.category").values.tolist() == [[1, 1], [1, 0]]
