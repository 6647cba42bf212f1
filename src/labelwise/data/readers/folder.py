"""One folder per label: `DIR/[split/]LABEL/file`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.duplicates import content_codes
from labelwise.data.imagefiles import FolderFiles, is_clutter, is_image_name, walk_images
from labelwise.data.readers.files import source_folder, text_array
from labelwise.data.readers.label_counts import refuse_huge
from labelwise.data.readers.name_doubts import few, joined_name
from labelwise.data.readers.split_names import SPLIT_ORDER, canonical, split_in_name, splits_together
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet

FORM = "folder:DIR"
MEANING = "DIR/[train|val|test/]LABEL/image; a copy in two label folders is one image with both labels"
OPTIONS: frozenset[str] = frozenset()
NO_LABEL = ("_none", "_negative")


def read(source: Source) -> Dataset:
    """Reads label folders; an image is negative for the labels of all folders that lack it; `_none` means no label.

    Images in a folder inside a label folder have the label of the outer folder, and a note counts them.

    Raises:
        LabelwiseError: for a folder without images, images outside label folders, or mixed split folders.
    """
    root = source_folder(source, "a folder of label folders")
    notes: list[str] = []
    splits = _splits(root, notes)
    files: list[tuple[str, str, str]] = []  # path, label, split
    left_out = FolderFiles(clutter=[] if "" in splits else _clutter(root))
    for split, base in splits.items():
        left_out.clutter += _clutter(base)
        for label in _subfolders(base):
            label_files = walk_images(base / label)
            files += [(os.path.relpath(path, root), label, split) for path in label_files.images]
            left_out.others += label_files.others
            left_out.clutter += label_files.clutter
        _refuse_loose(base)
    if not files:
        raise LabelwiseError(
            f"{source.path!r} without images", "DIR/[split/]LABEL/image files", "check the path"
        )
    data = _dataset(root, files, tuple(name for name in splits if name))
    depths = {split: len(base.relative_to(root).parts) for split, base in splits.items()}
    return data.with_notes(*notes, *_deeper(files, depths), *left_out.notes())


def _splits(root: Path, notes: list[str]) -> dict[str, Path]:
    """The folder of each split in their order; the root under an empty name if no folder names a split.

    Folders whose whole name means a split are splits. Folders whose names contain the name of a split are splits if
    this holds for all of them and all contain folders.
    """
    names = _subfolders(root)
    as_split = {name: split for name in names if (split := canonical(name))}
    if not as_split:
        as_split = {name: split for name in names if (split := split_in_name(name))}
        have_subfolders = all(_subfolders(root / name) for name in names)
        if len(as_split) < len(names) or len(set(as_split.values())) < 2 or not have_subfolders:
            _refuse_splits_of_labels(root, names)
            return {"": root}
    if len(as_split) < len(names):
        label_folder = next(name for name in names if name not in as_split)
        raise LabelwiseError(
            f"folder {label_folder!r} beside the split folder {next(iter(as_split))!r} in {root}",
            "split folders only (train, val, test), or label folders only",
            "move one of them",
        )
    splits = splits_together(tuple(as_split), tuple(as_split.values()))
    if splits != [canonical(name) for name in as_split]:
        texts = [f"{name} is {split}" for name, split in zip(as_split, splits, strict=True)]
        notes.append(f"Folders are splits by their names: {few(texts)}.")
    if len(set(splits)) < len(splits):
        raise LabelwiseError(
            f"{', '.join(as_split)} in {root}", "one folder per split", "merge the two of one split"
        )
    folders = dict(zip(splits, as_split, strict=True))
    return {split: _innermost(root / folders[split], split) for split in SPLIT_ORDER if split in folders}


def _innermost(folder: Path, split: str) -> Path:
    """The folder of a split; a lone subfolder that names the same split takes its place."""
    inner = _subfolders(folder)
    is_lone = len(inner) == 1 and split_in_name(inner[0]) == split_in_name(split)
    return _innermost(folder / inner[0], split) if is_lone else folder


def _refuse_splits_of_labels(root: Path, names: Sequence[str]) -> None:
    """Raises `LabelwiseError` for `LABEL/train/image`, because its splits would be lost."""
    inner = [_subfolders(root / name) for name in names]
    if inner and all(folders and all(map(canonical, folders)) for folders in inner):
        raise LabelwiseError(
            f"folders {names[0]}/{inner[0][0]} in {root}: splits inside label folders",
            "DIR/SPLIT/LABEL/image",
            f"put the splits on top, as {inner[0][0]}/{names[0]}",
        )


def _subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without clutter."""
    return sorted(item.name for item in folder.iterdir() if item.is_dir() and not is_clutter(item.name))


def _clutter(folder: Path) -> list[str]:
    """Skipped names directly in a folder that could hold images: folders, and files with an image suffix."""
    items = (item for item in folder.iterdir() if is_clutter(item.name))
    return sorted(item.name for item in items if item.is_dir() or is_image_name(item.name))


def _refuse_loose(base: Path) -> None:
    """Raises `LabelwiseError` for images directly in a folder of label folders."""
    names = sorted(item.name for item in base.iterdir() if item.is_file())
    loose = [name for name in names if is_image_name(name) and not is_clutter(name)]
    if loose:
        raise LabelwiseError(
            f"{len(loose):,} images outside a label folder in {base}: {loose[0]}",
            "every image in a label folder",
            "move it to its label, or to _none when it has none",
        )


def _deeper(files: list[tuple[str, str, str]], depths: Mapping[str, int]) -> list[str]:
    """A note on images of folders inside label folders, which result from a label with a slash in its name."""
    # A path holds the folders above the label folder, the label folder and the file.
    deeper = [(path, label) for path, label, split in files if path.count(os.sep) > depths[split] + 1]
    if not deeper:
        return []
    folder, label = os.path.dirname(deeper[0][0]), deeper[0][1]
    return [
        f"{len(deeper):,} images lie deeper than their label folder and have its label alone, "
        f"as those in {folder}: {label}."
    ]


def _dataset(root: Path, files: list[tuple[str, str, str]], splits: tuple[str, ...]) -> Dataset:
    """The data set of these files; copies of an image within a split are one row with all its labels."""
    labels = tuple(sorted({label for _, label, _ in files} - set(NO_LABEL)))
    if not labels:
        raise LabelwiseError(
            f"{root} with images of no label only", "a folder per label", "add label folders"
        )
    text_array([path for path, _, _ in files])  # reports file names that are not UTF-8 before label names
    if len(labels) == 1 and not {label for _, label, _ in files} & set(NO_LABEL):
        raise LabelwiseError(
            f"{root} with the label {labels[0]!r} on every image, which carries no information",
            "a folder for each of two labels or more, or images without the label in _none",
            "name the folder above the label folders, or the file that holds the labels",
        )
    column = {label: j for j, label in enumerate(labels)}
    code = {name: i for i, name in enumerate(splits)}
    split_of = np.array([code.get(split, 0) for _, _, split in files], np.int16)
    content = content_codes([root / path for path, _, _ in files])
    _, first_files, inverse = np.unique(
        np.stack([split_of.astype(np.int64), content]), axis=1, return_index=True, return_inverse=True
    )
    kept, rows = np.unique(first_files[inverse.reshape(-1)], return_inverse=True)
    refuse_huge(len(kept), len(labels), str(root))
    values = np.zeros((len(kept), len(labels)), np.uint8)
    for row, (_, label, _) in zip(rows.reshape(-1), files, strict=True):
        if label in column:
            values[row, column[label]] = 1
    notes = ["A label is negative where its folder lacks the image."]
    if len(kept) < len(files):
        notes.append(
            f"{len(files) - len(kept):,} files are copies: each image is kept once, with all its labels."
        )
    joined = joined_name(set(labels), None)
    if joined is not None:
        notes.append(
            f"The folder {joined[0]!r} is read as one label, though its parts are labels too: an image with several "
            "labels needs a copy in each of their folders."
        )
    return Dataset(
        labels=LabelSet(labels),
        images=text_array([files[i][0] for i in kept]),
        root=root,
        values=values,
        known=np.ones(values.shape, bool),
        split_of=split_of[kept] if splits else None,
        split_names=splits,
        notes=tuple(notes),
        rows_in_source=len(files),
    )
