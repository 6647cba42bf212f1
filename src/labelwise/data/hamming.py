"""All pairs of 64-bit words that differ in few bits, found exactly without comparing every pair."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int, Int64, UInt8, UInt64

MOST_BITS = 11  # with 12, one half may differ in 6 bits, for which 32 bits have no such code
_BLOCK = 1 << 18  # comparisons at once: a few arrays of 2 MiB
_MOST_COMPARED_DIRECTLY = 1 << 12  # up to this number of words, comparing all pairs is faster than using keys
_COMPARISONS_OF_BALL = 1 << 18  # comparisons in a bucket from which its words become a ball
_BALL_RADIUS = 16  # of a ball, in bits from its centre
_MOST_BALLS = 256  # each needs a pass over all words
_CROWDED_ROW = 32  # comparisons per row from which a bucket is compared in rounds
_WINDOW_GROWTH = 8

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
    """All pairs `i < j` of hashes that differ in at most `distance` bits, ascending, without false negatives.

    Args:
        hashes: 64-bit words.
        distance: bits, from 0 to 11.

    Returns:
        `[P, 2]` rows; P grows quadratically with the number of close hashes: use `close_blocks` for thousands.

    >>> close_pairs(np.array([0b0000, 0b0111, 0b0001], np.uint64), 1).tolist()
    [[0, 2]]
    """
    blocks = list(close_blocks(hashes, distance, np.arange(len(hashes))))
    pairs = np.sort(np.concatenate([np.zeros((0, 2), np.int64), *blocks]), axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def masks(distance: int) -> UInt64[np.ndarray, " M"]:
    """Masks such that two words that differ in at most `distance` bits agree on all bits of at least one mask.

    Of two words, the lower halves differ in at most r = floor(distance / 2) bits, or the upper halves in at most
    r = floor((distance - 1) / 2). In that half, place i has the vector m_i = (1, i mod 2^r) of r + 1 bits. For r
    places there is a v other than 0 that is orthogonal to all their vectors, so none of them is in the mask
    {i: <m_i, v> = 1}; the result has the masks of all v (the code words of a first-order Reed-Muller code).

    Returns:
        for `distance` 10: 92 masks of 16 bits and 2 of 32.

    Source: Pagh, CoveringLSH: Locality-sensitive Hashing without False Negatives, 2018, section 3.
    Differs: applied to halves of the word, with vectors such that each mask has the same number of bits.
    """
    if not 0 <= distance <= MOST_BITS:
        raise ValueError(f"a distance of {distance} bits; expected 0 to {MOST_BITS}")
    unique: dict[int, None] = {}
    for start, errors in ((0, distance // 2), (32, (distance - 1) // 2)):
        if errors >= 0:
            vectors = (1 << errors) | np.arange(32) % (1 << errors)
            for v in range(1, 2 << errors):
                parities = bit_count((vectors & v).astype(np.uint64)) & 1
                unique[sum(1 << (start + int(i)) for i in np.flatnonzero(parities))] = None
    return np.array(list(unique), np.uint64)


def close_blocks(
    words: UInt64[np.ndarray, " N"],
    distance: int,
    group: Int64[np.ndarray, " N"],
    level: Float64[np.ndarray, " N"] | None = None,
    reach: Float64[np.ndarray, " N"] | None = None,
) -> Iterator[Int64[np.ndarray, "P 2"]]:
    """Pairs of close words in different groups, block by block, in bounded memory.

    The caller may merge groups between blocks by writing to `group`: pairs within a group are then omitted, so
    that the cost of many similar words is linear in their number. Without merging each pair occurs once; with it,
    a pair that the caller rejects may occur a few times.

    Args:
        words: 64-bit words.
        distance: bits, from 0 to 11.
        group: codes, read again for every block.
        level: of each word; pairs with levels that differ by more than the `reach` of either word are omitted.
        reach: of each word, in units of `level`.
    """
    all_masks = masks(distance) if len(words) > _MOST_COMPARED_DIRECTLY else np.zeros(1, np.uint64)
    level = np.zeros(len(words)) if level is None else level
    reach = np.full(len(words), np.inf) if reach is None else reach
    search = _Search(_permuted(words), distance, group, level, reach, -1 - np.arange(len(words)))
    for index in range(len(all_masks) if len(words) > 1 else 0):
        yield from search.by_mask(all_masks[index], all_masks[:index])


@dataclass
class _Search:
    """State of the search; `ball` is the number of a row's ball, or a unique negative number."""

    words: np.ndarray
    distance: int
    group: np.ndarray
    level: np.ndarray
    reach: np.ndarray
    ball: np.ndarray
    balls: int = 0
    mask: np.uint64 | int = 0
    earlier: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    seen: np.ndarray | None = None

    def by_mask(self, mask: np.uint64, earlier: np.ndarray) -> Iterator[np.ndarray]:
        """Compares the words of each bucket, which agree on the bits of a mask."""
        self.mask, self.earlier = mask, earlier
        if self.seen is None or np.count_nonzero(self.group != self.seen) > len(self.group) >> 8:
            self.seen, self.order = self.group.copy(), np.argsort(self.group, kind="stable")
        key = _keys(self.words, mask)[self.order]
        positions = np.argsort(key, kind="stable")  # 16 bits: a radix sort
        order, key = self.order[positions], key[positions]
        starts, ends = _ends(key, self.seen[order]), _ends(key)
        sizes, pairs = _by_bucket(key, ends - starts)
        crowded = np.repeat(pairs > max(_CROWDED_ROW, len(key) >> 15) * sizes, sizes)
        yield from self._close_pairs(order, starts, np.where(crowded, starts, ends))
        rows, key = order[crowded], key[crowded]
        if len(rows):
            comparisons = yield from self._pairs_in_rounds(rows, key)
            yield from self._pairs_in_balls(rows, key, comparisons)

    def _close_pairs(self, order: np.ndarray, low: np.ndarray, high: np.ndarray) -> Iterator[np.ndarray]:
        """Compares the row at position p of the order with those at positions `low[p]` to `high[p]`."""
        sizes = np.maximum(high - low, 0)
        ends = np.cumsum(sizes)
        words = self.words[order]
        cuts = np.searchsorted(ends, np.arange(_BLOCK, ends[-1] + _BLOCK, _BLOCK)) + 1
        start = 0
        for stop in np.unique(np.minimum(cuts, len(order))).tolist():
            block, starts = sizes[start:stop], ends[start:stop] - sizes[start:stop]
            offset = ends[start - 1] if start else 0
            other = np.arange(ends[stop - 1] - offset) + np.repeat(low[start:stop] - (starts - offset), block)
            differing = np.repeat(words[start:stop], block)
            differing ^= words[other]
            close = np.flatnonzero(bit_count(differing) <= self.distance)
            close = close[self._unmatched(differing[close])]
            if len(close):
                positions = np.searchsorted(starts - offset, close, "right") - 1 + start
                i, j = order[positions], order[other[close]]
                selected = (self.group[i] != self.group[j]) & (self.ball[i] != self.ball[j])
                selected &= np.abs(self.level[i] - self.level[j]) <= np.minimum(self.reach[i], self.reach[j])
                if selected.any():
                    yield np.stack([i[selected], j[selected]], 1)
            start = stop

    def _unmatched(self, differing: np.ndarray) -> np.ndarray:
        """Positions of the pairs that no earlier mask has matched, by the bits in which they differ."""
        unmatched = np.flatnonzero(differing & self.mask == 0)  # keys have 16 bits, and a mask may have more
        for mask in self.earlier:
            if not len(unmatched):
                break
            unmatched = unmatched[differing[unmatched] & mask != 0]
        return unmatched

    def _pairs_in_rounds(self, rows: np.ndarray, key: np.ndarray) -> Generator[np.ndarray, None, np.ndarray]:
        """Compares each row with one other of its bucket, then with 8, 64 and so on.

        Later rounds omit the pairs that the caller has merged. Returns the comparisons of the last round by row.
        """
        compared, window, earlier_groups = 0, 1, None
        while True:
            groups = self.group[rows]
            if earlier_groups is None or not np.array_equal(groups, earlier_groups):
                compared, earlier_groups = 0, groups
                order, low, high = self._search_ranges(rows, key)
            yield from self._close_pairs(order, low + compared, np.minimum(low + window, high))
            if window >= (high - low).max():
                return high - low
            compared, window = window, window * _WINDOW_GROWTH

    def _pairs_in_balls(self, rows: np.ndarray, key: np.ndarray, counts: np.ndarray) -> Iterator[np.ndarray]:
        """Compares all words around the centre of each bucket with many unmerged words, only once.

        These words become a ball, and later masks omit the pairs within it.
        """
        mask, earlier = self.mask, self.earlier
        sizes, pairs = _by_bucket(key, counts)
        ends = np.cumsum(sizes)
        for bucket in np.argsort(-pairs, kind="stable")[: _MOST_BALLS - self.balls].tolist():
            if pairs[bucket] < _COMPARISONS_OF_BALL:
                break
            members = self.words[rows[ends[bucket] - sizes[bucket] : ends[bucket]]]
            bits = np.unpackbits(members.view(np.uint8).reshape(-1, 8), axis=1).mean(0) > 0.5
            centre = np.packbits(bits).view(np.uint64)[0]
            ball = np.flatnonzero((bit_count(self.words ^ centre) <= _BALL_RADIUS) & (self.ball < 0))
            if len(ball) > 1:
                self.mask, self.earlier = 0, np.append(earlier, mask)
                yield from self._pairs_in_rounds(ball, np.zeros(len(ball), np.uint16))
                self.ball[ball] = self.balls
            self.balls += 1

    def _search_ranges(self, rows: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """An order of the rows and the range of positions to compare each with.

        By group or by ball, a row is compared only with rows of others; by level, only with rows within reach. Each
        bucket has the order with the fewest comparisons.
        """
        high = _ends(key)
        orders = []
        for code in (self.group[rows], self.ball[rows]):
            order = np.lexsort((code, key))
            orders.append((order, _ends(key, code[order]), high))
        level, reach = self.level[rows], self.reach[rows]
        order = np.lexsort((level, key))
        span = 2.0 * float(np.ptp(level)) + 2.0
        sort_values = key.astype(np.float64) * span + level[order]
        reach_ends = np.searchsorted(sort_values, sort_values + np.minimum(reach[order], span / 2), "right")
        orders.append((order, np.arange(1, len(rows) + 1), np.minimum(reach_ends, high)))
        sizes, _ = _by_bucket(key, high)
        best = np.argmin([_by_bucket(key, stop - start)[1] for _, start, stop in orders], axis=0)
        best = np.repeat(best, sizes)
        order, low, high = (np.choose(best, [candidate[item] for candidate in orders]) for item in range(3))
        return rows[order], low, high


def _permuted(words: np.ndarray) -> np.ndarray:
    """The words with permuted bits: bits of low entropy are distributed evenly over halves and masks."""
    shares = (
        [(words >> np.uint64(bit) & np.uint64(1)).mean() for bit in range(64)] if len(words) else [0.5] * 64
    )
    order = np.argsort(np.abs(np.array(shares) - 0.5), kind="stable")
    rng = np.random.default_rng(0)
    permuted = np.zeros(len(words), np.uint64)
    for shift, bit in enumerate(np.concatenate([rng.permutation(order[0::2]), rng.permutation(order[1::2])])):
        permuted |= (words >> np.uint64(bit) & np.uint64(1)) << np.uint64(shift)
    return permuted


def _by_bucket(key: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Size of each run of equal keys and the sum of the counts in it."""
    starts = _starts(key)
    return np.diff(starts, append=len(key)), np.add.reduceat(count, starts)


def _keys(words: np.ndarray, mask: np.uint64) -> np.ndarray:
    """The first 16 bits of the words at the positions of the mask, packed together."""
    key, width = np.zeros(len(words), np.uint16), 0
    for start in range(0, 64, 16):
        table, earlier_width = np.zeros(1 << 16, np.uint16), width
        for bit in range(16):  # the entries of larger numbers follow from those of smaller ones
            in_mask = int(mask) >> (start + bit) & 1 and width < 16
            table[1 << bit : 2 << bit] = table[: 1 << bit] | (1 << width if in_mask else 0)
            width += bool(in_mask)
        if width > earlier_width:
            key |= table[(words >> np.uint64(start)).astype(np.uint16)]
    return key


def _starts(*sorted_keys: np.ndarray) -> np.ndarray:
    """The first position of each run of equal keys."""
    rows = len(sorted_keys[0])
    starts_run = np.zeros(rows, bool)
    starts_run[:1] = True
    for key in sorted_keys:
        starts_run[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(starts_run)


def _ends(*sorted_keys: np.ndarray) -> np.ndarray:
    """For each position, the end of its run of equal keys."""
    starts = _starts(*sorted_keys)
    ends = np.append(starts, len(sorted_keys[0]))[1:]
    return np.repeat(ends, np.diff(starts, append=len(sorted_keys[0])))
