"""The rule, for training and prediction, of which files of a folder are images and which are system files."""

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
"""Lower-case suffixes of image files, all of `data.decode.FORMATS`."""
_SYSTEM_NAMES = (
    "__macosx thumbs.db ehthumbs.db desktop.ini @eadir @tmp @__thumb @recycle #recycle #snapshot $recycle.bin "
    "lost+found __pycache__"
)
CLUTTER = frozenset(_SYSTEM_NAMES.split()) | {"system volume information", "icon\r"}
"""Lower-case names that systems, network disks and editors create in folders, besides hidden names."""


class Listing(NamedTuple):
    """The contents of one folder, names in order.

    Args:
        path: of the folder.
        start: prefix that makes a file's name its path below the walked folder.
        files: names of files.
        folders: names of the folders inside it.
        clutter: names that are skipped: folders, and files with an image suffix.
    """

    path: str
    start: str
    files: list[str]
    folders: list[str]
    clutter: list[str]


@dataclass
class FolderFiles:
    """The contents of a folder and its subfolders, by the rule of `is_clutter` and `is_image_name`.

    Args:
        images: paths of image files, those of a folder before those of its subfolders.
        others: names of files without an image suffix.
        clutter: names that were skipped: folders, and files with an image suffix.
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
        return [f"{len(names):,} {kind} were left out: {_listed(names)}." for kind, names in kinds if names]


def _listed(names: list[str]) -> str:
    """Up to five distinct names, sorted."""
    distinct = sorted(set(names))
    return ", ".join(distinct[:5]) + (", ..." if len(distinct) > 5 else "")


def is_image_name(name: str) -> bool:
    """Whether a file name has an image suffix.

    >>> is_image_name("a.JPG"), is_image_name("a.txt")
    (True, False)
    """
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def is_clutter(name: str) -> bool:
    """Whether a file or folder is hidden or created by the system.

    >>> [is_clutter(name) for name in ("._a.jpg", "__MACOSX", "Thumbs.db", "a.jpg", "_none")]
    [True, True, True, False, False]
    """
    return name.startswith(".") or name.lower() in CLUTTER


def walk(folder: str | Path, depth: int | None = None, *, glance: bool = False) -> Iterator[Listing]:
    """Lists a folder and its subfolders without clutter; the name of the folder itself does not matter.

    Args:
        folder: where to start.
        depth: levels of subfolders to list; 0 for the folder alone, `None` for all.
        glance: skip a folder that cannot be listed, as a guess at the contents of a path may do; a reader of a data
            set would miss its files.

    Raises:
        LabelwiseError: a folder that cannot be listed.
    """
    for path, folders, names in os.walk(folder, onerror=None if glance else _refuse_unlisted):
        start = os.path.relpath(path, folder).replace(os.sep, "/")
        start = "" if start == "." else f"{start}/"
        clutter = sorted(name for name in folders if is_clutter(name))
        clutter += sorted(name for name in names if is_clutter(name) and is_image_name(name))
        folders[:] = sorted(name for name in folders if not is_clutter(name))
        files = sorted(name for name in names if not is_clutter(name))
        yield Listing(path, start, files, list(folders), clutter)
        if depth is not None and start.count("/") >= depth:
            folders.clear()


def walk_images(*folders: str | Path) -> FolderFiles:
    """The files of folders and of their subfolders; the names of the folders themselves do not matter.

    Raises:
        LabelwiseError: a folder that cannot be listed, whose images would be missed.
    """
    files = FolderFiles()
    for listing in (listing for folder in folders for listing in walk(folder)):
        files.clutter += listing.clutter
        for name in listing.files:
            if is_image_name(name):
                files.images.append(os.path.join(listing.path, name))
            else:
                files.others.append(name)
    return files


def _refuse_unlisted(error: OSError) -> None:
    """Raises `LabelwiseError` for a folder that cannot be listed."""
    raise LabelwiseError(
        f"folder {error.filename} ({error.strerror})", "a folder that can be listed", "check its permissions"
    )
