"""Splits of a data set in several files, by the names of files and folders."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from labelwise.data.imagefiles import walk
from labelwise.data.readers.split_names import SPLIT_OF_WORD, SPLITS, canonical
from labelwise.errors import LabelwiseError

_SPLIT = re.compile(rf"(?:^|[-._ 0-9])({'|'.join(SPLIT_OF_WORD)})(?=[-._ 0-9]|$)", re.IGNORECASE)
_SHARD = re.compile(r"([\w.-]+?)-\d{5,}-of-\d{5,}(?:\D.*)?")


def files_below(folder: Path, *suffixes: str) -> list[str]:
    """Paths, relative to a folder, of the files with one of these suffixes; hidden files and folders are skipped."""
    paths = (listing.start + name for listing in walk(folder) for name in listing.files)
    return [path for path in paths if path.lower().endswith(suffixes)]


def split_of_name(name: str) -> str:
    """The name of a split in one part of a path, or empty.

    >>> split_of_name("coco-train2017-0001.tar"), split_of_name("Val"), split_of_name("trained.tar")
    ('train', 'val', '')
    """
    match = _SPLIT.search(name)
    return match[1].lower() if match else ""


def split_of_path(path: str) -> str:
    """The split in a file's name, else in that of a parent folder, the nearest first.

    A shard in a folder `data` is named after its split, which may have any name.

    >>> split_of_path("data/extra-00000-of-00002.parquet"), split_of_path("test/0000.parquet")
    ('extra', 'test')
    """
    *folders, base = path.replace(os.sep, "/").split("/")
    shard = _SHARD.fullmatch(os.path.splitext(base)[0])
    if shard and folders[-1:] == ["data"]:
        return shard[1]
    return next((split for name in (base, *reversed(folders)) if (split := split_of_name(name))), "")


def by_split(paths: Sequence[str], where: str) -> dict[str, list[str]]:
    """Files of each split, in order; a single split without a name if no file names train, validation or test.

    Args:
        paths: relative to the data set's folder.
        where: the data set, for messages.

    Raises:
        LabelwiseError: some files name a split and others do not.
    """
    files_of: dict[str, list[str]] = {}
    for path in sorted(paths):
        files_of.setdefault(split_of_path(path), []).append(path)
    if len(files_of) == 1 and not any(map(canonical, files_of)):
        return {"": sorted(paths)}
    if len(files_of) > 1 and "" in files_of:
        example = next(files[0] for split, files in files_of.items() if split)
        raise LabelwiseError(
            f"{where}: {files_of[''][0]}, without a split in its name, beside {example}",
            "train, validation or test in the name of every file or folder, or of none",
            "rename it, or move it away",
        )
    rank = {name: position for position, name in enumerate(SPLITS)}
    order = sorted(files_of, key=lambda split: (rank.get(canonical(split) or "", len(rank)), split))
    return {split: files_of[split] for split in order}
