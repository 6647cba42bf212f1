"""Rows of JSON lines: the keys of the image, the split, the group and the labels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelwise.data.readers.cells import state
from labelwise.data.readers.lines import json_lines
from labelwise.data.readers.roles import IMAGE, NAMES
from labelwise.data.readers.roles import key as plain_name
from labelwise.data.readers.several import files_with_splits
from labelwise.data.readers.split_names import are_splits
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError


@dataclass(frozen=True)
class JsonRows:
    """The lines of one or several files.

    Args:
        rows: `[N]` objects.
        places: `[N]` line numbers as text, for messages.
        images: `[N]` names.
        splits: `[N]` texts, `None` where a line has none.
        groups: `[N]` texts, or `None` without a key `group`.
        keys: the other keys, in the order of the file.
        folder: the folder of relative image names.
        split_key: the key of the splits.
    """

    rows: Sequence[Mapping[str, Any]]
    places: Sequence[str]
    images: Sequence[str]
    splits: Sequence[str | None]
    groups: Sequence[str | None] | None
    keys: Sequence[str]
    folder: Path
    split_key: str | None = None


def read_json_rows(source: Source) -> JsonRows:
    """Reads the files of a source.

    Raises:
        LabelwiseError: a line without an image, splits both by files and by lines, or an option that names no key.
    """
    files = files_with_splits(source, "a file of JSON lines")
    folder = Path(os.path.commonpath([file.absolute().parent for file, _ in files]))
    folder = files[0][0].parent if len(files) == 1 else folder
    rows, places, splits, subfolders = [], [], [], []
    for file, split in files:
        for line in json_lines(file):
            rows.append(line.content)
            places.append(line.place if len(files) == 1 else f"{file.name}, {line.place}")
            splits.append(split or None)
            subfolders.append("" if len(files) == 1 else os.path.relpath(file.absolute().parent, folder))
    keys = _without_ignored(list(dict.fromkeys(key for row in rows for key in row)), source)
    image = _image_key(keys, source)
    by_lower_case = {key.lower(): key for key in reversed(keys)}
    by_line, group = by_lower_case.get("split"), by_lower_case.get("group")
    if by_line is None and len(files) == 1:
        by_line = _split_key(rows, [key for key in keys if key not in (image, source.options.get("labels"))])
    if by_line and len(files) > 1:
        raise LabelwiseError(
            f"a key {by_line!r} in several files", "splits by files or by lines", f"add ignore={by_line}"
        )
    images = [_image(row, image, place) for row, place in zip(rows, places, strict=True)]
    if "images" not in source.options:
        images = [_in_folder(subfolder, name) for subfolder, name in zip(subfolders, images, strict=True)]
    return JsonRows(
        rows,
        places,
        images,
        _texts(rows, by_line, places) if by_line else splits,
        _texts(rows, group, places) if group else None,
        [key for key in keys if key not in (image, by_line, group)],
        folder,
        by_line,
    )


def _split_key(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> str | None:
    """The only key with names of splits as values."""
    texts = {key: [row.get(key) for row in rows] for key in keys if isinstance(rows[0].get(key), str)}
    likely = [key for key, values in texts.items() if all(isinstance(v, str | None) for v in values)]
    likely = [key for key in likely if are_splits(set(texts[key]))]
    return likely[0] if len(likely) == 1 else None


def _without_ignored(keys: list[str], source: Source) -> list[str]:
    """The keys without those of the option `ignore`."""
    ignored = source.names_among("ignore", keys, f"keys of {source.path}:")
    return [key for key in keys if key not in ignored]


def _image_key(keys: Sequence[str], source: Source) -> str:
    """The key of the images: that of the option `image`, else the first with a usual name."""
    given = source.options.get("image")
    listed = ", ".join(keys[:12])
    if given is not None:
        if given not in keys:
            raise LabelwiseError(f"image={given}", f"one of the keys {listed}", "correct the option")
        return given
    usual = first_key(keys, IMAGE)
    if usual is None:
        raise LabelwiseError(
            f"{source.path} without a key for the image",
            "a key such as image, file_name, path or url",
            f"name it with image=KEY; there are {listed}",
        )
    return usual


def first_key(keys: Sequence[str], names: Sequence[str]) -> str | None:
    """The key, as it is written, that matches the earliest of the names without case and marks; `None` without one."""
    by_plain_name = {plain_name(key): key for key in reversed(list(keys))}
    return next((by_plain_name[name] for name in names if name in by_plain_name), None)


def _image(row: Mapping[str, Any], key: str, place: str) -> str:
    """The image of a line; raises `LabelwiseError` unless it is a text or a whole number."""
    value = row.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        given = f"{place}: {key!r} is {value!r}"[:200] if key in row else f"{place} without {key!r}"
        raise LabelwiseError(given, "the name of an image file as text", "correct the line")
    return value.strip()


def _in_folder(folder: str, name: str) -> str:
    """A relative name as one below a folder; other names are unchanged."""
    absolute = os.path.isabs(name) or "://" in name or name[1:3] in (":/", ":\\")
    return name if absolute or folder in ("", ".") else f"{folder}/{name}".replace(os.sep, "/")


def _texts(rows: Sequence[Mapping[str, Any]], key: str, places: Sequence[str]) -> list[str | None]:
    """The value of a key in each line as text, `None` where it is null or empty."""
    texts: list[str | None] = []
    for row, place in zip(rows, places, strict=True):
        value = row.get(key)
        if isinstance(value, dict | list):
            raise LabelwiseError(
                f"{place}: {key!r} is {value!r}"[:200], "a text or a number", "correct the line"
            )
        text = "" if value is None else str(value).strip()
        texts.append(text or None)
    return texts


def names_key(rows: Sequence[Mapping[str, Any]], keys: Sequence[str], source: Source) -> str | None:
    """The key of label names, or of an object of labels; `None` if each label is a key.

    Args:
        rows: the objects.
        keys: those that may hold labels.
        source: its option `labels` lists the key, or several keys with one label each.

    Raises:
        LabelwiseError: the option names no key.
    """
    chosen = source.names_among("labels", keys, "one of the keys")
    by_plain_name = {plain_name(key): key for key in reversed(list(keys))}
    usual = chosen[:1] if chosen else [by_plain_name[name] for name in NAMES if name in by_plain_name]
    if len(chosen) > 1:
        return None
    return next((key for key in usual if any(not is_state(row.get(key)) for row in rows)), None)


def is_state(value: Any) -> bool:
    """Whether a JSON value is a number from 0 to 1, true, false, null, or a text of these."""
    if isinstance(value, list | dict):
        return False
    try:
        state(value)
    except (ValueError, TypeError, OverflowError):
        return False
    return True
