"""Duplicate images: equal bytes, or near duplicates of another size or compression."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from labelwise.data.cache import THUMB_SIDE, StoredThumbs
from labelwise.data.contents import content_codes, dataset_content_codes
from labelwise.data.fingerprints import Fingerprints, fingerprint_image, fingerprints, ranges
from labelwise.data.hamming import close_blocks, close_pairs

__all__ = [
    "Fingerprints",
    "close_pairs",
    "connected",
    "content_codes",
    "dataset_content_codes",
    "fingerprint_image",
    "fingerprints",
    "near_duplicates",
    "repeated_groups",
]

HASH_DISTANCE = 10  # of 64 bits; a crop of 3 % on each side stays within it for most photographs
THUMB_DIFFERENCE = 16.0  # mean grey levels; unrelated photographs differ by 40 or more
THUMB_CONTRAST = 0.4  # of the smaller standard deviation, so that images of low contrast are not all linked
_BLOCK = 2048  # thumbnails at once


def near_duplicates(prints: Fingerprints) -> list[list[int]]:
    """Groups of near duplicates: close hashes, then close thumbnails.

    Two rows are linked if their hashes differ in at most 10 bits. Their thumbnails must also differ by at most 16 grey
    levels on average, and by .4 of the lower contrast. The groups are exactly the connected components of these links:
    every pair is compared, except for pairs that cannot be linked and pairs that are connected already.

    A million rows take about a minute if most pairs with close hashes have close thumbnails too; time grows with
    the number of pairs with close hashes and distant thumbnails, memory does not.

    Args:
        prints: of all images; unreadable ones are in no group.

    Returns:
        groups of two rows or more, ascending.
    """
    rows = np.flatnonzero(prints.readable)
    thumbs = _Thumbs(prints.thumbs, rows)
    group = np.arange(len(rows))
    # The difference of two means is at most the mean difference; 0.5 covers the rounding of the limit.
    total_reach = _difference_limit(thumbs.contrast).astype(np.float64) * (THUMB_SIDE * THUMB_SIDE * 3) + 0.5
    size, outdated = np.ones(len(rows), np.int64), 0
    for pairs in close_blocks(prints.hashes[rows], HASH_DISTANCE, group, thumbs.total, total_reach):
        outdated += _join(group, size, pairs, thumbs)
        if outdated > len(group) // 200:  # a pass over all rows, so not after every few
            group[:], outdated = _roots(group, group), 0
    codes = np.arange(len(prints.readable))
    codes[rows] = rows[_roots(group, group)]
    return repeated_groups(codes)


class _Thumbs:
    """Thumbnails of some rows, by their position among them.

    The means of 4 x 4 pixels are held in memory, with the mean deviation of the pixels from them. The difference of two
    thumbnails is at least that of the means, and at most the sum of this and both deviations: most pairs are rejected
    or linked without reading the thumbnails.
    """

    def __init__(self, thumbs: np.ndarray | StoredThumbs, rows: np.ndarray) -> None:
        self._thumbs, self._rows = thumbs, rows
        self.contrast, self.total = np.zeros(len(rows), np.float32), np.zeros(len(rows))
        y, x, colour = np.indices((THUMB_SIDE, THUMB_SIDE, 3)).reshape(3, -1)
        cell_indicator = np.eye(48, dtype=np.float32)[(y // 4 * 4 + x // 4) * 3 + colour]
        self._means, self._spread = np.zeros((len(rows), 48), np.uint8), np.zeros(len(rows), np.float32)
        for block in ranges(len(rows), _BLOCK):
            span = slice(block.start, block.stop)
            pixels = thumbs[rows[span]].reshape(len(block), -1).astype(np.float32)
            sums = pixels @ cell_indicator  # whole numbers below 2^24: exact in any order
            self.total[span] = sums.sum(1)
            self._means[span] = means = sums // 16
            self._spread[span] = np.abs(pixels - means @ cell_indicator.T).mean(1)
            pixels -= pixels.mean(1, keepdims=True)
            self.contrast[span] = np.sqrt(np.einsum("nd,nd->n", pixels, pixels) / np.float32(pixels.shape[1]))

    def close(self, pairs: np.ndarray) -> np.ndarray:
        """Mask of the pairs with close thumbnails."""
        limits = _difference_limit(self.contrast[pairs].min(1))
        mean_differences = _difference(*self._means[pairs.T])
        close = mean_differences <= limits + 1  # means are rounded down
        undecided = close & (mean_differences + self._spread[pairs].sum(1) > limits - 0.001)
        if undecided.any():
            positions, inverse = np.unique(pairs[undecided], return_inverse=True)
            thumbs = self._thumbs[self._rows[positions]].reshape(len(positions), -1)
            close[undecided] = _difference(*thumbs[inverse.reshape(-1, 2).T]) <= limits[undecided]
        return close


def _difference(one: UInt8[np.ndarray, "K D"], other: UInt8[np.ndarray, "K D"]) -> Float32[np.ndarray, " K"]:
    """Mean difference of the bytes."""
    differences = (np.maximum(one, other) - np.minimum(one, other)).astype(np.float32)
    return differences @ np.ones(differences.shape[1], np.float32) / np.float32(differences.shape[1])


def _difference_limit(contrast: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, " N"]:
    """The mean difference up to which two thumbnails are close, by the lower of their contrasts."""
    return np.minimum(THUMB_DIFFERENCE, THUMB_CONTRAST * contrast)


def _join(group: np.ndarray, size: np.ndarray, pairs: np.ndarray, thumbs: _Thumbs) -> int:
    """Merges the groups of pairs with close thumbnails; returns the number of rows with a new root.

    One pair of each row is compared first, then up to 8, 64 and so on: pairs that are merged by then are skipped.
    """
    changed = 0
    for ranked_pairs in _pairs_by_rank(pairs):
        for block in ranges(len(ranked_pairs), _BLOCK):
            chunk = ranked_pairs[block.start : block.stop]
            roots = _roots(group, group[chunk])
            separate = roots[:, 0] != roots[:, 1]
            if separate.any():
                close = thumbs.close(chunk[separate])
                if close.any():
                    changed += _merge(group, size, roots[separate][close])
    return changed


def _pairs_by_rank(pairs: np.ndarray) -> Iterator[np.ndarray]:
    """The pairs in rounds: the first of each row, then up to 8, 64 and so on of each."""
    starts_row = np.append(True, pairs[1:, 0] != pairs[:-1, 0])
    starts = np.flatnonzero(starts_row)
    rank = np.arange(len(pairs)) - np.repeat(starts, np.diff(starts, append=len(pairs)))
    low, high = 0, 1
    while low <= rank.max():
        yield pairs[(rank >= low) & (rank < high)]
        low, high = high, 8 * high


def _merge(group: np.ndarray, size: np.ndarray, links: np.ndarray) -> int:
    """Sets the smallest root of linked groups as their common root; returns the number of rows with a new root."""
    codes, inverse = np.unique(links, return_inverse=True)
    components = connected(len(codes), inverse.reshape(-1, 2))
    _, first_positions = np.unique(components, return_index=True)
    roots = codes[first_positions[components]]
    changed = roots != codes
    group[codes] = roots
    np.add.at(size, roots[changed], size[codes[changed]])
    return int(size[codes[changed]].sum())


def _roots(group: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The root of each code: `group` maps each row to a row of its group, and a root to itself."""
    while not np.array_equal(parents := group[codes], codes):
        codes = parents
    return codes


def connected(rows: int, pairs: Int64[np.ndarray, "P 2"]) -> Int64[np.ndarray, " N"]:
    """`[rows]` codes of the connected components of the pairs."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(rows, rows))
    return connected_components(links, directed=False)[1].astype(np.int64)


def repeated_groups(codes: Int64[np.ndarray, " N"]) -> list[list[int]]:
    """Rows of each code that occurs twice or more, ascending."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=codes[order[:1]] - 1))
    stops = np.append(starts[1:], len(order))
    is_repeated = stops - starts > 1
    spans = zip(starts[is_repeated].tolist(), stops[is_repeated].tolist(), strict=True)
    return sorted(order[start:stop].tolist() for start, stop in spans)
