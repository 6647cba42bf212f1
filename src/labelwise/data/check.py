"""The check report: what a data set holds, and what would be lost or leak."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.decode import decode_image, image_size
from labelwise.data.doubts import doubts_of
from labelwise.data.duplicates import dataset_content_codes, fingerprints, near_duplicates, repeated_groups
from labelwise.data.readers import labels_without_training, read, resolve
from labelwise.data.source import WouldLose
from labelwise.errors import LabelwiseError

Tick = Callable[[int], None]


@dataclass(frozen=True)
class LabelBalance:
    """Counts of one label: known positive, known negative and unknown rows, and positives in each split."""

    name: str
    positive: int
    negative: int
    unknown: int
    by_split: dict[str, int]


@dataclass
class CheckReport:
    """All findings; `problems` are what would be lost, leak or fail, `notes` what the reader decided.

    `doubts` are what the data alone cannot tell: labels that no figure can judge, options taken at their word.
    """

    source: str
    rows_before: int
    rows_after: int
    splits: dict[str, int]
    labels: list[LabelBalance]
    without_positive: int
    without_known: int
    together: list[tuple[str, str, int]]
    unreadable: list[tuple[str, str]]
    exact: list[list[str]]
    near: list[list[str]] | None
    leaks: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain data, with `ok` for the whole."""
        return {"ok": not self.problems, **asdict(self)}


def read_for_check(text: str) -> tuple[Dataset, list[str]]:
    """The data set as it would be without what a strict reader refuses, and a sentence on each refusal.

    Raises:
        LabelwiseError: for what no option mends.
    """
    source = resolve(text)
    refused: list[str] = []
    while True:
        try:
            return read(source), refused
        except WouldLose as error:
            if error.option[0] in source.options:
                raise
            refused.append(str(error))
            source = source.with_option(*error.option)


def check(
    text: str, near: bool = True, decode: bool = False, tick: Callable[[str, int], Tick] | None = None
) -> CheckReport:
    """Reads a source and looks for all that could be lost or leak.

    Args:
        text: the SOURCE.
        near: also look for near duplicates, which decodes every image at a reduced scale.
        decode: decode every image fully, in place of its header alone.
        tick: called with a task's name and size; gives the function to call with the number done.

    Returns:
        the report.

    Raises:
        LabelwiseError: when the source cannot be read at all.
    """
    data, problems = read_for_check(text)
    start = tick or (lambda name, total: lambda done: None)
    dark: list[str] = []
    bad = dict(_unreadable(data, decode, start("images", len(data)), dark))
    exact = repeated_groups(dataset_content_codes(data))
    alike: list[list[int]] | None = None
    if near:
        prints = fingerprints(data, start("near duplicates", len(data)))
        bad = {**dict(prints.errors), **bad}
        alike = near_duplicates(prints)
    leaks = [rows for rows in _distinct(exact, alike or []) if _leaks(data, rows)]
    parted = _parted_groups(data)
    lost = labels_without_training(data)
    unreadable = [(data.image_id(row), reason) for row, reason in sorted(bad.items())]
    if unreadable:
        problems.append(f"{len(unreadable):,} images cannot be read: {unreadable[0][1]}")
    if leaks:
        problems.append(f"{len(leaks):,} images stand in several splits, as copies or near copies.")
    if parted:
        problems.append(f"{parted:,} groups are spread over several splits.")
    if lost:
        problems.append(f"{len(lost):,} labels have no positive in train: {', '.join(lost[:5])}.")
    positive = data.positive
    return CheckReport(
        source=data.source,
        rows_before=data.rows_in_source or len(data),
        rows_after=len(data),
        splits=data.splits(),
        labels=_balance(data),
        without_positive=int((~positive.any(1)).sum()),
        without_known=int((~data.known.any(1)).sum()),
        together=_together(data),
        unreadable=unreadable,
        exact=_named(data, exact),
        near=None if alike is None else _named(data, _only_near(alike, exact)),
        leaks=_named(data, leaks),
        notes=[*data.notes, *_dark_note(dark)],
        doubts=doubts_of(data, resolve(text).options),
        problems=problems,
    )


def _unreadable(data: Dataset, decode: bool, tick: Tick, dark: list[str]) -> list[tuple[int, str]]:
    def one(row: int) -> str | None:
        try:
            (decode_image if decode else image_size)(data.encoded(row), notes=dark)
        except LabelwiseError as error:
            return str(error)
        return None

    found = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for row, reason in enumerate(pool.map(one, range(len(data)))):
            if reason:
                found.append((row, reason))
            tick(row + 1)
    return found


def _dark_note(dark: list[str]) -> list[str]:
    """A sentence on images whose 16-bit pixels come out nearly black, the first by name."""
    first = min(dark, default="")
    more = f" So are {len(dark) - 1:,} more." if len(dark) > 1 else ""
    return [first[0].upper() + first[1:] + more] if dark else []


def _balance(data: Dataset) -> list[LabelBalance]:
    positive = data.positive
    up, known = positive.sum(0), data.known.sum(0)
    of_split = {name: positive[data.rows_of(name)].sum(0) for name in data.splits()}
    return [
        LabelBalance(
            name,
            int(up[j]),
            int(known[j] - up[j]),
            int(len(data) - known[j]),
            {split: int(count[j]) for split, count in of_split.items()},
        )
        for j, name in enumerate(data.labels)
    ]


def _together(data: Dataset) -> list[tuple[str, str, int]]:
    positive = data.positive.astype(np.float32)
    count = np.triu(positive.T @ positive, 1)
    best = np.argsort(-count, axis=None, kind="stable")[:10]
    pairs = [(*np.unravel_index(place, count.shape), int(count.flat[place])) for place in best]
    names = data.labels.names
    return [(names[i], names[j], number) for i, j, number in pairs if number]


def _distinct(first: Sequence[list[int]], second: Sequence[list[int]]) -> list[list[int]]:
    """Groups of both lists; one that lies inside another is left out."""
    inside = {row for rows in second for row in rows}
    return sorted([*second, *(rows for rows in first if not inside.issuperset(rows))])


def _only_near(alike: Sequence[list[int]], exact: Sequence[list[int]]) -> list[list[int]]:
    copies = {tuple(rows) for rows in exact}
    return [rows for rows in alike if tuple(rows) not in copies]


def _leaks(data: Dataset, rows: Sequence[int]) -> bool:
    if data.split_of is None:
        return False
    codes = data.split_of[list(rows)]
    return len(np.unique(codes[codes >= 0])) > 1


def _parted_groups(data: Dataset) -> int:
    if data.group is None or data.split_of is None:
        return 0
    used = data.split_of >= 0
    pairs = np.unique(np.stack([data.group[used], data.split_of[used].astype(np.int64)]), axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())


def _named(data: Dataset, groups: Sequence[Sequence[int]]) -> list[list[str]]:
    """Image names with their split in brackets."""
    return [[data.image_id(row) + _split_text(data, row) for row in rows] for rows in groups]


def _split_text(data: Dataset, row: int) -> str:
    code = -1 if data.split_of is None else int(data.split_of[row])
    return f" [{data.split_names[code]}]" if code >= 0 else ""
