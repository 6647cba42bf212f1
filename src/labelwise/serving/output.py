"""The photographs that a command names, and the pictures that it writes about them."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from labelwise.data.decode import decode_image
from labelwise.data.imagefiles import IMAGE_SUFFIXES, FolderFiles, is_clutter, walk_images
from labelwise.data.pixels import BITS
from labelwise.errors import LabelwiseError
from labelwise.serving.predictor import Prediction

LONGEST_NAME = 100
"""Bytes of a file's or a label's name that the name of a picture takes over; systems allow 255 in all."""


def find_images(paths: Sequence[str], notes: list[str] | None = None) -> list[str]:
    """Image files of files, folders (searched to the bottom), globs, and `@LIST` files with a path a line.

    A file or folder named outright is taken whatever its name; folders give their image files, sorted, without the
    hidden and system files that the readers of data sets pass over too.

    Args:
        paths: as on the command line.
        notes: takes a sentence on each kind of file that was left out of the folders.

    Raises:
        LabelwiseError: something that is not there, or nothing found.
    """
    found: list[str] = []
    folders = FolderFiles()
    for path in paths:
        if path.startswith("@"):
            found += _listed(Path(path[1:]))
        elif os.path.isdir(path):
            inside = walk_images(path)
            found += sorted(inside.images)
            folders.others += inside.others
            folders.clutter += inside.clutter
        elif os.path.lexists(path):
            found.append(path)
        elif glob.has_magic(path):
            found += _matched(path)
        else:
            raise LabelwiseError(
                f"{path}: no such file or folder", "image files, folders or globs", "correct the path"
            )
    if notes is not None:
        notes += folders.notes()
    if not found:
        left_out = " ".join(["", *folders.notes()])
        raise LabelwiseError(
            f"no image in {', '.join(paths)}{left_out}".removesuffix("."),
            f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))}",
            "correct the path",
        )
    return found


def _matched(pattern: str) -> list[str]:
    """Files that a pattern matches, without clutter that it does not name."""
    named = set(re.split(r"[/\\]", pattern))
    files = sorted(path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))
    if any(part.startswith(".") and glob.has_magic(part) for part in named):
        return files
    return [path for path in files if not any(is_clutter(part) for part in {*Path(path).parts} - named)]


def _listed(path: Path) -> list[str]:
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        if b"\0" in content:
            raise ValueError("which holds zero bytes")
    except (OSError, ValueError) as error:
        raise LabelwiseError(
            f"list {path} ({error})", "a text file with a path a line", "correct the list"
        ) from None
    # Names of files may hold letters that other systems take for the end of a line, and bytes that are no UTF-8.
    lines = (os.fsdecode(line.removesuffix(b"\r")) for line in content.split(b"\n"))
    return [line for line in lines if line.strip()]


def stems(paths: Sequence[str]) -> dict[str, str]:
    """A name for what is written about each file: its own without the suffix, numbered where several share it.

    >>> stems(["a/1.jpg", "b/1.jpg", "b/2.png"])
    {'a/1.jpg': '1', 'b/1.jpg': '1-2', 'b/2.png': '2'}
    """
    files = list(dict.fromkeys(paths))
    return dict(zip(files, _apart(os.path.splitext(os.path.basename(f))[0] for f in files), strict=True))


def _apart(names: Iterable[str]) -> list[str]:
    """The names, shortened and numbered so that no two are one file, also where a system ignores case."""
    found: list[str] = []
    taken: set[str] = set()
    last: dict[
        str, int
    ] = {}  # the number that each name has come to, or many alike would be counted over and over
    for name in names:
        whole = name.encode("utf-8", "surrogateescape")
        short = name if len(whole) <= LONGEST_NAME else whole[:LONGEST_NAME].decode("utf-8", "ignore")
        # The same for names that some systems take for one.
        key = (short if short.isascii() else unicodedata.normalize("NFC", short)).casefold()
        own, mark, count = short, key, last.get(key, 1)
        while mark in taken:
            count += 1
            own = f"{short}-{count}"
            mark = f"{key}-{count}"
        last[key] = count
        taken.add(mark)
        found.append(own)
    return found


def write_maps(prediction: Prediction, folder: Path, stem: str, bits: int = BITS) -> None:
    """Each selected label's evidence over the photograph, as `STEM.LABEL.jpg` in a folder.

    Args:
        prediction: with maps.
        folder: made where it is not there.
        stem: what the photograph is called, one of `stems`.
        bits: that 16-bit grey uses, see `decode_image`.
    """
    from labelwise.reports.pictures import overlay

    folder.mkdir(parents=True, exist_ok=True)
    photograph = decode_image(prediction.image, bits=bits)
    plain = ("".join(c if c.isalnum() or c in "-_ " else "_" for c in name) for name in prediction.names)
    own = dict(zip(prediction.names, _apart(plain), strict=True))
    for label in prediction.selected:
        picture = overlay(photograph, prediction.over_photograph(label))
        picture.save(folder / f"{stem}.{own[label]}.jpg", quality=88)
