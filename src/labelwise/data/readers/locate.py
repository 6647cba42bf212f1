"""Where the images are that a table names: beside it, deeper, under another start of the path, or without a suffix."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pyarrow as pa

from labelwise.data.readers.files import files_there, image_folder, is_image_name, text_array
from labelwise.data.source import Source

SAMPLE = 128  # names that decide which folder they are relative to


def locate(
    names: Sequence[str] | pa.Array, source: Source, folders: Sequence[Path], notes: list[str]
) -> tuple[pa.Array, Path]:
    """Image names as they are on this disk, and the folder that they are relative to.

    A name is taken as it stands where that file exists. Where most do not, the image files below the folder are
    listed, and a name stands for the one file that shares its last parts (`s3://bucket/a/1.jpg` is `a/1.jpg`) or its
    stem (`1` is `1.jpg`). A name that fits several files, or a file that fits several names, stays as it is: the
    caller reports it as missing.

    Args:
        names: as the table has them, absolute or relative.
        source: its option `images` is the folder, in place of `folders`.
        folders: where images are expected, the likeliest first; those that do not exist are passed over.
        notes: takes a sentence for each decision.

    Returns:
        `[N]` strings and the folder.

    Raises:
        LabelwiseError: `images` names no folder.
    """
    given = source.options.get("images")
    places = [image_folder(given)] if given else [folder for folder in folders if folder.is_dir()]
    places = places or [folders[0]]
    array = names if isinstance(names, pa.Array) else text_array(names)
    step = max(1, len(array) // SAMPLE)
    sample = array.take(pa.array(np.arange(0, len(array), step)))
    shares = [float(files_there(sample, str(place)).mean()) if len(sample) else 1.0 for place in places]
    best = int(np.argmax(shares))
    root = places[best]
    if shares[best] > 0.5:
        if best and not given:
            notes.append(f"Images are in the folder `{os.path.relpath(root, folders[0])}` beside the table.")
        return array, root
    there = files_there(array, str(root))
    missing = np.flatnonzero(~there)
    files = _matching([array[i].as_py() for i in missing.tolist()], image_files(root))
    if not files:
        return array, root
    changed = array.to_pylist()
    by_stem: list[int] = []
    by_path: list[int] = []
    for place, file in files.items():
        row = int(missing[place])
        (by_path if is_image_name(_last_parts(changed[row])[-1]) else by_stem).append(row)
        changed[row] = file
    for rows, meaning in (
        (by_stem, "image names have no suffix and are files of that stem"),
        (by_path, "images are found by the last parts of their path"),
    ):
        if rows:
            example = f"{array[rows[0]].as_py()} is {changed[rows[0]]}"
            notes.append(f"{len(rows):,} {meaning}: {example}.")
    return text_array(changed), root


def image_files(folder: Path) -> Iterator[str]:
    """Paths, relative to a folder, of all image files below it, in order; hidden ones are passed over."""
    for place, inner, files in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith((".", "__MACOSX")))
        start = os.path.relpath(place, folder)
        for name in sorted(files):
            if is_image_name(name) and not name.startswith("."):
                yield name if start == "." else f"{start}/{name}"


def _matching(names: Sequence[str], files: Iterator[str]) -> Mapping[int, str]:
    """File of each name, by the place of the name, where the two stand for each other and for nothing else."""
    by_key: dict[str, list[str]] = {}
    for file in files:
        base = os.path.basename(file)
        for key in {base, os.path.splitext(base)[0], base.lower()}:
            by_key.setdefault(key, []).append(file)
    taken: dict[str, set[str]] = {}
    result: dict[int, str] = {}
    for place, name in enumerate(names):
        file = _one_file(_last_parts(name), by_key)
        if file is not None:
            result[place] = file
            taken.setdefault(file, set()).add(name)
    return {place: file for place, file in result.items() if len(taken[file]) == 1}


def _one_file(parts: Sequence[str], by_key: Mapping[str, Sequence[str]]) -> str | None:
    if not parts:
        return None
    base = parts[-1]
    suffixed = is_image_name(base)
    fits = by_key.get(base) or (by_key.get(base.lower()) if suffixed else None) or ()
    for depth in range(2, len(parts) + 1):
        if len(fits) <= 1:
            break
        tail = "/".join(parts[-depth:])
        deeper = [f for f in fits if f"/{f if suffixed else os.path.splitext(f)[0]}".endswith(f"/{tail}")]
        fits = deeper or fits
    return fits[0] if len(fits) == 1 else None


def _last_parts(name: str) -> list[str]:
    """The parts of a path or of the path in a URL, without empty ones.

    >>> _last_parts("s3://bucket/a%20b/1.jpg"), _last_parts("C:\\\\photos\\\\1.jpg")
    (['bucket', 'a b', '1.jpg'], ['C:', 'photos', '1.jpg'])
    """
    if "://" in name or "?d=" in name:
        url = urlsplit(name)
        inner = parse_qs(url.query).get("d")  # how Label Studio writes a file of its local storage
        name = inner[0] if inner else f"{url.netloc}/{unquote(url.path)}"
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
