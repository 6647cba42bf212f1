"""The check report: the contents of a data set, and what would be lost or leak between splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.cores import usable_cores
from labelwise.data.balance import LabelCounts, commonest_pairs, counted_cells
from labelwise.data.dataset import Dataset
from labelwise.data.decode import UnreadableImage, decode_image, evenly, first_dark, image_size
from labelwise.data.doubts import doubts_of
from labelwise.data.duplicates import dataset_content_codes, fingerprints, near_duplicates, repeated_groups
from labelwise.data.fingerprints import ranges
from labelwise.data.implied import contradictions
from labelwise.data.readers import labels_without_training, read, resolve
from labelwise.data.readers.name_doubts import few
from labelwise.data.small import small_images
from labelwise.data.source import Source, WouldLose
from labelwise.errors import LabelwiseError
from labelwise.progress import bar
from labelwise.rarity import rare_labels


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
    """All findings; `problems` would lose data, leak or fail, `notes` are decisions of the reader.

    `rare` are the labels with few positives in each split, with their number; of all rows, under "", without splits.
    `doubts` are questions that the data alone cannot answer, such as labels without a defined metric.
    `contradictions` are images with labels that break a rule of the label set, each with the rule.
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
    rare: dict[str, dict[str, int]] = field(default_factory=dict)
    leaks: list[list[str]] = field(default_factory=list)
    contradictions: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain data, with `ok` for the whole."""
        return {"ok": not self.problems, **asdict(self)}


def read_for_check(text: str) -> tuple[Dataset, list[str]]:
    """The data set without what a strict reader refuses, and a sentence on each refusal.

    Raises:
        LabelwiseError: an error that no reader option avoids.
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


def check(text: str, near: bool = True, decode: bool = False) -> CheckReport:
    """Reads a source and reports everything that could be lost or leak.

    Args:
        text: the SOURCE.
        near: also look for near duplicates, which decodes every image at a reduced scale.
        decode: decode every image fully, instead of reading its header or its cached fingerprint.

    Returns:
        the report.

    Raises:
        LabelwiseError: when the source cannot be read at all.
    """
    data, problems = read_for_check(text)
    dark_notes: list[str] = []
    reasons: dict[int, str] = {}
    # The search for near duplicates opens every new or changed file; a store has checksums to verify.
    if decode or not near or data.store is not None:
        reasons = dict(_unreadable(data, decode, dark_notes))
    elif sentence := first_dark(_sampled_images(data)):
        dark_notes.append(sentence)
    near_groups: list[list[int]] | None = None
    hashes: np.ndarray | None = None
    if near:
        prints = fingerprints(data)
        reasons = {**dict(prints.errors), **reasons}
        near_groups, hashes = near_duplicates(prints), prints.hashes
        del prints
    exact = repeated_groups(dataset_content_codes(data, hashes))
    leaks = [rows for rows in _distinct(exact, near_groups or []) if _spans_splits(data, rows)]
    divided_groups = _divided_group_count(data)
    untrained = labels_without_training(data)
    unreadable = [(data.image_id(row), reason) for row, reason in sorted(reasons.items())]
    if unreadable:
        problems.append(f"{counted(len(unreadable), 'image')} cannot be read: {unreadable[0][1]}")
    if leaks:
        problems.append(f"{counted(len(leaks), 'group')} of copies or near copies in several splits.")
    if divided_groups:
        are = "is" if divided_groups == 1 else "are"
        problems.append(f"{counted(divided_groups, 'group')} {are} spread over several splits.")
    if untrained:
        have = "has" if len(untrained) == 1 else "have"
        problems.append(f"{counted(len(untrained), 'label')} {have} no positive in train: {few(untrained)}.")
    conflicts = [(data.image_id(c.row), c.reason) for c in contradictions(data)] if data.labels.rules else []
    counts = counted_cells(data)
    together, unpaired = commonest_pairs(data, counts.positive)
    names = _named_groups(data, [*exact, *(near_groups or [])])
    return CheckReport(
        source=data.source,
        rows_before=data.rows_in_source or len(data),
        rows_after=len(data),
        splits=data.splits(),
        labels=_balance(data, counts),
        without_positive=counts.without_positive,
        without_known=counts.without_known,
        together=together,
        unreadable=unreadable,
        exact=[names[id(rows)] for rows in exact],
        near=None if near_groups is None else [names[id(rows)] for rows in _not_exact(near_groups, exact)],
        rare=_rare(data, counts),
        leaks=[names[id(rows)] for rows in leaks],
        contradictions=conflicts,
        notes=[*data.notes, *_option_note(resolve(text)), *_dark_note(dark_notes), *unpaired],
        doubts=[*_contradiction_doubt(conflicts), *doubts_of(data), *small_images(data)],
        problems=problems,
    )


def counted(number: int, noun: str) -> str:
    """A number with what it counts.

    >>> counted(1, "image"), counted(2000, "image")
    ('1 image', '2,000 images')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _option_note(source: Source) -> list[str]:
    """A sentence on the options, which add information that the files lack."""
    options = "&".join(f"{name}={value}" for name, value in source.options.items())
    return [f"Read with the options {options}."] if options else []


def _contradiction_doubt(images: Sequence[tuple[str, str]]) -> list[str]:
    """A sentence that counts the images with contradictory labels; none without any."""
    have = "has" if len(images) == 1 else "have"
    labels = "labels that contradict the rules: correct the labels or the rules"
    return [f"{counted(len(images), 'image')} {have} {labels}."] if images else []


def _unreadable(data: Dataset, decode: bool, dark_notes: list[str]) -> list[tuple[int, str]]:
    """Row and reason of each image that cannot be read; `dark_notes` receives sentences on nearly black ones."""

    def reason_of(row: int) -> str | None:
        try:
            (decode_image if decode else image_size)(data.encoded(row), notes=dark_notes)
        except LabelwiseError as error:
            return str(error)
        return None

    unreadable = []
    with ThreadPoolExecutor(max_workers=usable_cores()) as pool, bar("images read", len(data)) as tick:
        for block in ranges(len(data), 512):  # bounds the number of pending tasks
            for row, reason in zip(block, pool.map(reason_of, block), strict=True):
                if reason:
                    unreadable.append((row, reason))
            tick(block.stop)
    return unreadable


def _sampled_images(data: Dataset) -> Iterator[Path | bytes]:
    """Images of up to 200 rows, evenly spaced; unreadable ones are left out."""
    for row in evenly(len(data)):
        with suppress(UnreadableImage):
            yield data.encoded(row)


def _dark_note(dark_notes: list[str]) -> list[str]:
    """A sentence on images with 16-bit pixels that become nearly black, naming the first."""
    first = min(dark_notes, default="")
    more = f" So are {len(dark_notes) - 1:,} more." if len(dark_notes) > 1 else ""
    return [first[0].upper() + first[1:] + more] if dark_notes else []


def _balance(data: Dataset, counts: LabelCounts) -> list[LabelBalance]:
    """The counts of each label, in the order of the labels."""
    return [
        LabelBalance(
            name,
            int(counts.positive[j]),
            int(counts.known[j] - counts.positive[j]),
            int(len(data) - counts.known[j]),
            {split: int(count[j]) for split, count in counts.by_split.items()},
        )
        for j, name in enumerate(data.labels)
    ]


def _rare(data: Dataset, counts: LabelCounts) -> dict[str, dict[str, int]]:
    """Rare labels of each split with rows, or of all rows."""
    splits = {name: counts.by_split[name] for name, rows in data.splits().items() if rows}
    rare = {
        name: rare_labels(dict(zip(data.labels, positive.tolist(), strict=True)))
        for name, positive in (splits or {"": counts.positive}).items()
    }
    return {name: labels for name, labels in rare.items() if labels}


def _distinct(first: Sequence[list[int]], second: Sequence[list[int]]) -> list[list[int]]:
    """Groups of both lists, without groups inside another one."""
    inside = {row for rows in second for row in rows}
    return sorted([*second, *(rows for rows in first if not inside.issuperset(rows))])


def _not_exact(near_groups: Sequence[list[int]], exact: Sequence[list[int]]) -> list[list[int]]:
    """Groups of near duplicates that are not also groups of equal files."""
    copies = {tuple(rows) for rows in exact}
    return [rows for rows in near_groups if tuple(rows) not in copies]


def _spans_splits(data: Dataset, rows: Sequence[int]) -> bool:
    """Whether the rows are in more than one split."""
    if data.split_of is None:
        return False
    return len({code for code in data.split_of[list(rows)].tolist() if code >= 0}) > 1


def _divided_group_count(data: Dataset) -> int:
    """Number of groups of the data set with rows in more than one split."""
    if data.group is None or data.split_of is None:
        return 0
    used = data.split_of >= 0
    pairs = np.unique(np.stack([data.group[used], data.split_of[used].astype(np.int64)]), axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())


def _named_groups(data: Dataset, groups: Sequence[list[int]]) -> dict[int, list[str]]:
    """Image names with their split in brackets, by the `id` of the group."""
    suffixes = [f" [{name}]" for name in data.split_names] + [""]  # the last is for code -1, no split
    names_of: dict[int, list[str]] = {}
    for block in ranges(len(groups), 4096):
        block_groups = groups[block.start : block.stop]
        rows = np.array([row for group in block_groups for row in group], np.int64)
        codes = [-1] * len(rows) if data.split_of is None else np.asarray(data.split_of)[rows].tolist()
        names = (name + suffixes[code] for name, code in zip(data.image_ids(rows), codes, strict=True))
        names_of |= {id(group): list(islice(names, len(group))) for group in block_groups}
    return names_of
