"""Rows of an array that are compressed one by one, against the array itself."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest

from labelwise.errors import LabelwiseError
from labelwise.runs import packed_rows
from labelwise.runs.packed_rows import _ENTRY, PackedRows, allocate, packed, packed_share
from labelwise.runs.stored import open_rows, stored


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


DAMAGED = r"m\.rows is damaged; .*labelwise cache clear"


@pytest.mark.parametrize("zeros", [0.0, 0.9])
def test_a_damaged_file_is_one_line(tmp_path: Path, zeros: float) -> None:
    path = tmp_path / "m.rows"
    whole = written(path, maps(zeros=zeros), [list(range(7))])
    content = path.read_bytes()
    place = whole._place(3)
    for header in (b"", bytes(4096), content[:8] + b"{}".ljust(4088, b"\0"), content[:place]):
        path.write_bytes(header)
        with pytest.raises(LabelwiseError, match=DAMAGED):
            open_rows(path)
    table = np.frombuffer(content, _ENTRY, 7, 4096).copy()
    table["length"][3] -= 7
    path.write_bytes(content[:4096] + table.tobytes() + content[4096 + table.nbytes :])
    store = PackedRows(path)
    assert store[np.array([2])].any()
    with pytest.raises(LabelwiseError, match=DAMAGED):
        store[np.array([2, 3])]


def test_a_single_changed_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m.rows"
    whole = written(path, maps(), [list(range(7))])
    content = bytearray(path.read_bytes())
    length = int(whole._table["length"][5])
    for offset in range(0, length, 97):
        content[whole._place(5) + offset] ^= 4
        path.write_bytes(content)
        with pytest.raises(LabelwiseError, match=DAMAGED):
            PackedRows(path)[np.array([5])]
        content[whole._place(5) + offset] ^= 4


def test_a_disk_that_fails_is_not_called_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = written(tmp_path / "m.rows", maps(), [list(range(7))])

    def failing(*_: object) -> bytes:
        raise OSError(errno.EIO, "the disk fails")

    monkeypatch.setattr(packed_rows, "read_at", failing)
    with pytest.raises(OSError, match="the disk fails"):
        store[np.array([1])]


def test_rows_that_are_lost_are_noticed_and_unreadable_images_are_not(tmp_path: Path) -> None:
    def compute(file: Path) -> list[tuple[int, str]]:
        store = open_rows(file, writable=True)
        store[np.arange(1, 7)] = maps()[1:]
        store.flush()
        return [(0, "not an image")]

    def opened() -> np.ndarray:
        return np.asarray(stored(tmp_path / "m.rows", lambda: maps().shape, compute, "", lambda _: None)[0])

    assert opened()[1:].tobytes() == maps()[1:].tobytes()
    with (tmp_path / "m.rows").open("r+b") as file:  # a block that a power failure left empty
        file.seek(4096)
        file.write(bytes(4096))
    with pytest.raises(LabelwiseError, match=DAMAGED):
        opened()


def test_a_disk_that_will_be_full_is_named_before_all_rows_are_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = maps(rows=20)
    allocate(tmp_path / "m.rows", (100_000, *values.shape[1:]))
    monkeypatch.setattr(packed_rows, "_CHECKED_AFTER", 10)
    store = PackedRows(tmp_path / "m.rows", writable=True)
    store[np.arange(20)] = values  # there is space
    usage = shutil.disk_usage(tmp_path)._replace(free=10**7)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"maps need about 0\.4 GB more, 0\.0 GB are free"):
        store[np.arange(20, 40)] = values


def test_values_of_another_shape_are_refused(tmp_path: Path) -> None:
    store = written(tmp_path / "m.rows", maps(), [[0]])
    with pytest.raises(ValueError, match="values of shape"):
        store[np.array([1])] = np.zeros((1, 80, 9, 5), np.float16)


def test_rows_are_read_back_by_the_store_that_wrote_them(tmp_path: Path) -> None:
    allocate(tmp_path / "m.rows", maps().shape)
    store = PackedRows(tmp_path / "m.rows", writable=True)
    store[np.array([4])] = maps()[[4]]
    assert store[np.array([4])].tobytes() == maps()[[4]].tobytes()
    assert store.empty.tolist() == [0, 1, 2, 3, 5, 6]


def test_the_form_is_told_by_the_name(tmp_path: Path) -> None:
    values = maps()
    np.save(tmp_path / "plain.npy", values)
    written(tmp_path / ".packed.rows.part", values, [list(range(7))])
    assert isinstance(open_rows(tmp_path / "plain.npy"), np.memmap)
    assert isinstance(open_rows(tmp_path / ".packed.rows.part"), PackedRows)
    for name in ("plain.npy", ".packed.rows.part"):
        store = open_rows(tmp_path / name, writable=True)
        store[np.array([2, 3])] = values[[3, 2]]
        store.flush()
        assert np.array_equal(open_rows(tmp_path / name)[np.array([2, 3])], values[[3, 2]])
    (tmp_path / "plain.npy").write_bytes(b"")
    with pytest.raises(LabelwiseError, match=r"plain\.npy is damaged"):
        open_rows(tmp_path / "plain.npy")
