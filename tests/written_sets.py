"""What the tests of writers share: data sets with unknowns, shares, splits and groups, and what counts as the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from labelwise.data.dataset import Dataset
from labelwise.types import LabelSet

ROWS = 6


def dataset(photos: Path, labels: Sequence[str], states: Any, **more: Any) -> Dataset:
    """A data set of the photographs: states `[N, L]` in [0, 1], NaN where unknown."""
    states = np.asarray(states, np.float32).reshape(-1, len(labels))
    known = ~np.isnan(states)
    values = np.where(known, states, 0).astype(np.float32)
    if ((values == 0) | (values == 1)).all():
        values = values.astype(np.uint8)
    images = pa.array([f"a/{i}.jpg" for i in range(len(states))], pa.string())
    return Dataset(LabelSet(tuple(labels)), images, photos, values, known, **more)


def same(first: Dataset, second: Dataset) -> None:
    """Asserts that two data sets have the same images, label states, splits and groups, by name."""
    assert second.labels.names == first.labels.names
    place = {str(second.encoded(row)): row for row in range(len(second))}
    order = [place[str(first.encoded(row))] for row in range(len(first))]
    assert sorted(order) == list(range(len(second)))
    np.testing.assert_array_equal(second.known[order], first.known)
    np.testing.assert_array_equal(
        second.values[order].astype(np.float32) * first.known, first.values.astype(np.float32) * first.known
    )
    assert _names(second, order) == _names(first, list(range(len(first))))


def _names(data: Dataset, order: Sequence[int]) -> list[str | None]:
    if data.split_of is None:
        return [None] * len(order)
    return [[*data.split_names, ""][data.split_of[row]] for row in order]


def same_groups(first: Dataset, second: Dataset) -> None:
    """Asserts that rows share a group in one data set where they do in the other; rows stand in the same order."""
    assert (first.group is None) == (second.group is None)
    if first.group is not None:
        assert second.group is not None
        np.testing.assert_array_equal(
            first.group[:, None] == first.group[None], second.group[:, None] == second.group[None]
        )


STATES = [0.0, 1.0, np.nan]
ODD = (
    "image images split Split subset group ml_use is_valid is_train labels tag category url photo id width fold "
    "label:dog -1 0 nan cat.jpg Unnamed:_3"
)
ODD_NAMES = [
    *ODD.split(),
    "a,b",
    'a"b',
    "a;b;c",
    "a|b",
    " dog",
    "dog ",
    "two words",
    "a\tb",
    "line\nbreak",
    "ä é",
]


@st.composite
def matrices(
    draw: st.DrawFn, names: st.SearchStrategy[str], cells: st.SearchStrategy[float], splits: Sequence[str]
) -> dict[str, Any]:
    """Arguments of `dataset`: labels, states, and perhaps splits and groups."""
    labels = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    rows = draw(st.integers(1, ROWS))
    states = draw(st.lists(cells, min_size=rows * len(labels), max_size=rows * len(labels)))
    arguments: dict[str, Any] = {"labels": labels, "states": states}
    if splits and draw(st.booleans()):
        of = draw(st.lists(st.integers(-1, len(splits) - 1), min_size=rows, max_size=rows))
        arguments |= {"split_of": np.array(of, np.int16), "split_names": tuple(splits)}
    if draw(st.booleans()):
        of = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
        arguments["group"] = np.array(of, np.int64)
    return arguments
