"""The image files that rows name: where they are, whether they exist, and whether their names can be kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from labelwise.data.dataset import Dataset
from labelwise.data.source import Source, WouldLose
from labelwise.errors import LabelwiseError

_SUFFIXES = ".jpg .jpeg .jpe .jfif .png .bmp .gif .tif .tiff .webp .ppm .pgm .pbm .pnm .jp2 .avif"
IMAGE_SUFFIXES = frozenset(_SUFFIXES.split())


def is_image_name(name: str) -> bool:
    """Whether a file name ends like an image's."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def source_file(source: Source, what: str) -> Path:
    """The file that a source names; raises `LabelwiseError` when it is not one."""
    path = Path(source.path)
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise LabelwiseError(f"{source.path!r}, which {state}", what, "check the path")
    return path


def source_folder(source: Source, what: str) -> Path:
    """The folder that a source names; raises `LabelwiseError` when it is not one."""
    path = Path(source.path)
    if not path.is_dir():
        state = "is a file" if path.is_file() else "does not exist"
        raise LabelwiseError(f"{source.path!r}, which {state}", what, "check the path")
    return path


def image_folder(path: str | Path) -> Path:
    """A folder of images given by hand; raises `LabelwiseError` when there is none."""
    folder = Path(path)
    if not folder.is_dir():
        raise LabelwiseError(f"image folder {str(path)!r}", "a folder that exists", "correct images=DIR")
    return folder


def find_root(names: Sequence[str], candidates: Sequence[Path]) -> Path:
    """The first candidate folder that holds the first named image, else the first candidate."""
    for folder in candidates:
        if names and (folder / names[0]).is_file():
            return folder
    return candidates[0]


def text_array(names: Sequence[str]) -> pa.Array:
    """Names as an Arrow array; raises `LabelwiseError` for one that is not text on this system."""
    try:
        return pa.array(names, pa.string())
    except UnicodeEncodeError:
        for name in names:
            if not name.isprintable() and any("\udc80" <= letter <= "\udcff" for letter in name):
                raise LabelwiseError(
                    f"image name {os.fsencode(name)!r}", "a file name in UTF-8", "rename the file"
                ) from None
        raise


def keep_existing(data: Dataset, source: Source) -> Dataset:
    """The rows whose image file exists; others stop the reading unless the source says `missing=skip`.

    Raises:
        WouldLose: with the number of missing files and the first five.
    """
    policy = source.choice("missing", ("stop", "skip"))
    if data.embedded:
        return data
    names = data.images.to_pylist()
    root = "" if data.root is None else str(data.root)
    there = np.fromiter((os.path.isfile(os.path.join(root, name)) for name in names), bool, len(names))
    lost = np.flatnonzero(~there)
    if not len(lost):
        return data
    shown = ", ".join(names[i] for i in lost[:5]) + (", ..." if len(lost) > 5 else "")
    where = f" under {root}" if root else ""
    if policy == "stop" or len(lost) == len(names):
        raise WouldLose(
            f"{len(lost):,} of {len(names):,} image files missing{where}: {shown}",
            "every image that the table names",
            "correct images=DIR"
            + (", or add missing=skip to go on without them" if len(lost) < len(names) else ""),
            ("missing", "skip"),
        )
    return data.take(there).with_notes(
        f"{len(lost):,} rows whose image file is missing were left out: {shown}."
    )
