"""Which files of a folder are images, and which are what a system leaves behind: one rule to train and predict by."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from labelwise.errors import LabelwiseError

_SUFFIXES = """
.jpg .jpeg .jpe .jfif .png .apng .bmp .dib .gif .tif .tiff .webp .ppm .pgm .pbm .pnm .jp2 .j2k .jpf .jpx .avif .mpo
"""
IMAGE_SUFFIXES = frozenset(_SUFFIXES.split())
"""Endings of image files in small letters; all are of `data.decode.FORMATS`."""
_LEFT_BEHIND = (
    "__macosx thumbs.db ehthumbs.db desktop.ini @eadir @tmp @__thumb @recycle #recycle #snapshot $recycle.bin "
    "lost+found __pycache__"
)
CLUTTER = frozenset(_LEFT_BEHIND.split()) | {"system volume information", "icon\r"}
"""Names, in small letters, of what systems, network disks and editors put into folders, beside hidden names."""


class Listing(NamedTuple):
    """What one folder holds, names in order.

    Args:
        path: of the folder.
        start: what stands before a file's name to make its path below the folder that was walked.
        files: names of files.
        folders: names of the folders inside it.
        clutter: names that are passed over: folders, and files that end like images.
    """

    path: str
    start: str
    files: list[str]
    folders: list[str]
    clutter: list[str]


@dataclass
class FolderFiles:
    """What lies in a folder and the folders in it, by the rule of `is_clutter` and `is_image_name`.

    Args:
        images: paths of image files, those of a folder before those of the folders inside it.
        others: names of files that are no images by their suffix.
        clutter: names that were passed over: folders, and files that end like images.
    """

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    clutter: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """A sentence on each kind of file that was left out."""
        kinds = (
            ("files that are no images by their suffix", self.others),
            ("hidden or system files and folders", self.clutter),
        )
        return [f"{len(names):,} {kind} were left out: {_some(names)}." for kind, names in kinds if names]


def _some(names: list[str]) -> str:
    """Up to five distinct names, by the alphabet."""
    distinct = sorted(set(names))
    return ", ".join(distinct[:5]) + (", ..." if len(distinct) > 5 else "")


def is_image_name(name: str) -> bool:
    """Whether a file name ends like an image's.

    >>> is_image_name("a.JPG"), is_image_name("a.txt")
    (True, False)
    """
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def is_clutter(name: str) -> bool:
    """Whether a file or folder is hidden, or one that a system puts beside people's own.

    >>> [is_clutter(name) for name in ("._a.jpg", "__MACOSX", "Thumbs.db", "a.jpg", "_none")]
    [True, True, True, False, False]
    """
    return name.startswith(".") or name.lower() in CLUTTER


def walk(folder: str | Path, depth: int | None = None, *, glance: bool = False) -> Iterator[Listing]:
    """A folder and the folders inside it, without clutter; the folder itself is listed whatever its own name.

    Args:
        folder: where to begin.
        depth: how far below it to go; 0 for the folder alone, `None` for the bottom.
        glance: whether a folder that cannot be listed is passed over, as a guess at what a path holds may do; whatever
            reads a data set would miss its files.

    Raises:
        LabelwiseError: a folder that cannot be listed.
    """
    for path, inner, names in os.walk(folder, onerror=None if glance else _refuse):
        start = os.path.relpath(path, folder).replace(os.sep, "/")
        start = "" if start == "." else f"{start}/"
        clutter = sorted(name for name in inner if is_clutter(name))
        clutter += sorted(name for name in names if is_clutter(name) and is_image_name(name))
        inner[:] = sorted(name for name in inner if not is_clutter(name))
        files = sorted(name for name in names if not is_clutter(name))
        yield Listing(path, start, files, list(inner), clutter)
        if depth is not None and start.count("/") >= depth:
            inner.clear()


def walk_images(*folders: str | Path) -> FolderFiles:
    """The files of folders and of all folders inside them; a folder given here is read whatever its own name.

    Raises:
        LabelwiseError: a folder that cannot be listed, whose images would be missed.
    """
    found = FolderFiles()
    for listing in (listing for folder in folders for listing in walk(folder)):
        found.clutter += listing.clutter
        for name in listing.files:
            if is_image_name(name):
                found.images.append(os.path.join(listing.path, name))
            else:
                found.others.append(name)
    return found


def _refuse(error: OSError) -> None:
    raise LabelwiseError(
        f"folder {error.filename} ({error.strerror})", "a folder that can be listed", "check its permissions"
    )
