"""All pairs of 64-bit words that differ in few bits, found exactly without comparing every pair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int, Int64, UInt8, UInt64

MOST_BITS = 11  # from 12 on, one half may differ in 6 bits, for which 32 places have no such code
_BLOCK = 1 << 18  # comparisons at once: a few arrays of 2 MiB
_FEW = 1 << 13  # words up to which comparing all is quicker than taking keys apart
_CROWD = 32  # comparisons a row from which a bucket is looked through in rounds
_GROWTH = 8

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


def close_pairs(hashes: UInt64[np.ndarray, " N"], distance: int) -> Int64[np.ndarray, "P 2"]:
    """All pairs `i < j` of hashes that differ in at most `distance` bits, ascending; none is missed.

    Args:
        hashes: 64-bit words.
        distance: bits, from 0 to 11.

    Returns:
        `[P, 2]` rows; where thousands are alike, P grows as their square, and `close_blocks` is the way.

    >>> close_pairs(np.array([0b0000, 0b0111, 0b0001], np.uint64), 1).tolist()
    [[0, 2]]
    """
    blocks = list(close_blocks(hashes, distance, np.arange(len(hashes))))
    pairs = np.sort(np.concatenate([np.zeros((0, 2), np.int64), *blocks]), axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def masks(distance: int) -> UInt64[np.ndarray, " M"]:
    """Masks such that two words that differ in at most `distance` bits agree on all bits of at least one of them.

    Of two words, the lower halves differ in at most r = floor(distance / 2) bits, or the upper halves in at most
    r = floor((distance - 1) / 2). In that half, place i has the vector m_i = (1, i mod 2^r) of r + 1 bits. For r
    places there is a v other than 0 that is orthogonal to all their vectors, so none of them is in the mask
    {i: <m_i, v> = 1}; the masks of all v (the code words of a Reed-Muller code of first order) are taken.

    Returns:
        for `distance` 10: 92 masks of 16 bits and 2 of 32.

    Source: Pagh, CoveringLSH: Locality-sensitive Hashing without False Negatives, 2018, section 3.
    Differs: in halves of the word, and with vectors that give each mask the same number of bits.
    """
    if not 0 <= distance <= MOST_BITS:
        raise ValueError(f"a distance of {distance} bits; expected 0 to {MOST_BITS}")
    taken: dict[int, None] = {}
    for start, errors in ((0, distance // 2), (32, (distance - 1) // 2)):
        if errors >= 0:
            vectors = (1 << errors) | np.arange(32) % (1 << errors)
            for v in range(1, 2 << errors):
                odd = bit_count((vectors & v).astype(np.uint64)) & 1
                taken[sum(1 << (start + int(i)) for i in np.flatnonzero(odd))] = None
    return np.array(list(taken), np.uint64)


def close_blocks(
    words: UInt64[np.ndarray, " N"],
    distance: int,
    group: Int64[np.ndarray, " N"],
    level: Float64[np.ndarray, " N"] | None = None,
    reach: Float64[np.ndarray, " N"] | None = None,
) -> Iterator[Int64[np.ndarray, "P 2"]]:
    """Pairs of close words that are in different groups, block by block, in bounded memory.

    The caller may join groups between blocks by writing to `group`: pairs within a group are then left out, so
    that many words that are alike cost no more than their number. Without that each pair comes once; with it,
    one that is refused may come a few times.

    Args:
        words: 64-bit words.
        distance: bits, from 0 to 11.
        group: codes; read again for every block.
        level: a number of each word; pairs that differ in it by more than the `reach` of either are left out.
        reach: as above.
    """
    if len(words) < 2:
        return
    plain = level is None or reach is None
    levels = _Levels(np.zeros(len(words)), np.full(len(words), np.inf)) if plain else _Levels(level, reach)
    crowd = max(_CROWD, len(words) >> 15)
    every = masks(distance) if len(words) > _FEW else np.zeros(1, np.uint64)
    seen: np.ndarray | None = None
    for number, mask in enumerate(every):
        search = _Search(words, distance, group, levels, mask, every[:number])
        if seen is None or not np.array_equal(group, seen):
            seen, order_by_group = group.copy(), np.argsort(group, kind="stable")
        order = order_by_group
        key = _keys(words, mask)[order]
        place = np.argsort(key, kind="stable")  # 16 bits: sorted by counting
        order, key = order[place], key[place]
        starts = _starts(key)
        low, high = _ends(key, group[order]), _ends(key)
        pairs = np.add.reduceat(high - low, starts)
        sizes = np.diff(starts, append=len(key))
        crowded = np.repeat(pairs > crowd * sizes, sizes)
        yield from search.compared(order, low, np.where(crowded, low, high))
        if crowded.any():
            yield from search.in_rounds(order[crowded], key[crowded])


@dataclass(frozen=True)
class _Levels:
    level: np.ndarray
    reach: np.ndarray


@dataclass(frozen=True)
class _Search:
    """The comparisons of one mask."""

    words: np.ndarray
    distance: int
    group: np.ndarray
    levels: _Levels
    mask: np.uint64
    earlier: np.ndarray

    def compared(self, order: np.ndarray, low: np.ndarray, high: np.ndarray) -> Iterator[np.ndarray]:
        """Compares the row at place p of the order with those at places `low[p]` to `high[p]`."""
        count = np.maximum(high - low, 0)
        total = np.cumsum(count)
        if not len(total) or not total[-1]:
            return
        words = self.words[order]
        cuts = np.searchsorted(total, np.arange(_BLOCK, total[-1] + _BLOCK, _BLOCK)) + 1
        start = 0
        for stop in np.unique(np.minimum(cuts, len(order))).tolist():
            part, before = count[start:stop], total[start:stop] - count[start:stop]
            first = total[start - 1] if start else 0
            size = int(total[stop - 1] - first)
            other = np.arange(size) + np.repeat(low[start:stop] - (before - first), part)
            apart = np.repeat(words[start:stop], part)
            apart ^= words[other]
            near = np.flatnonzero(bit_count(apart) <= self.distance)
            if len(near):
                one = np.searchsorted(before - first, near, "right") - 1 + start
                pairs = np.stack([order[one], order[other[near]]], 1)
                pairs = pairs[self._wanted(pairs, apart[near])]
                if len(pairs):
                    yield pairs
            start = stop

    def _wanted(self, pairs: np.ndarray, apart: np.ndarray) -> np.ndarray:
        """Places of pairs in different groups and within reach that this mask is the first to bring together."""
        i, j = pairs.T
        near = np.abs(self.levels.level[i] - self.levels.level[j])
        wanted = np.flatnonzero(
            (self.group[i] != self.group[j])
            & (near <= np.minimum(self.levels.reach[i], self.levels.reach[j]))
            & (apart & self.mask == 0)  # a bucket goes by 16 bits, and a mask may have more
        )
        for mask in self.earlier:
            wanted = wanted[apart[wanted] & mask != 0]
        return wanted

    def in_rounds(self, rows: np.ndarray, key: np.ndarray) -> Iterator[np.ndarray]:
        """Compares each row with one other of its bucket, then with 8, 64 and so on.

        What the first rounds join is left out of the later ones.
        """
        done, window, seen = 0, 1, None
        while True:
            now = self.group[rows]
            if seen is None or not np.array_equal(now, seen):
                done, seen = 0, now
                order, low, high = self._ranges(rows, key)
            yield from self.compared(order, low + done, np.minimum(low + window, high))
            if window >= (high - low).max():
                return
            done, window = window, window * _GROWTH

    def _ranges(self, rows: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """An order of the rows and the places that each is to be compared with.

        Buckets are ordered by group, so that a row is compared with other groups alone, or by level, so that it is
        compared with those within reach alone: by what leaves fewer comparisons.
        """
        group, level, reach = self.group[rows], self.levels.level[rows], self.levels.reach[rows]
        starts = _starts(key)
        sizes = np.diff(starts, append=len(key))
        by_group = np.lexsort((group, key))
        low, high = _ends(key, group[by_group]), _ends(key)
        by_level = np.lexsort((level, key))
        bucket = np.repeat(np.arange(len(starts)), sizes)
        span = 2.0 * float(np.ptp(level)) + 2.0
        line = bucket * span + level[by_level]
        far = np.minimum(reach[by_level], span / 2)
        last = np.minimum(np.searchsorted(line, line + far, "right"), high)
        after = np.arange(1, len(rows) + 1)
        shorter = np.add.reduceat(last - after, starts) < np.add.reduceat(high - low, starts)
        take = np.repeat(shorter, sizes)
        order = rows[np.where(take, by_level, by_group)]
        return order, np.where(take, after, low), np.where(take, last, high)


def _keys(words: np.ndarray, mask: np.uint64) -> np.ndarray:
    """Bits of the words at the places of the mask, the first 16 of them, side by side."""
    key, width = np.zeros(len(words), np.uint16), 0
    for quarter in range(4):
        bits = [b for b in range(16) if int(mask) >> (16 * quarter + b) & 1][: 16 - width]
        if bits:
            values = np.arange(1 << 16, dtype=np.uint32)
            table = sum((values >> b & 1) << (width + place) for place, b in enumerate(bits))
            part = (words >> np.uint64(16 * quarter)).astype(np.uint16)
            key |= np.asarray(table).astype(np.uint16)[part]
            width += len(bits)
    return key


def _starts(*sorted_keys: np.ndarray) -> np.ndarray:
    """Where each run of equal keys begins."""
    rows = len(sorted_keys[0])
    new = np.zeros(rows, bool)
    new[:1] = True
    for key in sorted_keys:
        new[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(new)


def _ends(*sorted_keys: np.ndarray) -> np.ndarray:
    """For each place, where its run of equal keys ends."""
    starts = _starts(*sorted_keys)
    ends = np.append(starts[1:], len(sorted_keys[0]))
    return np.repeat(ends, np.diff(starts, append=len(sorted_keys[0])))
