"""Input files of a command, and the pictures that it writes."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from labelwise.data.decoding import decode_pixels
from labelwise.data.imagefiles import IMAGE_SUFFIXES, FolderFiles, is_clutter, walk_images
from labelwise.data.pixels import BITS
from labelwise.errors import LabelwiseError
from labelwise.inference.overlays import overlay
from labelwise.inference.prediction import Prediction

LONGEST_NAME = 100
"""Maximum bytes of a file's or a label's name in the name of a picture; file systems allow 255 in total."""


def find_images(paths: Sequence[str], notes: list[str] | None = None) -> list[str]:
    """Image files of files, folders (searched recursively), globs, and `@LIST` files with one path per line.

    An explicit file or folder is used whatever its name; folders return their image files, sorted, without the
    hidden and system files that the readers of data sets skip too.

    Args:
        paths: as on the command line.
        notes: receives a sentence for each kind of file that was left out of the folders.

    Raises:
        LabelwiseError: a path does not exist, or there is no image.
    """
    files: list[str] = []
    folders = FolderFiles()
    for path in paths:
        if path.startswith("@"):
            files += _paths_in_list(Path(path[1:]))
        elif os.path.isdir(path):
            folder = walk_images(path)
            files += sorted(folder.images)
            folders.others += folder.others
            folders.clutter += folder.clutter
        elif os.path.lexists(path):
            files.append(path)
        elif glob.has_magic(path):
            files += _matched(path)
        else:
            raise LabelwiseError(
                f"{path}: no such file or folder", "image files, folders or globs", "correct the path"
            )
    if notes is not None:
        notes += folders.notes()
    if not files:
        left_out = " ".join(["", *folders.notes()])
        raise LabelwiseError(
            f"no image in {', '.join(paths)}{left_out}".removesuffix("."),
            f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))}",
            "correct the path",
        )
    return files


def _matched(pattern: str) -> list[str]:
    """Files that match a pattern, without hidden and system files that it does not name."""
    named = set(re.split(r"[/\\]", pattern))
    files = sorted(path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))
    if any(part.startswith(".") and glob.has_magic(part) for part in named):
        return files
    return [path for path in files if not any(is_clutter(part) for part in {*Path(path).parts} - named)]


def _paths_in_list(path: Path) -> list[str]:
    """The lines of a list of paths."""
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        if b"\0" in content:
            raise ValueError("which holds zero bytes")
    except (OSError, ValueError) as error:
        raise LabelwiseError(
            f"list {path} ({error})", "a text file with a path a line", "correct the list"
        ) from None
    # File names may hold other line separators of Unicode, and bytes that are not valid UTF-8.
    lines = (os.fsdecode(line.removesuffix(b"\r")) for line in content.split(b"\n"))
    return [line for line in lines if line.strip()]


def stems(paths: Sequence[str]) -> dict[str, str]:
    """The base of the output names of each file: its name without the suffix, numbered if several share it.

    >>> stems(["a/1.jpg", "b/1.jpg", "b/2.png"])
    {'a/1.jpg': '1', 'b/1.jpg': '1-2', 'b/2.png': '2'}
    """
    files = list(dict.fromkeys(paths))
    names = (os.path.splitext(os.path.basename(file))[0] for file in files)
    return dict(zip(files, _unique_names(names), strict=True))


def _unique_names(names: Iterable[str]) -> list[str]:
    """The names, shortened and numbered so that they are unique files, also on systems that ignore case."""
    unique: list[str] = []
    used: set[str] = set()
    last_numbers: dict[str, int] = {}  # by name, to avoid quadratic counting of equal names
    for name in names:
        encoded = name.encode("utf-8", "surrogateescape")
        short_name = (
            name if len(encoded) <= LONGEST_NAME else encoded[:LONGEST_NAME].decode("utf-8", "ignore")
        )
        # Equal for names that some file systems treat as one.
        key = (short_name if short_name.isascii() else unicodedata.normalize("NFC", short_name)).casefold()
        result, result_key, count = short_name, key, last_numbers.get(key, 1)
        while result_key in used:
            count += 1
            result = f"{short_name}-{count}"
            result_key = f"{key}-{count}"
        last_numbers[key] = count
        used.add(result_key)
        unique.append(result)
    return unique


def write_maps(prediction: Prediction, folder: Path, stem: str, bits: int = BITS) -> None:
    """Writes each selected label's evidence over the photograph as `STEM.LABEL.jpg` in a folder.

    Args:
        prediction: with maps.
        folder: created if it does not exist.
        stem: base name of the photograph, from `stems`.
        bits: bits used by 16-bit grey images, see `decode_pixels`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    photograph = decode_pixels(prediction.image, bits=bits)
    safe_names = ("".join(c if c.isalnum() or c in "-_ " else "_" for c in name) for name in prediction.names)
    file_names = dict(zip(prediction.names, _unique_names(safe_names), strict=True))
    for label in prediction.selected:
        picture = overlay(photograph, prediction.over_photograph(label))
        picture.save(folder / f"{stem}.{file_names[label]}.jpg", quality=88)
