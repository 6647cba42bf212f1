"""Files exported by annotation tools: their beginning, lines and JSON content, and errors for other files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labelwise.data.readers.files import source_file
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError, first_line

RECOGNISED_BYTES = 1 << 16
"""Bytes at the beginning of a file from which its format is recognised."""
# First bytes of files: zip, empty zip, gzip, 7z, zstd, bzip2 and xz.
_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"7z\xbc\xaf", b"(\xb5/\xfd", b"BZh", b"\xfd7zX")
_UNREAD_FORMATS = {
    b"\xd0\xcf\x11\xe0": ("a workbook", "save its sheet as CSV"),
    b"ARRO": ("an Arrow or Feather file", "write it as Parquet"),
}
_ZIPPED_WORKBOOKS = frozenset({".xlsx", ".xlsm", ".ods"})


def beginning(path: Path, size: int = RECOGNISED_BYTES) -> str:
    """The beginning of a text file, without a byte-order mark; empty if there is no such file or it is not text."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(size)
    except OSError:
        return ""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", "ignore")
    return "" if b"\x00" in raw else raw.decode("utf-8-sig", "ignore")


def export_file(source: Source, expected: str) -> Path:
    """The file that a source names; raises `LabelwiseError` if it does not exist or is an archive."""
    file = source_file(source, expected)
    refuse_archive(file, expected)
    return file


def refuse_archive(file: Path, expected: str) -> None:
    """Raises `LabelwiseError` for an archive, a workbook, or an Arrow file."""
    with file.open("rb") as stream:
        start = stream.read(4)
    kind, todo = _UNREAD_FORMATS.get(start, ("", ""))
    if start.startswith(_ARCHIVES):
        kind, todo = "an archive", "unpack it, and name its content"
        if file.suffix.lower() in _ZIPPED_WORKBOOKS:
            kind, todo = "a workbook", "save its sheet as CSV"
    if kind:
        raise LabelwiseError(f"{file}, {kind}", expected, todo)


def missing_export(folder: Path, files: str, expected: str) -> LabelwiseError:
    """The error for a folder without the files of an export; it names an archive in the folder, if any."""
    archives = sorted(item.name for item in folder.iterdir() if item.suffix.lower() in {".zip", ".gz", ".7z"})
    todo = f"unpack {archives[0]} there" if archives else "check the path"
    return LabelwiseError(f"{str(folder)!r} without {files}", expected, todo)


def json_content(file: Path, expected: str) -> Any:
    """Content of a JSON file; raises `LabelwiseError` for invalid JSON."""
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise LabelwiseError(
            f"{file}: not JSON ({first_line(error)})", expected, "export it again, or check the file"
        ) from None


def utf8_text(file: Path) -> str:
    """The text of a file; raises `LabelwiseError` unless it is UTF-8."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise LabelwiseError(f"{file}, which is not UTF-8", "a text in UTF-8", "save it in UTF-8") from None


def text_lines(file: Path) -> list[tuple[int, str]]:
    """Number and stripped text of each line that is not blank; raises `LabelwiseError` unless it is UTF-8."""
    lines = enumerate(utf8_text(file).split("\n"), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def filled_lines(file: Path) -> list[str]:
    """The stripped lines of a list of files that are not blank; bytes that are not UTF-8 are kept as surrogates."""
    lines = file.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    return [line.strip() for line in lines if line.strip()]
