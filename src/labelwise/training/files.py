"""Atomic writing of files: a reader never sees a truncated one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from labelwise.errors import LabelwiseError, first_line


def write_atomic(path: Path, write: Callable[[Path], object], keep: Path | None = None) -> None:
    """Write to a temporary file beside `path`, flush it to the disk, then rename it to `path`.

    Args:
        path: the file.
        write: writes the whole content to the path that it is given.
        keep: where to move the old file.

    Raises:
        LabelwiseError: the disk is full or not writable; the old file is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        write(part)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(part, 0o644)
        if keep is not None and path.exists():
            _keep(path, keep)
        os.replace(part, path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        # torch raises an error about its archive; the error of the disk is its context.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = getattr(cause, "strerror", None) or first_line(cause)
        raise LabelwiseError(
            f"{path} could not be written ({reason})",
            "a writable disk with free space",
            "free some space, then go on with --resume; the last good state is intact",
        ) from error


def _keep(path: Path, keep: Path) -> None:
    spare = keep.with_name(f".{keep.name}.part")
    spare.unlink(missing_ok=True)
    try:
        os.link(path, spare)
    except OSError:  # no hard links: for a moment only the kept file exists
        os.replace(path, keep)
        return
    os.replace(spare, keep)
    spare.unlink(missing_ok=True)  # `replace` does nothing if both names are the same file


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; surrogates, as in odd file names, become escapes that JSON and YAML read."""
    write_atomic(path, lambda part: part.write_text(text, encoding="utf-8", errors="backslashreplace"))


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, indented."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """JSON of a file.

    Raises:
        LabelwiseError: the file is absent or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabelwiseError(
            f"{path}: {error.strerror}", "a file that a run wrote", "check the run's path"
        ) from None
    except (ValueError, RecursionError):
        raise LabelwiseError(f"{path} is damaged", "JSON", "train or evaluate again to rewrite it") from None


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
