"""The image files that rows name: where they are, whether they exist, and whether their names can be kept."""

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
LISTED = 256  # rows in one folder from which its listing is quicker than asking for each file


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
        if names and os.path.isfile(folder / names[0]):
            return folder
    return candidates[0]


def text_array(names: Sequence[str]) -> pa.Array:
    """Names as an Arrow array; raises `LabelwiseError` for one that is not text on this system."""
    try:
        return pa.array(names, pa.string())
    except UnicodeEncodeError as error:
        # Names of files carry the bytes that are no UTF-8 as half characters; JSON can hold any half.
        try:
            told = f"image name {os.fsencode(error.object)!r}"
        except UnicodeEncodeError:
            told = f"image name {error.object!r}"
        raise LabelwiseError(told, "a file name in UTF-8", "rename the file") from None


def keep_existing(data: Dataset, source: Source) -> Dataset:
    """The rows whose image file exists; others stop the reading unless the source says `missing=skip`.

    Raises:
        WouldLose: with the number of missing files and the first five.
    """
    source.choice("missing", _MISSING)
    if data.embedded:
        return data
    root = "" if data.root is None else str(data.root)
    there, notes = rows_there(data.images, root, source, files_there(data.images, root))
    return data.take(there).with_notes(*notes) if notes else data


def rows_there(
    names: pa.Array | pa.ChunkedArray, root: str, source: Source, there: Bool[np.ndarray, " N"]
) -> tuple[Bool[np.ndarray, " N"], list[str]]:
    """Which rows are kept, as their image file exists, and a sentence on the others.

    Args:
        names: of the images, under `root`.
        root: a folder, for messages.
        source: its option `missing` says whether others stop the reading.
        there: whether each file exists.

    Raises:
        WouldLose: with the number of missing files and the first five.
    """
    policy = source.choice("missing", _MISSING)
    lost = np.flatnonzero(~there)
    if not len(lost):
        return there, []
    shown = few([names[i].as_py() for i in lost[:6].tolist()])
    where = f" under {root}" if root else ""
    if policy == "stop" or len(lost) == len(there):
        several = _copies(root, names[int(lost[0])].as_py())
        raise WouldLose(
            f"{len(lost):,} of {len(there):,} image files missing{where}: {shown}",
            "every image that the table names",
            (
                f"say with images=DIR in which folder, for the first is in {' and '.join(several)}"
                if several
                else "correct images=DIR"
            )
            + (", or add missing=skip to go on without them" if len(lost) < len(there) else ""),
            ("missing", "skip"),
        )
    return there, [f"{len(lost):,} rows whose image file is missing were left out: {shown}."]


def _copies(root: str, name: str) -> list[str]:
    """Folders of two files or more below a root that a name may be; none where there is one or none."""
    base = last_parts(name)[-1:]
    folders = [
        os.path.join(root, listing.start) or "."
        for listing in (walk(Path(root)) if base and os.path.isdir(root) else ())
        for file in listing.files
        if file == base[0] or (not is_image_name(base[0]) and os.path.splitext(file)[0] == base[0])
    ]
    return sorted(set(folders))[:3] if len(folders) > 1 else []


def files_there(names: pa.Array | pa.ChunkedArray, root: str) -> Bool[np.ndarray, " N"]:
    """Whether each name, relative to a root or absolute, is that of a file.

    A folder that many rows name is listed once; whatever no listing shows is asked for by itself, so the answer is
    that of `os.path.isfile` for every name.
    """
    array = names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names
    codes, prefixes = _folders(array)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(prefixes)))
    sorted_names = array.cast(pa.large_binary()).take(pa.array(order))
    found, first = np.zeros(len(array), bool), 0
    for prefix, end in zip(prefixes, ends.tolist(), strict=True):
        if end - first >= LISTED:
            rows = sorted_names.slice(first, end - first)
            there = pc.is_in(rows, value_set=_listing(root, prefix))
            found[first:end] = there.to_numpy(zero_copy_only=False)
        first = end
    rest = np.flatnonzero(~found)
    asked = array.take(pa.array(order[rest])).to_pylist()
    found[rest] = np.fromiter((os.path.isfile(os.path.join(root, name)) for name in asked), bool, len(rest))
    answer = np.empty_like(found)
    answer[order] = found
    return answer


def _folders(names: pa.Array) -> tuple[np.ndarray, list[str]]:
    """Of each name the number of what stands before its last part, and these: folders and their slash, and `` last."""
    parts = pc.split_pattern(names, "/", max_splits=1, reverse=True)
    folder = pc.if_else(pc.equal(pc.list_value_length(parts), 2), pc.list_element(parts, 0), None)
    coded = folder.dictionary_encode()
    codes = coded.indices.fill_null(len(coded.dictionary)).to_numpy(zero_copy_only=False)
    return codes, [*(f"{text}/" for text in coded.dictionary.to_pylist()), ""]


def _listing(root: str, prefix: str) -> pa.Array:
    """Names of the files in a folder, as a table would name them; none where it cannot be listed."""
    start = prefix.encode()
    try:
        with os.scandir(os.fsencode(os.path.join(root, prefix) or ".")) as entries:
            return pa.array([start + entry.name for entry in entries if entry.is_file()], pa.large_binary())
    except OSError:
        return pa.array([], pa.large_binary())
