"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from labelwise.errors import LabelwiseError, first_line


def write_atomic(path: Path, write: Callable[[Path], object], keep: Path | None = None) -> None:
    """Write to a neighbour, flush it to the disk, then put it in the place of `path`.

    Args:
        path: the file.
        write: writes all of it to the path that it is given.
        keep: where to put what stood at `path` before.

    Raises:
        LabelwiseError: the disk is full or refuses; what stood at `path` before stands there still.
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
        # torch tells of its own archive, and only behind that of the disk.
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
    except OSError:  # a file system without links: for a moment the kept file is the only one
        os.replace(path, keep)
        return
    os.replace(spare, keep)
    spare.unlink(missing_ok=True)  # left where both names were one file already


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; what is no text, as in odd file names, becomes escapes that JSON and YAML read."""
    write_atomic(path, lambda part: part.write_text(text, encoding="utf-8", errors="backslashreplace"))


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, indented."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """JSON of a file.

    Raises:
        LabelwiseError: absent or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabelwiseError(
            f"{path}: {error.strerror}", "a file that a run wrote", "check the run's path"
        ) from None
    except (ValueError, RecursionError):
        raise LabelwiseError(
            f"{path} is damaged", "JSON", "train or evaluate again to write it anew"
        ) from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
