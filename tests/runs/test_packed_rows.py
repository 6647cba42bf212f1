"""Rows of an array that are compressed one by one, against the array itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelwise.errors import LabelwiseError
from labelwise.runs.packed_rows import PackedRows, allocate, packed, packed_share
from labelwise.runs.stored import open_rows


def maps(rows: int = 7, zeros: float = 0.9, seed: int = 0) -> np.ndarray:
    """Maps of which a share of the values is zero; with 0 they do not shrink."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((rows, 40, 9, 5)).astype(np.float16)
    return np.where(rng.random(values.shape) < zeros, np.float16(0), values)


def written(path: Path, values: np.ndarray, order: list[list[int]]) -> PackedRows:
    """The file with all rows, written in some order by handles of their own."""
    allocate(path, values.shape)
    for rows in order:
        store = PackedRows(path, writable=True)
        store[np.array(rows)] = values[rows]
        store.flush()
    return PackedRows(path)


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9, 1.0])
def test_rows_are_read_as_they_were_written(tmp_path: Path, zeros: float) -> None:
    values = maps(zeros=zeros)
    values[2, 0, 0, :4] = [np.nan, np.inf, -np.inf, -0.0]
    store = written(tmp_path / "m.rows", values, [[0, 1, 2, 3, 4, 5, 6]])
    assert store.shape == values.shape
    assert len(store) == 7
    for rows in ([3], [6, 0, 2], [1, 1], []):
        assert store[np.array(rows, np.int64)].tobytes() == values[rows].tobytes()
    assert np.asarray(store).tobytes() == values.tobytes()


def test_the_order_of_writing_does_not_change_the_file(tmp_path: Path) -> None:
    values = maps()
    written(tmp_path / "a.rows", values, [[0, 1, 2, 3, 4, 5, 6]])
    written(tmp_path / "b.rows", values, [[5, 6], [0, 3, 1], [4, 2]])
    assert (tmp_path / "a.rows").read_bytes() == (tmp_path / "b.rows").read_bytes()


def test_rows_that_were_not_written_are_zero(tmp_path: Path) -> None:
    store = written(tmp_path / "m.rows", maps(), [[1, 4]])
    assert not store[np.array([0, 6])].any()
    assert store[np.array([1])].any()


def test_a_file_takes_the_space_of_what_is_written(tmp_path: Path) -> None:
    values = maps(rows=40)
    values = np.repeat(values, 8, axis=1)
    path = tmp_path / "m.rows"
    written(path, values, [list(range(40))])
    state = path.stat()
    if not hasattr(state, "st_blocks"):
        pytest.skip("this system does not tell what a file takes")
    share = 512 * state.st_blocks / values.nbytes
    if share >= 1:
        pytest.skip("this disk stores no holes")
    assert share == pytest.approx(packed_share(values), abs=0.05)
    assert share < 0.5


def test_a_row_that_does_not_shrink_is_stored_as_it_is() -> None:
    noise = maps(zeros=0)[0]
    assert packed(noise) == noise.tobytes()
    assert packed_share([noise]) >= 1
    assert len(packed(np.zeros_like(noise))) < 100


@pytest.mark.parametrize("zeros", [0.0, 0.9])
def test_a_damaged_file_is_one_line(tmp_path: Path, zeros: float) -> None:
    path = tmp_path / "m.rows"
    whole = written(path, maps(zeros=zeros), [list(range(7))])
    content = path.read_bytes()
    place = whole._place(3)
    path.write_bytes(content[:place])
    with pytest.raises(LabelwiseError, match=r"m\.rows is damaged; .*labelwise cache clear"):
        PackedRows(path)
    lengths = np.frombuffer(content, np.int32, 7, 4096).copy()
    lengths[3] -= 7
    path.write_bytes(content[:4096] + lengths.tobytes() + content[4096 + 28 :])
    store = PackedRows(path)
    assert store[np.array([2])].any()
    with pytest.raises(LabelwiseError, match=r"m\.rows is damaged"):
        store[np.array([2, 3])]


def test_the_form_is_told_by_the_content(tmp_path: Path) -> None:
    values = maps()
    np.save(tmp_path / "plain.npy", values)
    written(tmp_path / "packed.npy", values, [list(range(7))])
    assert isinstance(open_rows(tmp_path / "plain.npy"), np.memmap)
    assert isinstance(open_rows(tmp_path / "packed.npy"), PackedRows)
    for name in ("plain", "packed"):
        store = open_rows(tmp_path / f"{name}.npy", writable=True)
        store[np.array([2, 3])] = values[[3, 2]]
        store.flush()
        assert np.array_equal(open_rows(tmp_path / f"{name}.npy")[np.array([2, 3])], values[[3, 2]])
    with pytest.raises(ValueError, match="does not hold packed rows"):
        PackedRows(tmp_path / "plain.npy")
