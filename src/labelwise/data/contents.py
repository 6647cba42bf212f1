"""Search for images with equal bytes in bounded memory: by lengths, then by ends, then by digests."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, pairwise, repeat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int64

from labelwise.data.dataset import Dataset
from labelwise.data.decode import UnreadableImage
from labelwise.data.positions import read_at

_TAIL = 4096  # bytes; encoded images of equal length almost always differ at the end
_READ = 1 << 20
_ROWS = 1 << 14  # Python strings at once
_ODD_PARTS = r"//|(?:^|/)\.(?:/|$)|./$|^$"
"""Parts of a path that `Path` would normalise: empty parts, and parts of a single dot."""


def content_codes(items: Sequence[Path | bytes]) -> Int64[np.ndarray, " N"]:
    """Equal codes for equal bytes; only files of equal length and equal end are read completely.

    Args:
        items: image files, as paths or bytes. An empty or unreadable one equals no other.

    Returns:
        `[N]` int64 codes from 0, in order of first appearance.
    """
    return _content_codes([_item_contents(items)])


def dataset_content_codes(data: Dataset, hint: np.ndarray | None = None) -> Int64[np.ndarray, " N"]:
    """`content_codes` of the images of a data set, which are not in memory together.

    Args:
        data: the images.
        hint: `[N]` numbers that are equal for equal bytes, such as perceptual hashes; images with a unique one
            are not read.
    """
    needed = None
    if hint is not None:
        _, hint, count = np.unique(hint, return_inverse=True, return_counts=True)
        needed = count[hint] > 1
    return _content_codes([_data_contents(data, needed)], hint=hint)


def shared_content(one: Dataset, other: Dataset) -> Bool[np.ndarray, " M"]:
    """Mask of the images of `other` with the bytes of an image of `one`."""
    parts = [_data_contents(one), _data_contents(other)]
    codes = _content_codes(parts, across=True)
    return np.isin(codes[len(one) :], codes[: len(one)])


def shared_files(one: Dataset, other: Dataset) -> Bool[np.ndarray, " M"]:
    """Mask of the images of `other` that are files of `one` too."""
    if one.embedded or other.embedded:
        return np.zeros(len(other), bool)
    names = [pa.chunked_array(_normalised_paths(data), pa.binary()) for data in (one, other)]
    return pc.is_in(names[1], value_set=names[0]).to_numpy()


def _normalised_paths(data: Dataset) -> Iterator[pa.Array]:
    """The normalised path of each row's file; `Path` normalises only the few that need it."""
    root = b"" if data.root is None else os.fsencode(os.path.join(data.root, ""))
    for start in range(0, len(data), _ROWS):
        names = data.images[start : start + _ROWS]
        names = (names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names).cast(pa.binary())
        joined = pc.binary_join_element_wise(pa.scalar(root), names, pa.scalar(b""))
        paths = pc.if_else(pc.starts_with(names, b"/"), names, joined)
        odd = pc.match_substring_regex(paths, _ODD_PARTS) if os.sep == "/" else pa.array([True] * len(paths))
        if pc.any(odd).as_py():
            normal = [os.fsencode(Path(os.fsdecode(path))) for path in paths.filter(odd).to_pylist()]
            paths = pc.replace_with_mask(paths, odd, pa.array(normal, pa.binary()))
        yield paths


def file_paths(data: Dataset) -> Iterator[str]:
    """The path of each row's image file, of a data set with neither bytes nor a store."""
    prefix = "" if data.root is None else os.path.join(data.root, "")
    for start in range(0, len(data), _ROWS):
        for name in data.images[start : start + _ROWS].to_pylist():
            yield name if os.path.isabs(name) else prefix + name


@dataclass(frozen=True)
class _Contents:
    """Access to the bytes of images.

    Args:
        length: `[N]` int64 bytes; -1 for an image that cannot be read.
        same_file: `[N]` int64, the first row with the same file, by name or link.
        end: row -> its last bytes, `None` for an unreadable one.
        whole: row -> all its bytes in pieces; raises `OSError` or `UnreadableImage`.
    """

    length: np.ndarray
    same_file: np.ndarray
    end: Callable[[int], bytes | None]
    whole: Callable[[int], Iterator[bytes | memoryview]]

    def digest(self, row: int) -> bytes | None:
        """A digest of 16 bytes of the content, `None` for an unreadable one."""
        hasher = hashlib.blake2b(digest_size=16)
        try:
            for piece in self.whole(row):
                hasher.update(piece)
        except (OSError, UnreadableImage):
            return None
        return hasher.digest()

    def end_digest(self, row: int) -> bytes | None:
        """A digest of 16 bytes of the end."""
        end = self.end(row)
        return None if end is None else hashlib.blake2b(end, digest_size=16).digest()


def _data_contents(data: Dataset, needed: np.ndarray | None = None) -> _Contents:
    """The contents of images in files, in a store or in a table."""
    if data.store is None and not data.holds_bytes:
        return _file_contents(file_paths(data), len(data), lambda row: os.fspath(data.encoded(row)), needed)  # type: ignore[arg-type,return-value]
    rows = np.arange(len(data))
    if data.store is None:
        length = pc.fill_null(pc.binary_length(data.images), -1).to_numpy(zero_copy_only=False)

        def content(row: int) -> memoryview:
            return memoryview(data.images[row].as_buffer())

        return _Contents(
            length.astype(np.int64),
            rows,
            lambda row: bytes(content(row)[-_TAIL:]),
            lambda row: iter([content(row)]),
        )
    store, numbers = data.store, rows if data.numbers is None else data.numbers

    def whole(row: int) -> Iterator[bytes]:
        yield store.read(int(numbers[row]))

    return _Contents(store.lengths[numbers], rows, lambda row: store.end(int(numbers[row]), _TAIL), whole)


def _item_contents(items: Sequence[Path | bytes]) -> _Contents:
    """The contents of files and of encoded images in memory."""
    paths = (os.fspath(item) if isinstance(item, Path) else "" for item in items)
    files = _file_contents(paths, len(items), lambda row: os.fspath(items[row]))  # type: ignore[arg-type,return-value]
    for row, item in enumerate(items):
        if isinstance(item, bytes):
            files.length[row], files.same_file[row] = len(item), row

    def end(row: int) -> bytes | None:
        item = items[row]
        return item[-_TAIL:] if isinstance(item, bytes) else files.end(row)

    def whole(row: int) -> Iterator[bytes | memoryview]:
        item = items[row]
        return iter([item]) if isinstance(item, bytes) else files.whole(row)

    return _Contents(files.length, files.same_file, end, whole)


def _file_contents(
    paths: Iterator[str], rows: int, path: Callable[[int], str], needed: np.ndarray | None = None
) -> _Contents:
    """The contents of files; links to one file count once."""
    state = np.full((rows, 3), -1, np.int64)
    for row, file_path in compress(enumerate(paths), repeat(True) if needed is None else needed.tolist()):
        try:
            status = os.stat(file_path)
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(status.st_mode):  # reading a pipe could block forever
            state[row] = status.st_size, status.st_dev & (2**63 - 1), status.st_ino & (2**63 - 1)
    length, device, inode = state.T
    # Some file systems have no inode numbers: each of their files is distinct.
    unique = np.where((length < 0) | (inode == 0), np.arange(rows), -1)
    codes = _ranks(unique, device, inode, length)
    _, first_rows = np.unique(codes, return_index=True)

    def end(row: int) -> bytes | None:
        try:
            with open(path(row), "rb", buffering=0) as file:
                return read_at(file.fileno(), _TAIL, max(0, int(length[row]) - _TAIL))
        except OSError:
            return None

    def whole(row: int) -> Iterator[bytes]:
        with open(path(row), "rb", buffering=0) as file:
            while piece := file.read(_READ):
                yield piece

    return _Contents(length.copy(), first_rows[codes], end, whole)


def _content_codes(
    parts: Sequence[_Contents], across: bool = False, hint: np.ndarray | None = None
) -> Int64[np.ndarray, " N"]:
    """Codes of the content of all parts, exact with `across` only for contents in every part; empty ones are unique."""
    offsets = np.cumsum([0, *(len(part.length) for part in parts)])
    length = np.concatenate([part.length for part in parts])
    same_file = np.concatenate([p.same_file + o for p, o in zip(parts, offsets[:-1], strict=True)])
    rows = np.arange(len(length))
    unique = np.where(length <= 0, rows, -1)
    codes = _ranks(unique, length, *([] if hint is None else [hint]))
    for digest_of in (_Contents.end_digest, _Contents.digest):
        repeated = np.bincount(codes) > 1
        for start, stop in pairwise(offsets.tolist()) if across else ():
            repeated &= np.bincount(codes[start:stop], minlength=len(repeated)) > 0
        undecided = repeated[codes] & (same_file == rows)
        numbers = np.zeros((len(length), 2), np.uint64)  # a digest as two numbers; 0 where none is needed
        for part, start in zip(parts, offsets[:-1].tolist(), strict=True):
            unread = np.flatnonzero(undecided[start : start + len(part.length)])
            digests = bytearray(16 * len(unread))
            for index, row in enumerate(unread.tolist()):
                digest = digest_of(part, row)
                if digest is None:
                    unique[start + row] = start + row
                else:
                    digests[16 * index : 16 * index + 16] = digest
            numbers[start + unread] = np.frombuffer(digests, np.uint64).reshape(-1, 2)
        codes = _ranks(codes, unique[same_file], *numbers[same_file].T)
    _, first_rows = np.unique(codes, return_index=True)
    ranks = np.empty(len(first_rows), np.int64)
    ranks[np.argsort(first_rows)] = np.arange(len(first_rows))
    return ranks[codes]


def _ranks(*keys: np.ndarray) -> np.ndarray:
    """`[N]` codes from 0, equal where all keys are."""
    order = np.lexsort(keys)
    starts = np.zeros(len(order), np.int64)
    for key in keys:
        starts[1:] |= key[order[1:]] != key[order[:-1]]
    codes = np.empty(len(order), np.int64)
    codes[order] = np.cumsum(starts)
    return codes
