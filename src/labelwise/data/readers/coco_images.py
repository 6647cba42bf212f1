"""Locates the images of a COCO file by their names and URLs in the usual folders."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from labelwise.data.imagefiles import walk
from labelwise.data.readers.coco_layout import AnnotationFile
from labelwise.data.readers.files import image_folder
from labelwise.data.readers.split_names import is_eval, split_in_name

_SAMPLE = 40  # images looked up to choose a folder


def located(
    file: AnnotationFile, images: Sequence[dict[str, Any]], given: str | None
) -> tuple[Path, list[str], str | None]:
    """The folder of a file's images, and the name of each below it.

    A name is used whole, or by its last parts if no file has the whole name: a tool may write the paths of another
    machine. The same number of parts is removed from all names of a file, so that images are not mixed up.

    Args:
        file: the annotation file.
        images: its entries.
        given: the folder that the source names, if any.

    Returns:
        the folder, `[N]` names below it, and a note if names were cut.
    """
    folders = _folders(file, given)
    step = max(1, len(images) // _SAMPLE)
    best = (0, folders[0], False, 0)
    for by_url in (False, True):
        if by_url and not all("coco_url" in image for image in images):
            continue
        sample = [_name_parts(image, by_url) for image in images[::step]]
        for folder in folders:
            for dropped in range(max((len(parts) for parts in sample), default=1)):
                count = sum(os.path.isfile(os.path.join(folder, _tail(parts, dropped))) for parts in sample)
                if count > best[0]:
                    best = (count, folder, by_url, dropped)
    _, folder, by_url, dropped = best
    names = [_tail(_name_parts(image, by_url), dropped) for image in images]
    return folder, names, _note(file, images, names)


def _folders(file: AnnotationFile, given: str | None) -> list[Path]:
    """Candidate folders of the images, the likeliest first."""
    parents = [file.path.parent, file.path.parent.parent]
    bases = [image_folder(given)] if given else [*parents, *([file.root] if file.root else [])]
    candidates = [base / inner for base in bases for inner in ("", "images", "data")]
    stems = {file.path.stem.rpartition("_")[2], file.path.stem}
    folders: list[Path] = []
    for candidate in candidates:
        if not candidate.is_dir():
            continue
        inner = next(walk(candidate)).folders
        folders.append(candidate)
        folders += [candidate / name for name in inner if name in stems]
        folders += [candidate / name for name in inner if file.split and _of_split(name, file)]
    return list(dict.fromkeys(folders)) or [bases[0]]


def _of_split(folder: str, file: AnnotationFile) -> bool:
    """Whether a folder is named after the split of an annotation file, or both mean evaluation."""
    as_file = is_eval(folder) and (is_eval(file.path.stem) or is_eval(file.path.parent.name))
    return as_file or split_in_name(folder) == file.split


def _name_parts(image: dict[str, Any], by_url: bool) -> list[str]:
    """Parts of an image's name; of a URL the last two, which in LVIS are the folder and the file."""
    name = image.get("file_name")
    if by_url or name is None:
        return _url_parts(image["coco_url"])[-2:]
    if "://" in name:
        return _url_parts(name)
    return name.split("/") if "/" in name else name.split("\\")


def _url_parts(url: str) -> list[str]:
    """Parts of the path of a URL, decoded."""
    path = re.sub(r"^[^/]*://[^/]*|[?#].*$", "", url, flags=re.DOTALL)
    return unquote(path).strip("/").split("/")


def _tail(parts: list[str], cut: int) -> str:
    """A name without its first `cut` parts; the last part stays."""
    return "/".join(parts[min(cut, len(parts) - 1) :])


def _note(file: AnnotationFile, images: Sequence[dict[str, Any]], names: list[str]) -> str | None:
    """A note on the first name that was shortened; `None` without one."""
    for image, name in zip(images, names, strict=True):
        written = image.get("file_name", image.get("coco_url"))
        if written != name:
            return f"{file.path.name}: images are matched by the end of their names; {written} is {name}."
    return None
