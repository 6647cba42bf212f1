"""The image files that rows name: their folder, whether they exist, and whether their names are valid text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool

from labelwise.data.dataset import Dataset
from labelwise.data.imagefiles import is_image_name, walk
from labelwise.data.readers.matching import last_parts
from labelwise.data.readers.name_doubts import few
from labelwise.data.source import Source, WouldLose
from labelwise.errors import LabelwiseError

_MISSING = ("stop", "skip")
LISTED = 256  # rows in one folder from which one listing is faster than a check of each file


def source_file(source: Source, expected: str) -> Path:
    """The file that a source names; raises `LabelwiseError` when it is not one."""
    path = Path(source.path)
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise LabelwiseError(f"{source.path!r}, which {state}", expected, "check the path")
    return path


def source_folder(source: Source, expected: str) -> Path:
    """The folder that a source names; raises `LabelwiseError` when it is not one."""
    path = Path(source.path)
    if not path.is_dir():
        state = "is a file" if path.is_file() else "does not exist"
        raise LabelwiseError(f"{source.path!r}, which {state}", expected, "check the path")
    return path


def image_folder(path: str | Path) -> Path:
    """A folder of images given by an option; raises `LabelwiseError` if it does not exist."""
    folder = Path(path)
    if not folder.is_dir():
        raise LabelwiseError(f"image folder {str(path)!r}", "a folder that exists", "correct images=DIR")
    return folder


def find_root(names: Sequence[str], candidates: Sequence[Path]) -> Path:
    """The first candidate folder that holds the first named image, else the first candidate."""
    for folder in candidates:
        if names and os.path.isfile(folder / names[0]):
            return folder
    return candidates[0]


def text_array(names: Sequence[str]) -> pa.Array:
    """Names as an Arrow array; raises `LabelwiseError` for one that is not text on this system."""
    try:
        return pa.array(names, pa.string())
    except UnicodeEncodeError as error:
        # File names hold bytes that are not UTF-8 as surrogates; JSON can hold any surrogate.
        try:
            name = repr(os.fsencode(error.object))
        except UnicodeEncodeError:
            name = repr(error.object)
        raise LabelwiseError(f"image name {name}", "a file name in UTF-8", "rename the file") from None


def keep_existing(data: Dataset, source: Source) -> Dataset:
    """The rows with an existing image file; other rows raise unless the source has `missing=skip`.

    Raises:
        WouldLose: with the number of missing files and the first five.
    """
    source.choice("missing", _MISSING)
    if data.embedded:
        return data
    root = "" if data.root is None else str(data.root)
    present, notes = rows_there(data.images, root, source, files_there(data.images, root))
    return data.take(present).with_notes(*notes) if notes else data


def rows_there(
    names: pa.Array | pa.ChunkedArray, root: str, source: Source, there: Bool[np.ndarray, " N"]
) -> tuple[Bool[np.ndarray, " N"], list[str]]:
    """Which rows are kept because their image file exists, and a note on the others.

    Args:
        names: of the images, under `root`.
        root: a folder, for messages.
        source: its option `missing` decides whether the others raise.
        there: whether each file exists.

    Raises:
        WouldLose: with the number of missing files and the first five.
    """
    policy = source.choice("missing", _MISSING)
    missing = np.flatnonzero(~there)
    if not len(missing):
        return there, []
    listed = few([names[i].as_py() for i in missing[:6].tolist()])
    where = f" under {root}" if root else ""
    if policy == "stop" or len(missing) == len(there):
        folders = _folders_of_copies(root, names[int(missing[0])].as_py())
        raise WouldLose(
            f"{len(missing):,} of {len(there):,} image files missing{where}: {listed}",
            "every image that the table names",
            (
                f"name the folder with images=DIR, since the first is in {' and '.join(folders)}"
                if folders
                else "correct images=DIR"
            )
            + (", or add missing=skip to go on without them" if len(missing) < len(there) else ""),
            ("missing", "skip"),
        )
    return there, [f"{len(missing):,} rows whose image file is missing were left out: {listed}."]


def _folders_of_copies(root: str, name: str) -> list[str]:
    """Folders of the files below a root that match a name, if there are at least two; otherwise none."""
    base = last_parts(name)[-1:]
    folders = [
        os.path.join(root, listing.start) or "."
        for listing in (walk(Path(root)) if base and os.path.isdir(root) else ())
        for file in listing.files
        if file == base[0] or (not is_image_name(base[0]) and os.path.splitext(file)[0] == base[0])
    ]
    return sorted(set(folders))[:3] if len(folders) > 1 else []


def files_there(names: pa.Array | pa.ChunkedArray, root: str) -> Bool[np.ndarray, " N"]:
    """Whether each name, relative to a root or absolute, is the name of an existing file.

    A folder that many rows name is listed once; each name that no listing contains is checked by itself. The result
    equals `os.path.isfile` for every name.
    """
    array = names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names
    codes, prefixes = _folders(array)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(prefixes)))
    sorted_names = array.cast(pa.large_binary()).take(pa.array(order))
    exists, start = np.zeros(len(array), bool), 0
    for prefix, end in zip(prefixes, ends.tolist(), strict=True):
        if end - start >= LISTED:
            block = sorted_names.slice(start, end - start)
            in_listing = pc.is_in(block, value_set=_listing(root, prefix))
            exists[start:end] = in_listing.to_numpy(zero_copy_only=False)
        start = end
    rows = np.flatnonzero(~exists)
    paths = array.take(pa.array(order[rows])).to_pylist()
    exists[rows] = np.fromiter((os.path.isfile(os.path.join(root, name)) for name in paths), bool, len(rows))
    result = np.empty_like(exists)
    result[order] = exists
    return result


def _folders(names: pa.Array) -> tuple[np.ndarray, list[str]]:
    """The folder code of each name, and the folders with a trailing slash; the last, empty one is for bare names."""
    parts = pc.split_pattern(names, "/", max_splits=1, reverse=True)
    folder = pc.if_else(pc.equal(pc.list_value_length(parts), 2), pc.list_element(parts, 0), None)
    coded = folder.dictionary_encode()
    codes = coded.indices.fill_null(len(coded.dictionary)).to_numpy(zero_copy_only=False)
    return codes, [*(f"{text}/" for text in coded.dictionary.to_pylist()), ""]


def _listing(root: str, prefix: str) -> pa.Array:
    """Names of the files in a folder, with its prefix; empty if the folder cannot be listed."""
    start = prefix.encode()
    try:
        with os.scandir(os.fsencode(os.path.join(root, prefix) or ".")) as entries:
            return pa.array([start + entry.name for entry in entries if entry.is_file()], pa.large_binary())
    except OSError:
        return pa.array([], pa.large_binary())
