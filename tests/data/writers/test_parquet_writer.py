"""The canonical table as other tools read it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelwise.data import Dataset, read
from labelwise.data.writers import convert
from labelwise.types import LabelSet
from written_sets import ODD_NAMES, STATES, dataset, matrices, same, same_groups

cells = st.one_of(st.sampled_from(STATES), st.floats(0, 1, width=32))
names = st.one_of(st.sampled_from(["dog", "cat", "image", "split"]), st.sampled_from(ODD_NAMES))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(matrices(names, cells, ("train", "validation", "my split")))
def test_any_table_reads_back_the_same(photos: Path, tmp_path: Path, arguments: dict[str, Any]) -> None:
    data = dataset(photos, **arguments)
    again = read(str(convert(data, tmp_path / "t.parquet", replaced=True).source))
    same(data, again)
    same_groups(data, again)


def test_pandas_and_polars_read_the_columns(small: Dataset, tmp_path: Path) -> None:
    written = convert(replace(small, labels=LabelSet(("dog", "group", "cat"))), tmp_path / "t.parquet")
    assert written.notes == (
        "Columns of labels with reserved names: label:group is group.",
        f"Names in the column image are relative to {small.root}.",
    )
    columns = ["dog", "label:group", "cat"]
    expected = np.where(small.known, small.values, np.nan)
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.read_parquet(tmp_path / "t.parquet")
    assert frame["image"].tolist() == [f"a/{i}.jpg" for i in range(4)]
    np.testing.assert_array_equal(frame[columns].to_numpy(np.float32, na_value=np.nan), expected)
    polars = pytest.importorskip("polars", reason="polars is not installed")
    table = polars.read_parquet(tmp_path / "t.parquet")
    np.testing.assert_array_equal(table.select(columns).cast(polars.Float32).to_numpy(), expected)
    assert table["split"].to_list() == ["train", "train", "val", "val"]


def test_images_can_be_embedded_in_the_table(small: Dataset, tmp_path: Path) -> None:
    written = convert(small, tmp_path / "t.parquet", images="embed")
    again = read(str(written.source))
    assert [again.encoded(row) for row in range(4)] == [
        Path(small.encoded(row)).read_bytes()  # type: ignore[arg-type]
        for row in range(4)
    ]
    convert(again, tmp_path / "u.parquet")
    assert read(f"parquet:{tmp_path / 'u.parquet'}").encoded(3) == again.encoded(3)
