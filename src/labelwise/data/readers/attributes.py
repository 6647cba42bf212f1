"""Shared code of the readers of pedestrian attributes: label order, groups, unknown cells and splits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.readers.files import find_root, image_folder, keep_existing, text_array
from labelwise.data.readers.published import count_notes
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError
from labelwise.types import Group, LabelSet

REGIONS = ("head", "upper body", "lower body", "feet", "bags", "person")
UNKNOWN = 2


@dataclass(frozen=True)
class Attributes:
    """The evaluated attributes of a data set, as published.

    Args:
        names: in the official order.
        regions: names of each region, in the order of `REGIONS`.
        exclusive: sets of names of which at most one should be present in an image.
    """

    names: tuple[str, ...]
    regions: tuple[tuple[str, ...], ...]
    exclusive: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Index:
    """Content of an annotation file.

    Args:
        file: its path.
        images: file names.
        names: of the label columns, as in the file.
        states: `[N, L]` of 0, 1 and, in RAP, 2 for unknown.
        splits: row numbers from 0 of each split.
        group: `[N]` codes of the persons, if the file names them.
    """

    file: Path
    images: Sequence[str]
    names: Sequence[str]
    states: np.ndarray
    splits: Mapping[str, np.ndarray]
    group: np.ndarray | None = None


def dataset_of_attributes(
    index: Index, official: Attributes, source: Source, folders: Sequence[Path], published: Mapping[str, int]
) -> Dataset:
    """The data set of an index: columns in the official order by name, groups, splits, and notes on differences.

    With `order=reference` the columns are ordered by region, as in published models; with `unknown=zero` a state of 2
    is negative.

    Args:
        official: the attributes to read; names of the file are matched to them without regard to case and marks.
        folders: candidates for the images, unless `images=DIR` is given; the first with the first image is used.
        published: number of images in each split.

    Raises:
        LabelwiseError: an attribute that the file lacks, a state other than 0, 1 and 2, an image in two splits, or
            missing image files.
    """
    as_negative = source.choice("unknown", ("mask", "zero")) == "zero"
    by_region = source.choice("order", ("official", "reference")) == "reference"
    given = source.options.get("images")
    root = image_folder(given) if given is not None else find_root(index.images, folders)
    columns, notes = _columns(index, official.names)
    states = index.states[:, columns]
    invalid = ~np.isin(states, (0, 1, UNKNOWN))
    if invalid.any():
        row, column = np.argwhere(invalid)[0]
        raise LabelwiseError(
            f"{index.file}: {official.names[column]} = {states[row, column]} of image {index.images[row]}",
            "0, 1, or 2 for unknown",
            "fetch the file again",
        )
    unknown = states == UNKNOWN
    if unknown.any():
        state = "negative" if as_negative else "unknown"
        notes.append(f"{int(unknown.sum()):,} cells of value 2 are {state}.")
    codes, names = _split_codes(index)
    values = (states == 1).astype(np.uint8)
    known = np.ones_like(unknown) if as_negative else ~unknown
    groups, group_notes = _groups(official, values, known, index.images)
    listed = codes >= 0
    if not listed.all():
        notes.append(f"{int((~listed).sum()):,} images are in no split of this partition and were left out.")
    data = Dataset(
        labels=LabelSet(official.names, groups),
        images=text_array(list(index.images)),
        root=root,
        values=values,
        known=known,
        split_of=codes,
        split_names=names,
        group=index.group,
        notes=(*notes, *group_notes),
        rows_in_source=len(index.images),
    ).take(listed)
    data = keep_existing(data.with_notes(*count_notes(data.splits(), published)), source)
    if not by_region:
        return data
    return data.with_labels([n for region in official.regions for n in region if n in official.names])


def plain_name(name: str) -> str:
    """An attribute's name in lower case, without marks and without the region that RAP prefixes.

    >>> plain_name("hs-BaldHead"), plain_name("attachment-Box"), plain_name("action-Other")
    ('baldhead', 'attachbox', 'actionother')
    """
    name = re.sub(r"^(hs|ub|lb|action)-(?!other)", "", name.strip().lower())
    return re.sub(r"[^a-z0-9]", "", name.replace("attachment-", "attach"))


def _columns(index: Index, wanted: tuple[str, ...]) -> tuple[list[int], list[str]]:
    """Column of each wanted name: the column with that name, else an unmatched column at its official position."""
    plain_names, notes = [plain_name(name) for name in index.names], []
    by_name = {n: j for j, n in enumerate(index.names)}
    by_plain_name = {n: j for j, n in enumerate(plain_names)}
    columns = [by_name.get(name, by_plain_name.get(plain_name(name), -1)) for name in wanted]
    unmatched = set(range(len(plain_names))) - set(columns)
    missing = [position for position, column in enumerate(columns) if column < 0]
    if any(position not in unmatched for position in missing) or len(missing) > len(wanted) // 4:
        names = ", ".join(wanted[position] for position in missing[:5])
        raise LabelwiseError(
            f"{index.file} without the attributes {names}",
            f"the official names, {', '.join(wanted[:3])}, ...",
            "fetch the file again",
        )
    for position in missing:
        columns[position] = position
        notes.append(f"{index.file.name} writes {wanted[position]} as {index.names[position]}.")
    moved = next((i for i, column in enumerate(columns) if column != i), None)
    if moved is not None:
        notes.append(
            f"{index.file.name} has its attributes in another order ({index.names[moved]} at {moved + 1}): "
            "they were put into the official order by name."
        )
    if len(plain_names) > len(wanted):
        notes.append(f"{len(wanted)} of the {len(plain_names)} attributes of {index.file.name} are read.")
    return columns, notes


def _split_codes(index: Index) -> tuple[np.ndarray, tuple[str, ...]]:
    """Split of each image, -1 for none; raises `LabelwiseError` for an image in two of them."""
    codes = np.full(len(index.images), -1, np.int16)
    names = tuple(index.splits)
    for code, (name, rows) in enumerate(index.splits.items()):
        repeated = rows[codes[rows] >= 0]
        if len(repeated):
            raise LabelwiseError(
                f"{index.file}: image {index.images[repeated[0]]} in {names[codes[repeated[0]]]} and in {name}",
                "each image in one split",
                "fetch the file again",
            )
        codes[rows] = code
    return codes, names


def _groups(
    official: Attributes, values: np.ndarray, known: np.ndarray, images: Sequence[str]
) -> tuple[dict[str, Group], list[str]]:
    """Groups of the regions and exclusive sets; a set that an image contradicts is noted and is not exclusive."""
    evaluated = set(official.names)
    groups = {
        name: Group(tuple(label for label in labels if label in evaluated))
        for name, labels in zip(REGIONS, official.regions, strict=True)
    }
    notes = []
    for name, labels in official.exclusive.items():
        labels = tuple(label for label in labels if label in evaluated)
        columns = [official.names.index(label) for label in labels]
        clash = np.flatnonzero((values[:, columns] & known[:, columns]).sum(1) > 1)
        if len(clash):
            notes.append(
                f"{len(clash):,} images have several of {name}, such as {images[clash[0]]}: these labels are not "
                "treated as exclusive."
            )
        groups[name] = Group(labels, exclusive=not len(clash))
    return {name: group for name, group in groups.items() if group.labels}, notes
