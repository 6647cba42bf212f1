"""Stratified splits for many labels at once, with groups kept together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int16, Int64, Shaped, UInt8

from labelwise.data.balance import one_sided_notes
from labelwise.data.dataset import Dataset
from labelwise.data.duplicates import connected, dataset_content_codes, fingerprints, near_duplicates
from labelwise.data.fingerprints import kept_hashes
from labelwise.errors import LabelwiseError


def stratified_split(
    values: UInt8[np.ndarray, "N L"] | Float32[np.ndarray, "N L"],
    known: Bool[np.ndarray, "N L"],
    fractions: Sequence[float],
    seed: int = 0,
    group: Int64[np.ndarray, " N"] | None = None,
) -> Int16[np.ndarray, " N"]:
    """Split code of each row, so that every split has its share of every label.

    Labels are assigned from the rarest to the most frequent; each of their rows goes to the split that lacks most
    rows of that label (iterative stratification). A label with enough rows is due at least one row per split;
    afterwards rows are swapped until every such label is in every split, as far as possible. Sizes are
    `fractions * N`, rounded to whole rows; with groups they differ by less than the largest group.

    Args:
        values: `[N, L]` in [0, 1]; positive from 0.5.
        known: `[N, L]`; unknown cells are ignored.
        fractions: of the splits, positive, with sum 1.
        seed: of ties and order.
        group: `[N]`; rows of equal code stay together.

    Returns:
        `[N]` int16 codes from 0.

    Raises:
        LabelwiseError: for fractions that are not positive or do not add up to 1.

    Source: Sechidis et al., On the Stratification of Multi-Label Data, 2011, section 3.
    Differs: at least one row per split is due; exact sizes; swaps at the end.
    """
    shares = np.asarray(fractions, np.float64)
    if shares.ndim != 1 or not len(shares) or (shares <= 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise LabelwiseError(
            f"split fractions {', '.join(f'{f:g}' for f in shares.reshape(-1))}",
            "positive fractions with sum 1",
            "write for example .7,.15,.15",
        )
    positive = known & (values >= 0.5)
    if group is None:
        unit = np.arange(len(values))
        content, weight = positive.view(np.int8), np.ones(len(values), np.int64)
    else:
        unit = np.unique(group, return_inverse=True)[1].reshape(-1)
        weight = np.bincount(unit)
        order = np.argsort(unit, kind="stable")
        starts = np.cumsum(weight) - weight
        dtype = np.int8 if weight.max() < 128 else np.int32  # a million groups with 80 labels: 80 or 320 MB
        content = np.add.reduceat(positive[order], starts, axis=0, dtype=dtype)
    capacity = whole_shares(len(values), shares)
    rng = np.random.default_rng(seed)
    codes = _Assignment(content, weight, capacity, shares).codes(rng)
    _swap_units(codes, content > 0, weight, len(shares), rng)
    return codes[unit].astype(np.int16)


def whole_shares(total: int, share: Shaped[np.ndarray, " S"]) -> Int64[np.ndarray, " S"]:
    """Whole sizes with sum `total`, by largest remainders.

    >>> whole_shares(10, np.array([0.7, 0.15, 0.15])).tolist()
    [7, 2, 1]
    """
    exact = share * total
    # 1e-9 keeps a whole number whole that rounding left a little smaller.
    sizes = np.floor(exact + 1e-9).astype(np.int64)
    largest = np.argsort(-(exact - sizes), kind="stable")[: total - int(sizes.sum())]
    sizes[largest] += 1
    return sizes


@dataclass
class _Assignment:
    """Units (rows or groups) with label counts `[G, L]` and weights `[G]`, and the capacity of each split."""

    content: np.ndarray
    weight: np.ndarray
    capacity: np.ndarray
    share: np.ndarray

    def codes(self, rng: np.random.Generator) -> np.ndarray:
        """Split code of each unit."""
        content, splits = self.content, len(self.share)
        codes = np.full(len(content), -1, np.int64)
        capacity, weight = self.capacity.astype(np.float64).tolist(), self.weight.tolist()
        remaining = content.sum(0).astype(np.int64)
        due = self._due(remaining)
        order = rng.permutation(len(content))
        order = order[np.argsort(-self.weight[order], kind="stable")]
        while remaining.any():
            label = int(np.where(remaining > 0, remaining, np.iinfo(np.int64).max).argmin())
            units = order[content[order, label] > 0]
            for unit in units.tolist():
                split = self._pick(due[:, label].tolist(), capacity, weight[unit])
                codes[unit] = split
                due[split] -= content[unit]
                capacity[split] -= weight[unit]
            remaining -= content[units].sum(0)
            order = order[codes[order] < 0]
        no_due = [0.0] * splits
        for unit in order.tolist():
            split = self._pick(no_due, capacity, weight[unit])
            codes[unit] = split
            capacity[split] -= weight[unit]
        return codes

    def _due(self, total: np.ndarray) -> np.ndarray:
        """Rows due per split and label: the split's share, at least one where the label has enough units."""
        due = self.share[:, None] * total[None, :]
        enough = (self.content > 0).sum(0) >= len(self.share)
        below_one = (due < 1) & enough
        divisible = np.where(below_one, 0, due)
        divisible_total = total - below_one.sum(0)
        return np.where(below_one, 1.0, divisible * divisible_total / np.maximum(divisible.sum(0), 1e-12))

    @staticmethod
    def _pick(due: list[float], capacity: list[float], weight: int) -> int:
        """The split with room that lacks most rows of the label; the one with most room if the unit fits in none."""
        with_room = [split for split in range(len(capacity)) if capacity[split] >= weight]
        if not with_room:
            return max(range(len(capacity)), key=capacity.__getitem__)
        return max(with_room, key=lambda split: (due[split], capacity[split]))


def _swap_units(
    codes: np.ndarray, shows: np.ndarray, weight: np.ndarray, splits: int, rng: np.random.Generator
) -> None:
    """Swaps units of equal weight until every label with enough units is in every split, if possible."""
    enough = shows.sum(0) >= splits
    count = np.stack([shows[codes == split].sum(0) for split in range(splits)])
    for split, label in np.argwhere((count == 0) & enough):
        if count[split, label]:
            continue
        candidates = rng.permutation(np.flatnonzero(shows[:, label] & (count[codes, label] > 1)))
        for unit in candidates[:200]:
            other = codes[unit]
            if ((count[other] == 1) & shows[unit] & enough).any():
                continue
            new_count = count[split] + shows[unit]
            needed = shows & ((new_count == 1) & enough)
            partners = np.flatnonzero((codes == split) & (weight == weight[unit]) & ~needed.any(1))
            if len(partners):
                partner = rng.choice(partners)
                codes[unit], codes[partner] = split, other
                change = shows[unit].astype(np.int64) - shows[partner]
                count[split] += change
                count[other] -= change
                break


def ensure_splits(data: Dataset, seed: int = 0) -> Dataset:
    """The data set with splits for training, validation and test; existing splits are kept.

    Without splits: 70 / 15 / 15 % train, val, test. With train and no val: a stratified 10 % of train becomes
    val. A split without a row counts as absent. Copies of an image, and rows of one group, stay together.

    Returns:
        the data set, with notes on the new splits and on labels that lack positives or negatives in one.

    Raises:
        LabelwiseError: splits without rows in one called train, or too few rows to split.
    """
    if data.split_of is None:
        return split_dataset(data, ("train", "val", "test"), (0.7, 0.15, 0.15), seed)
    data = _filled_splits(data)
    if "val" in data.split_names:
        return data
    rows = data.rows_of("train")
    _refuse_few(len(rows), 2, data)
    train = data.take(rows)
    train_codes = stratified_split(train.values, train.known, (0.9, 0.1), seed, together(train))
    codes = np.array(data.split_of, np.int16)
    codes[rows[train_codes == 1]] = len(data.split_names)
    size = int((train_codes == 1).sum())
    note = f"val is a stratified {size:,} of the {len(rows):,} train rows (10 %, seed {seed})."
    split = data.with_split(codes, (*data.split_names, "val"))
    return split.with_notes(note, *one_sided_notes(split, ("train", "val")))


def _filled_splits(data: Dataset) -> Dataset:
    """The data set without empty splits, and a note that names them.

    Raises:
        LabelwiseError: no row in a split called train.
    """
    counts = data.splits()
    names = tuple(name for name, count in counts.items() if count)
    if "train" not in names:
        listed = ", ".join(name if count else f"{name} (no row)" for name, count in counts.items())
        raise LabelwiseError(
            f"{data.source} with splits {listed or 'that no row is in'}",
            "a split called train, with rows",
            "rename one of them",
        )
    if len(names) == len(counts):
        return data
    new_codes = np.array([names.index(name) if name in names else -1 for name in data.split_names] + [-1])
    empty = ", ".join(name for name in counts if name not in names)
    return data.with_split(new_codes[data.split_of], names).with_notes(
        f"Splits without a row count as absent: {empty}."
    )


def fewer_rows(data: Dataset, split: str, number: int, seed: int = 0) -> Dataset:
    """The data set with a random sample of a split's rows; the other rows of the split are in no split.

    Samples of one seed are nested: the rows of a smaller number are among those of a larger one.

    Args:
        data: rows with splits.
        split: name of the split to sample from.
        number: of rows to keep, from 1.
        seed: of the sample.

    Raises:
        LabelwiseError: the split has fewer rows, or there is no such split.
    """
    rows = data.rows_of(split)
    if not 1 <= number <= len(rows):
        raise LabelwiseError(
            f"{number:,} of the {len(rows):,} {split} images",
            "at most as many as there are",
            "lower the number",
        )
    codes = np.array(data.split_of, np.int16)
    codes[np.random.default_rng(seed).permutation(rows)[number:]] = -1
    note = f"{number:,} of the {len(rows):,} {split} images are sampled (seed {seed})."
    return data.with_split(codes, data.split_names).with_notes(note)


def split_dataset(
    data: Dataset, names: Sequence[str], fractions: Sequence[float], seed: int, near: bool = False
) -> Dataset:
    """The data set under new stratified splits.

    Copies of an image and rows of one group stay together; with `near`, near duplicates too. Notes name the labels
    without a known positive or a known negative in a split.

    Raises:
        LabelwiseError: for too few rows, or fractions that `stratified_split` refuses.
    """
    _refuse_few(len(data), len(names), data)
    codes = stratified_split(data.values, data.known, fractions, seed, together(data, near))
    shares = ", ".join(f"{name} {share:.0%}" for name, share in zip(names, fractions, strict=True))
    split = data.with_split(codes, names)
    return split.with_notes(f"Stratified split: {shares} (seed {seed}).", *one_sided_notes(split, names))


def together(data: Dataset, near: bool = False) -> Int64[np.ndarray, " N"] | None:
    """Codes of rows that must share a split: same group, same bytes or (with `near`) near duplicates.

    Returns:
        `[N]` codes, or `None` if no row shares its split with another.
    """
    prints, rows = fingerprints(data) if near else None, np.arange(len(data))
    codes = dataset_content_codes(data, prints.hashes if prints else kept_hashes(data))
    links = []
    if data.group is not None:
        links = [_links(rows, codes), _links(rows, data.group)]
    if prints:
        groups = near_duplicates(prints)
        links = [*(links or [_links(rows, codes)]), *(np.array([(g[0], r) for r in g[1:]]) for g in groups)]
    if links:
        codes = connected(len(data), np.concatenate(links))
    return codes if len(codes) and np.bincount(codes).max() > 1 else None


def _links(rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Pairs of each row with the first row of its code."""
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    return np.stack([rows, first[inverse.reshape(-1)]], 1)


def _refuse_few(rows: int, minimum: int, data: Dataset) -> None:
    """Raises `LabelwiseError` for fewer rows than the minimum."""
    if rows < minimum:
        raise LabelwiseError(f"{rows} rows of {data.source} to split", f"at least {minimum}", "add images")
