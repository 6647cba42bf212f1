"""Locates the images of a table: beside it, in subfolders, under another base folder, or by name without suffix."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelwise.data.imagefiles import is_image_name, walk
from labelwise.data.readers.files import files_there, image_folder, text_array
from labelwise.data.readers.matching import last_part, last_parts, matching, with_image_suffix
from labelwise.data.source import Source

SAMPLE = 128  # names that decide on the base folder


def locate(
    names: Sequence[str] | pa.Array, source: Source, folders: Sequence[Path], notes: list[str]
) -> tuple[pa.Array, Path]:
    """Image names as they are on this disk, and their base folder.

    A name is kept if the file exists. If most files do not exist, the image files below the folder are listed. A name
    is then matched to the only file that shares its last parts (`s3://bucket/a/1.jpg` is `a/1.jpg`), or its stem (`1`
    or `1.png` is `1.jpg`). A name that fits several files, or a file that fits several names, is not matched: the
    caller reports it as missing.

    Args:
        names: as in the table, absolute or relative.
        source: its option `images` is the folder, instead of `folders`.
        folders: likely folders of the images, the likeliest first; those that do not exist are skipped.
        notes: receives a sentence for each decision.

    Returns:
        `[N]` strings and the folder.

    Raises:
        LabelwiseError: `images` names no folder.
    """
    given = source.options.get("images")
    bases = [image_folder(given)] if given else [folder for folder in folders if folder.is_dir()]
    bases = bases or [folders[0]]
    array = names if isinstance(names, pa.Array) else text_array(names)
    step = max(1, len(array) // SAMPLE)
    sample = array.take(pa.array(np.arange(0, len(array), step)))
    shares = [float(files_there(sample, str(folder)).mean()) if len(sample) else 1.0 for folder in bases]
    best = int(np.argmax(shares))
    root = bases[best]
    if shares[best] > 0.5:
        if best and not given:
            notes.append(f"Images are in the folder `{os.path.relpath(root, folders[0])}` beside the table.")
        return array, root
    exist = files_there(array, str(root))
    missing = np.flatnonzero(~exist)
    files = list(image_files(root))
    unmatched = array.take(pa.array(missing))
    match = matching(unmatched, files, set(array.filter(pa.array(exist)).to_pylist()))
    matched = np.flatnonzero(match >= 0)
    if not len(matched):
        return array, root
    given_names = unmatched.take(pa.array(matched))
    new_names = text_array([files[i] for i in match[matched].tolist()])
    changed = np.zeros(len(array), bool)
    changed[missing[matched]] = True
    suffixed = with_image_suffix(last_part(given_names))
    other_suffix = np.array(
        [
            os.path.splitext(last_parts(name)[-1])[1].lower() != os.path.splitext(file)[1].lower()
            for name, file in zip(given_names.to_pylist(), new_names.to_pylist(), strict=True)
        ]
    )
    for rows, meaning in (
        (np.flatnonzero(~suffixed), "image names have no suffix and are files of that stem"),
        (np.flatnonzero(suffixed & ~other_suffix), "images are matched by the last parts of their path"),
        (np.flatnonzero(suffixed & other_suffix), "images are files of that stem with another suffix"),
    ):
        if len(rows):
            example = f"{given_names[rows[0]].as_py()} is {new_names[rows[0]].as_py()}"
            notes.append(f"{len(rows):,} {meaning}: {example}.")
    return pc.replace_with_mask(array, pa.array(changed), new_names), root


def image_files(folder: Path) -> Iterator[str]:
    """Paths, relative to a folder, of all image files below it, in order; none if the folder does not exist."""
    for listing in walk(folder) if folder.is_dir() else ():
        yield from (listing.start + name for name in listing.files if is_image_name(name))
