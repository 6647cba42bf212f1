"""Atomic writing of files and folders: a reader never sees a truncated one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labelwise.errors import LabelwiseError


@contextmanager
def whole_file(path: Path, keep: Path | None = None) -> Iterator[Path]:
    """A temporary file next to `path` to write to, which replaces it once on disk; removed on failure.

    Args:
        path: the file.
        keep: where to move the old file.

    Raises:
        OSError: the disk is full or not writable; the old file is unchanged.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            _keep_old(path, keep)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new, empty folder next to `path` to fill, which replaces it at the end; removed on failure.

    `path` must not exist, or be an empty folder.
    """
    temporary = path.with_name(f".{path.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        yield temporary
        if path.is_dir():
            path.rmdir()
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def refuse_missing_folder(path: Path) -> None:
    """Raises `LabelwiseError` for a file or folder to write in a folder that does not exist."""
    if not path.absolute().parent.is_dir():
        given = f"{str(path)!r} in a folder that does not exist"
        raise LabelwiseError(given, "an existing folder", "create it first")


def _keep_old(path: Path, keep: Path) -> None:
    """Moves the old file to `keep`, so that one of both names always holds it."""
    link = keep.with_name(f".{keep.name}.part")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # no hard links: for a moment only the kept file exists
        os.replace(path, keep)
        return
    os.replace(link, keep)
    link.unlink(missing_ok=True)  # `replace` does nothing if both names are the same file


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
