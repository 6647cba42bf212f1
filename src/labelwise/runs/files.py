"""Atomic writing of the files of a run."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from labelwise.data.wholefile import whole_file
from labelwise.errors import LabelwiseError, first_line
from labelwise.jsonfile import read_json as read_json


def write_atomic(path: Path, write: Callable[[Path], object], keep: Path | None = None) -> None:
    """Write a file with `whole_file`, readable for all, in a folder that is created if it is missing.

    Args:
        path: the file.
        write: writes the whole content to the path that it is given.
        keep: where to move the old file.

    Raises:
        LabelwiseError: the disk is full or not writable; the old file is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_file(path, keep) as temporary:
            write(temporary)
            os.chmod(temporary, 0o644)
    except (OSError, RuntimeError, SafetensorError) as error:
        # torch raises an error about its archive; the error of the disk is its context.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = getattr(cause, "strerror", None) or first_line(cause)
        raise LabelwiseError(
            f"{path} could not be written ({reason})",
            "a writable disk with free space",
            "free some space, then go on with --resume; the last good state is intact",
        ) from error


def new_folder(out: str | Path) -> Path:
    """The folder to write to.

    Raises:
        LabelwiseError: none was named, or it holds something.
    """
    target = Path(out)
    if not str(out) or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        given = f"{target}, which holds something" if str(out) else "no folder for the run"
        raise LabelwiseError(given, "a new folder", "choose another --out")
    return target


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; surrogates, as in odd file names, become escapes that JSON and YAML read."""
    write_atomic(path, lambda file: file.write_text(text, encoding="utf-8", errors="backslashreplace"))


def save_csv(path: Path, rows: Iterable[Sequence[Any]], line_end: str = "\n") -> None:
    """Write rows, the header first, as CSV atomically."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=line_end).writerows(rows)
    write_text(path, text.getvalue())


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, indented."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")
