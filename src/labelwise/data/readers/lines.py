"""Files of JSON objects, one per line or in one list, each with its number."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import Any

from labelwise.data.readers.exports import beginning, refuse_archive
from labelwise.errors import LabelwiseError


@dataclass(frozen=True)
class JsonLine:
    """One object, and its place, such as `line 3` or `entry 3`, from 1."""

    place: str
    content: dict[str, Any]


def json_lines(file: Path) -> list[JsonLine]:
    """The objects of a file: those of its lines, without blank ones, or of its single list.

    Raises:
        LabelwiseError: a file in another encoding or without objects, or a line that is not an object, with its number.
    """
    refuse_archive(file, "a text with a JSON object in each line")
    with file.open("rb") as stream:
        start = stream.read(3)
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            content: io.BytesIO | io.BufferedReader = io.BytesIO(_utf16(file))
        else:
            stream.seek(3 if start == b"\xef\xbb\xbf" else 0)
            content = stream
        lines = _list_entries(file, content) or [
            JsonLine(f"line {number}", _line_object(file, number, line))
            for number, line in enumerate(content, 1)
            if line.strip()
        ]
    if not lines:
        raise LabelwiseError(f"{file}, an empty file", "a JSON object in each line", "check the file")
    return lines


def _list_entries(file: Path, content: io.BytesIO | io.BufferedReader) -> list[JsonLine]:
    """The objects of a file that is one list of them; empty for another file, which is rewound to its start."""
    start = content.tell()
    is_list = content.read(_FIRST_BYTES).lstrip()[:1] == b"["
    content.seek(start)
    if not is_list:
        return []
    raw = content.read()
    try:
        entries = _DECODER.decode(raw.decode().strip())
        if b"\\u" in raw:
            json.dumps(entries, ensure_ascii=False).encode()  # raises for an unpaired surrogate
    except (ValueError, RecursionError) as error:
        raise LabelwiseError(
            f"{file}, a list that is not JSON ({_reason(error)})",
            "one list of JSON objects, or an object in each line",
            "correct it, or fetch the file again",
        ) from None
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise LabelwiseError(
                f"{file}, entry {number}: {entry!r}"[:200],
                "a JSON object in each entry of the list",
                "write one object for each image",
            )
    return [JsonLine(f"entry {number}", entry) for number, entry in enumerate(entries, 1)]


def _utf16(file: Path) -> bytes:
    """The text of a file in UTF-16, in UTF-8."""
    try:
        return file.read_bytes().decode("utf-16").encode()
    except UnicodeError:
        raise LabelwiseError(f"{file}, not in UTF-16 throughout", "a text file", "save it in UTF-8") from None


def first_object(file: Path) -> dict[str, Any]:
    """The object in the first line that is not blank, or the first of a list, if the first kilobytes hold it.

    Returns:
        the object, or an empty one.
    """
    text = beginning(file).lstrip()
    try:
        if text.startswith("["):
            content, _ = json.JSONDecoder().raw_decode(text[1:].lstrip())
        else:
            content = json.loads(text.partition("\n")[0])
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _line_object(file: Path, number: int, line: bytes) -> dict[str, Any]:
    """The object of a line; raises `LabelwiseError` with its number for any other line."""
    place = f"{file}, line {number}"
    try:
        content = _DECODER.decode(line.decode().strip())
        if b"\\u" in line:
            json.dumps(content, ensure_ascii=False).encode()  # raises for an unpaired surrogate
    except (ValueError, RecursionError) as error:
        fault = "not in UTF-8" if isinstance(error, UnicodeError) else f"not JSON ({_reason(error)})"
        end = line.strip()[-40:].decode(errors="replace")
        raise LabelwiseError(
            f"{place}, {fault}, which ends with {end!r}",
            "a complete JSON object in each line",
            "correct the line, or fetch the file again",
        ) from None
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else f"{content!r}"[:40]
        raise LabelwiseError(f"{place}: {kind}", "a JSON object in each line", "write one object per line")
    return content


def _reason(error: BaseException) -> str:
    """The message of an error, of JSON without the position."""
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _distinct_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The object of pairs of key and value; raises `ValueError` for a repeated key, which `json` would drop."""
    content = {intern(name): value for name, value in pairs}  # lines share one copy of each key
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} twice")
    return content


_FIRST_BYTES = 1024  # bytes that include the first character that is not blank
_DECODER = json.JSONDecoder(object_pairs_hook=_distinct_keys)
