"""One folder per label: `DIR/[split/]LABEL/file`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.duplicates import content_codes
from labelwise.data.readers.files import is_image_name, source_folder, text_array
from labelwise.data.readers.split_cells import SPLIT_ALIASES
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet

FORM = "folder:DIR"
MEANING = "DIR/[train|val|test/]LABEL/image; a copy in two label folders is one image with both labels"
OPTIONS: frozenset[str] = frozenset()
NO_LABEL = ("_none", "_negative")
CLUTTER = frozenset({"thumbs.db", "desktop.ini"})


def read(source: Source) -> Dataset:
    """Reads label folders; a label whose folder lacks an image is negative there; `_none` means no label.

    Raises:
        LabelwiseError: for a folder without images, images outside label folders, or mixed split folders.
    """
    root = source_folder(source, "a folder of label folders")
    splits = _splits(root)
    found: list[tuple[str, str, str]] = []  # path, label, split
    strange: list[str] = []
    for split, base in splits.items():
        for label in _subfolders(base):
            for path in _files(base / label, strange):
                found.append((os.path.relpath(path, root), label, split))
        _refuse_loose(base)
    if not found:
        raise LabelwiseError(
            f"{source.path!r} without images", "DIR/[split/]LABEL/image files", "check the path"
        )
    return _dataset(root, found, tuple(name for name in splits if name), strange)


def _splits(root: Path) -> dict[str, Path]:
    names = _subfolders(root)
    as_split = {name: SPLIT_ALIASES.get(name.lower(), name.lower()) for name in names}
    told = [name for name in names if as_split[name] in ("train", "val", "test")]
    if not told:
        return {"": root}
    if len(told) < len(names):
        other = next(name for name in names if name not in told)
        raise LabelwiseError(
            f"folder {other!r} beside the split folder {told[0]!r} in {root}",
            "split folders only (train, val, test), or label folders only",
            "move one of them",
        )
    if len(set(as_split.values())) < len(told):
        raise LabelwiseError(
            f"{', '.join(told)} in {root}", "one folder per split", "merge the two of one split"
        )
    order = ("train", "val", "test")
    return {
        as_split[name]: root / name for name in sorted(told, key=lambda name: order.index(as_split[name]))
    }


def _subfolders(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir() if item.is_dir() and not item.name.startswith("."))


def _refuse_loose(base: Path) -> None:
    loose = sorted(f.name for f in base.iterdir() if f.is_file() and is_image_name(f.name))
    if loose:
        raise LabelwiseError(
            f"{len(loose):,} images outside a label folder in {base}: {loose[0]}",
            "every image in a label folder",
            "move it to its label, or to _none when it has none",
        )


def _files(folder: Path, strange: list[str]) -> list[str]:
    paths = []
    for place, inner, files in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(files):
            if name.startswith(".") or name.lower() in CLUTTER:
                continue
            if is_image_name(name):
                paths.append(os.path.join(place, name))
            else:
                strange.append(name)
    return paths


def _dataset(
    root: Path, found: list[tuple[str, str, str]], splits: tuple[str, ...], strange: list[str]
) -> Dataset:
    labels = tuple(sorted({label for _, label, _ in found} - set(NO_LABEL)))
    if not labels:
        raise LabelwiseError(
            f"{root} with images of no label only", "a folder per label", "add label folders"
        )
    text_array([path for path, _, _ in found])  # names of files are refused before those of labels
    column = {label: j for j, label in enumerate(labels)}
    code = {name: i for i, name in enumerate(splits)}
    split_of = np.array([code.get(split, 0) for _, _, split in found], np.int16)
    content = content_codes([root / path for path, _, _ in found])
    _, first, row = np.unique(
        np.stack([split_of.astype(np.int64), content]), axis=1, return_index=True, return_inverse=True
    )
    keep, rank = np.unique(first[row.reshape(-1)], return_inverse=True)
    values = np.zeros((len(keep), len(labels)), np.uint8)
    for place, (_, label, _) in zip(rank.reshape(-1), found, strict=True):
        if label in column:
            values[place, column[label]] = 1
    notes = ["A label is negative where its folder lacks the image."]
    if len(keep) < len(found):
        notes.append(
            f"{len(found) - len(keep):,} files are copies: each image is kept once, with all its labels."
        )
    if strange:
        notes.append(
            f"{len(strange):,} files that are no images by their suffix were left out: {strange[0]}."
        )
    return Dataset(
        labels=LabelSet(labels),
        images=text_array([found[i][0] for i in keep]),
        root=root,
        values=values,
        known=np.ones(values.shape, bool),
        split_of=split_of[keep] if splits else None,
        split_names=splits,
        notes=tuple(notes),
        rows_in_source=len(found),
    )
