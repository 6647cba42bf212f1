"""Images that occur more than once: byte for byte, or looking the same after another size or compression."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Int64, UInt8, UInt64
from PIL import Image

from labelwise.data.dataset import Dataset
from labelwise.data.decode import decode_image
from labelwise.errors import LabelwiseError

HASH_DISTANCE = 10  # of 64 bits; a crop of 3 % on each side stays within it for most photographs
THUMB_SIDE = 16
THUMB_DIFFERENCE = 16.0  # grey levels on average; unrelated photographs differ by 40 and more
THUMB_CONTRAST = 0.4  # of the smaller standard deviation, so that flat pictures are not all alike


def content_codes(items: Sequence[Path | bytes]) -> Int64[np.ndarray, " N"]:
    """Equal codes for equal bytes; only files of equal length are read.

    Args:
        items: image files, as paths or bytes. One that cannot be read is like no other.

    Returns:
        `[N]` int64 codes from 0, in order of first appearance.
    """
    sizes: dict[int, int] = {}
    lengths = [_length(item) for item in items]
    for length in lengths:
        sizes[length] = sizes.get(length, 0) + 1
    keys: list[object] = []
    for row, (item, length) in enumerate(zip(items, lengths, strict=True)):
        keys.append((length, _digest(item, row)) if length >= 0 and sizes[length] > 1 else row)
    seen: dict[object, int] = {}
    return np.array([seen.setdefault(key, len(seen)) for key in keys], np.int64)


def dataset_content_codes(data: Dataset) -> Int64[np.ndarray, " N"]:
    """`content_codes` of the images of a data set."""
    return content_codes([data.encoded(i) for i in range(len(data))])


def _length(item: Path | bytes) -> int:
    if isinstance(item, bytes):
        return len(item)
    try:
        return os.stat(item).st_size
    except OSError:
        return -1


def _digest(item: Path | bytes, row: int) -> bytes | int:
    try:
        raw = item if isinstance(item, bytes) else item.read_bytes()
    except OSError:
        return row
    return hashlib.blake2b(raw, digest_size=16).digest()


@dataclass(frozen=True)
class Fingerprints:
    """What near duplicates are found by.

    Args:
        hashes: `[N]` 64-bit perceptual hashes (DCT signs).
        thumbs: `[N, 16, 16, 3]` small RGB pictures, to confirm what the hashes suggest.
        readable: `[N]` bool.
        errors: row and reason of each image that could not be decoded.
    """

    hashes: UInt64[np.ndarray, " N"]
    thumbs: UInt8[np.ndarray, "N 16 16 3"]
    readable: Bool[np.ndarray, " N"]
    errors: tuple[tuple[int, str], ...]


def fingerprints(data: Dataset, tick: Callable[[int], None] = lambda count: None) -> Fingerprints:
    """Perceptual hash and thumbnail of every image, decoded at a reduced scale.

    Args:
        data: the images.
        tick: called with the number of images done.
    """
    hashes = np.zeros(len(data), np.uint64)
    thumbs = np.zeros((len(data), THUMB_SIDE, THUMB_SIDE, 3), np.uint8)
    errors: list[tuple[int, str]] = []

    def one(row: int) -> tuple[int, np.ndarray] | str:
        try:
            pixels = decode_image(data.encoded(row), shrink_to=64).permute(1, 2, 0).contiguous().numpy()
        except LabelwiseError as error:
            return str(error)
        return fingerprint(pixels)

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for block in _ranges(len(data), 512):  # blocks, so that waiting results stay few
            for row, result in zip(block, pool.map(one, block), strict=True):
                if isinstance(result, str):
                    errors.append((row, result))
                else:
                    hashes[row], thumbs[row] = result
                tick(row + 1)
    readable = np.ones(len(data), bool)
    readable[[row for row, _ in errors]] = False
    return Fingerprints(hashes, thumbs, readable, tuple(errors))


def fingerprint(pixels: UInt8[np.ndarray, "H W 3"]) -> tuple[int, UInt8[np.ndarray, "16 16 3"]]:
    """64-bit perceptual hash and thumbnail of one image."""
    import imagehash  # brings scipy: not for those who only read

    picture = Image.fromarray(pixels)
    bits = imagehash.phash(picture, hash_size=8).hash.reshape(-1)
    thumb = np.asarray(picture.resize((THUMB_SIDE, THUMB_SIDE), Image.Resampling.BOX))
    return int(np.packbits(bits).view(">u8")[0]), thumb


def _ranges(stop: int, step: int) -> Iterator[range]:
    for start in range(0, stop, step):
        yield range(start, min(start + step, stop))


def close_pairs(hashes: UInt64[np.ndarray, " N"], distance: int) -> Int64[np.ndarray, "P 2"]:
    """All pairs `i < j` of hashes that differ in at most `distance` bits; every pair is compared.

    >>> close_pairs(np.array([0b0000, 0b0111, 0b0001], np.uint64), 1).tolist()
    [[0, 2]]
    """
    found = []
    for block in _ranges(len(hashes), max(1, (1 << 18) // max(len(hashes), 1))):
        rows = hashes[block.start : block.stop]
        far = bit_count(rows[:, None] ^ hashes[None, block.start :])
        i, j = np.nonzero(far <= distance)
        found.append(np.stack([i, j], 1)[j > i] + block.start)
    return np.concatenate(found).astype(np.int64) if found else np.zeros((0, 2), np.int64)


if np.lib.NumpyVersion(np.__version__) >= "2.0.0":

    def bit_count(
        words: UInt64[np.ndarray, "*shape"],
    ) -> Int[np.ndarray, "*shape"] | UInt8[np.ndarray, "*shape"]:
        """Number of set bits of each word."""
        return np.bitwise_count(words)

else:
    _BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1).astype(np.uint8)

    def bit_count(
        words: UInt64[np.ndarray, "*shape"],
    ) -> Int[np.ndarray, "*shape"] | UInt8[np.ndarray, "*shape"]:
        """Number of set bits of each word."""
        return _BITS[np.ascontiguousarray(words)[..., None].view(np.uint8)].sum(-1, dtype=np.uint8)


def near_duplicates(prints: Fingerprints) -> list[list[int]]:
    """Groups of rows that look the same: close hashes, then close thumbnails.

    Args:
        prints: of all images; unreadable ones are in no group.

    Returns:
        groups of two rows or more, ascending.
    """
    rows = np.flatnonzero(prints.readable)
    distinct, first, code = np.unique(prints.hashes[rows], return_index=True, return_inverse=True)
    same = np.stack([first[code.reshape(-1)], np.arange(len(rows))], 1)
    pairs = np.concatenate([same[same[:, 0] != same[:, 1]], first[close_pairs(distinct, HASH_DISTANCE)]])
    pairs = rows[pairs]
    close = list(_confirmed(prints.thumbs, pairs))
    return groups_of(len(prints.hashes), np.concatenate(close) if close else pairs)


def _confirmed(thumbs: np.ndarray, pairs: np.ndarray) -> Iterator[np.ndarray]:
    for block in _ranges(len(pairs), 4096):
        part = pairs[block.start : block.stop]
        one, other = thumbs[part[:, 0]].astype(np.float32), thumbs[part[:, 1]].astype(np.float32)
        contrast = np.minimum(one.std((1, 2, 3)), other.std((1, 2, 3)))
        limit = np.minimum(THUMB_DIFFERENCE, THUMB_CONTRAST * contrast)
        yield part[np.abs(one - other).mean((1, 2, 3)) <= limit]


def groups_of(rows: int, pairs: Int64[np.ndarray, "P 2"]) -> list[list[int]]:
    """Connected groups of two rows or more.

    >>> groups_of(5, np.array([[0, 3], [3, 4]]))
    [[0, 3, 4]]
    """
    code = connected(rows, pairs)
    return repeated_groups(code)


def connected(rows: int, pairs: Int64[np.ndarray, "P 2"]) -> Int64[np.ndarray, " N"]:
    """`[rows]` codes, equal for rows that a chain of pairs connects."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(rows, rows))
    return connected_components(links, directed=False)[1].astype(np.int64)


def repeated_groups(codes: Int64[np.ndarray, " N"]) -> list[list[int]]:
    """Rows of each code that occurs twice or more, ascending."""
    order = np.argsort(codes, kind="stable")
    cuts = np.flatnonzero(np.diff(codes[order])) + 1
    return sorted(part.tolist() for part in np.split(order, cuts) if len(part) > 1)
