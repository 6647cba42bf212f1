"""The lists of `ImageSets/Main`: images by split, and images by label with 1, 0 (difficult) or -1."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from labelwise.data.imagefiles import walk
from labelwise.data.readers.exports import filled_lines
from labelwise.data.readers.name_doubts import few
from labelwise.data.readers.split_names import split_in_name
from labelwise.errors import LabelwiseError

_STATE = re.compile(r"(.*\S)\s+([+-]?[01])")
States = dict[str, dict[str, int]]


@dataclass(frozen=True)
class ImageLists:
    """The content of the lists.

    Args:
        images: names in the order of `trainval`, then of the splits.
        split_of: the split of each image; empty without lists of splits.
        splits: their names.
        states: for each label with lists, the state 1, 0 or -1 of each image in them.
        notes: one sentence per decision.
    """

    images: list[str]
    split_of: Mapping[str, str]
    splits: tuple[str, ...]
    states: States
    notes: list[str]


def image_lists(folder: Path, name_of: Callable[[str], str]) -> ImageLists | None:
    """The lists of a folder, or `None` if no list has a line.

    Args:
        folder: `ImageSets/Main`.
        name_of: returns the name of the image of a line.

    Raises:
        LabelwiseError: an image in two splits or in trainval alone.
    """
    plain: dict[str, list[str]] = {}
    labelled: dict[str, list[tuple[str, int]]] = {}
    listings = walk(folder, 0) if folder.is_dir() else ()
    for file in (folder / name for listing in listings for name in listing.files if name.endswith(".txt")):
        lines = filled_lines(file)
        states_of_lines = [_STATE.fullmatch(line) for line in lines]
        if lines and "_" in file.stem and all(states_of_lines):
            labelled[file.stem] = [(name_of(match[1]), int(match[2])) for match in states_of_lines if match]
        elif lines:
            plain[file.stem] = [name_of(line) for line in lines]
    if not plain and not labelled:
        return None
    notes: list[str] = []
    by_label = _by_label(labelled, set(plain) | {"train", "val", "trainval", "test"})
    missing = sorted({subset for _, subset in by_label} - set(plain))
    for subset in missing:
        subset_pairs = [pair for (_, other), pairs in by_label.items() if other == subset for pair in pairs]
        plain[subset] = list(dict.fromkeys(name for name, _ in subset_pairs))
    if missing:
        notes.append(f"There is no {_file_names(missing)}: its images are those in the lists of labels.")
    images, split_of, splits, further = _with_splits(plain)
    notes += further
    states, several = _states(by_label)
    if several:
        notes.append(f"{several:,} labels of images have several states in their lists: the highest is used.")
    listed = set(images)
    unlisted = {name for cells in states.values() for name in cells} - listed
    if unlisted:
        notes.append(
            f"{len(unlisted):,} images of the lists of labels are in no list of images and were left out."
        )
    return ImageLists(images, split_of, splits, states, notes)


def _by_label(
    labelled: Mapping[str, list[tuple[str, int]]], subsets: set[str]
) -> dict[tuple[str, str], list[tuple[str, int]]]:
    """Lists of labels by label and subset; the subset is the longest known ending of the name, else its last part."""
    lists = {}
    for stem, pairs in labelled.items():
        ends = [subset for subset in subsets if stem.endswith(f"_{subset}") and len(stem) > len(subset) + 1]
        subset = max(ends, key=len, default=stem.rpartition("_")[2])
        lists[stem.removesuffix(f"_{subset}"), subset] = pairs
    return lists


def _states(by_label: Mapping[tuple[str, str], list[tuple[str, int]]]) -> tuple[States, int]:
    """The highest state of each image in each label's lists, and the number of cells with several states.

    VoTT writes one line per object, with -1 for an object of another label, so that an image may have both 1 and -1.
    """
    states: States = {}
    several = set()
    for (label, _), pairs in by_label.items():
        cells = states.setdefault(label, {})
        for name, state in pairs:
            if cells.setdefault(name, state) != state:
                several.add((label, name))
                cells[name] = max(state, cells[name])
    return states, len(several)


def _with_splits(
    plain: Mapping[str, list[str]],
) -> tuple[list[str], dict[str, str], tuple[str, ...], list[str]]:
    """Images, the split of each, the splits, and notes."""
    notes: list[str] = []
    trainval = plain.get("trainval", [])
    lists: dict[str, list[str]] = {}  # the lists of each split
    for split in ("train", "val", "test"):
        matching = [split] if split in plain else [stem for stem in plain if split_in_name(stem) == split]
        if matching:
            lists[split] = matching
    if trainval and "train" not in lists and "val" not in lists:
        lists = {"train": ["trainval"], **lists}
        notes.append("ImageSets/Main has trainval without train and val: trainval is called train.")
    if not lists:
        notes.append(f"No list names a split ({_file_names(plain)}): their images are read without splits.")
        return list(dict.fromkeys(name for names in plain.values() for name in names)), {}, (), notes
    renamed = [f"{stem}.txt is {split}" for split, stems in lists.items() for stem in stems if stem != split]
    if renamed and lists.get("train") != ["trainval"]:
        notes.append(f"Splits by the names of lists: {', '.join(renamed)}.")
    split_of: dict[str, str] = {}
    list_of: dict[str, str] = {}
    for split, stems in lists.items():
        for stem in stems:
            for name in plain[stem]:
                if name in list_of and (split_of[name] != split or list_of[name] == stem):
                    where = f"again in {stem}.txt" if list_of[name] != stem else "a second time"
                    raise LabelwiseError(
                        f"image {name!r} in {list_of[name]}.txt and {where}",
                        "each image once in one split",
                        "remove it from one of the lists",
                    )
                split_of[name], list_of[name] = split, stem
    unassigned = [name for name in trainval if name not in split_of]
    if unassigned:
        raise LabelwiseError(
            f"{len(unassigned):,} images in trainval.txt that train.txt and val.txt lack: {', '.join(unassigned[:5])}",
            "trainval as the union of train and val",
            "correct the lists, or remove trainval.txt",
        )
    used = {"trainval", *(stem for stems in lists.values() for stem in stems)}
    unread = [stem for stem in plain if stem not in used]
    outside = {name for stem in unread for name in plain[stem]} - set(split_of)
    if unread:
        detail = f"; {len(outside):,} images are in them alone and were left out" if outside else ""
        notes.append(f"Lists beside those of the splits were not read: {_file_names(unread)}{detail}.")
    return list(dict.fromkeys([*trainval, *split_of])), split_of, tuple(lists), notes


def _file_names(stems: Iterable[str]) -> str:
    """Names of the list files, for a message."""
    return few([f"{stem}.txt" for stem in stems])
