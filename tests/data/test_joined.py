"""Several data sets as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.data.dataset import Dataset
from labelwise.data.readers.joined import joined
from labelwise.data.source import WouldLose
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet


def part(labels: str, rows: list[list[float | None]], start: int = 0, **others: object) -> Dataset:
    cells = np.array([[np.nan if cell is None else cell for cell in row] for row in rows], np.float32)
    cells = cells.reshape(len(rows), len(labels))
    known = ~np.isnan(cells)
    hard = bool(((cells == 0) | (cells == 1) | ~known).all())
    values = np.where(known, cells, 0).astype(np.uint8 if hard else np.float32)
    fields = {
        "images": pa.array([f"{start + i}.jpg" for i in range(len(rows))], pa.string()),
        "root": Path("data/a"),
    }
    return Dataset(labels=LabelSet(tuple(labels)), values=values, known=known, **{**fields, **others})  # type: ignore[arg-type]


def cells(data: Dataset) -> list[dict[str, float]]:
    """What is known of each row, by label."""
    return [
        {name: float(data.values[i, j]) for j, name in enumerate(data.labels) if data.known[i, j]}
        for i in range(len(data))
    ]


STATES = st.sampled_from([0.0, 1.0, 0.5, None])
PARTS = st.permutations("xyz").flatmap(
    lambda names: st.tuples(
        st.just("".join(names)), st.lists(st.lists(STATES, min_size=3, max_size=3), max_size=4)
    )
)


@settings(max_examples=80, deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=3))
def test_rows_keep_their_cells_whatever_the_order_of_labels(
    parts: list[tuple[str, list[list[float | None]]]],
) -> None:
    datas = [part(labels, rows, 10 * number) for number, (labels, rows) in enumerate(parts)]
    data = joined([(one, f"s{number}") for number, one in enumerate(datas)], union=False)
    assert data.labels.names == tuple(parts[0][0])
    assert cells(data) == [row for one in datas for row in cells(one)]
    assert [data.image_id(i) for i in range(len(data))] == [
        one.image_id(i) for one in datas for i in range(len(one))
    ]
    assert sum(data.splits().values()) == len(data)
    assert data.rows_in_source == len(data)


def test_roots_splits_groups_and_notes() -> None:
    first = part("xy", [[1, 0]], group=np.array([5]), notes=("A.", "B."))
    second = part(
        "yx",
        [[1, 0], [0, 1]],
        7,
        root=Path("data/b/c"),
        group=np.array([5, 5]),
        notes=("A.", "C."),
    )
    third = part("xy", [[0, 0]], 1, images=pa.array(["/far/1.jpg"]))
    data = joined([(first, "train"), (second, "valid"), (third, "test")], union=False)
    assert data.root == Path("data")
    assert data.images.to_pylist() == ["a/0.jpg", "b/c/7.jpg", "b/c/8.jpg", "/far/1.jpg"]
    assert data.splits() == {"train": 1, "val": 2, "test": 1}
    assert data.group is not None
    assert data.group[1] == data.group[2]
    assert len(set(data.group.tolist())) == 3
    assert data.notes == ("train, valid: A.", "train: B.", "valid: C.", "Splits renamed: valid is val.")


def test_parts_keep_their_own_splits() -> None:
    first = part("x", [[1], [0]], split_of=np.array([1, -1], np.int16), split_names=("test", "train"))
    data = joined([(first, ""), (part("x", [[1]], 5), "")], union=False)
    assert data.splits() == {"train": 1}
    assert data.split_of is not None
    assert data.split_of.tolist() == [0, -1, -1]
    with pytest.raises(LabelwiseError, match="which is the split val, with splits of its own"):
        joined([(first, "val")], union=False)


def test_labels_that_differ() -> None:
    parts = [(part("xy", [[1, 0]]), "train"), (part("yz", [[1, 1]], 5), "val")]
    with pytest.raises(
        WouldLose, match=r"labels that differ: train lacks z; val lacks x.*labels=union"
    ) as lossy:
        joined(parts, union=False)
    assert lossy.value.option == ("labels", "union")
    data = joined(parts, union=True)
    assert cells(data) == [{"x": 1, "y": 0}, {"y": 1, "z": 1}]
    assert data.notes == ("Labels are unknown where they are lacking: train lacks z; val lacks x.",)


def test_an_image_in_two_parts() -> None:
    with pytest.raises(LabelwiseError, match=r"1 images in several parts, such as 1\.jpg in train and test"):
        joined([(part("x", [[1], [0]]), "train"), (part("x", [[1]], 1), "test")], union=False)
    with pytest.raises(LabelwiseError, match="no data sets to join"):
        joined([], union=False)
