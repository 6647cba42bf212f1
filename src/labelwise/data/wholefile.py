"""Atomic writing of files and folders: a reader never sees a truncated one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path, keep: Path | None = None) -> Iterator[Path]:
    """A temporary file next to `path` to write to, which replaces it once on disk; removed on failure.

    Args:
        path: the file.
        keep: where to move the old file.

    Raises:
        OSError: the disk is full or not writable; the old file is unchanged.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            _keep(path, keep)
        os.replace(part, path)
        _sync_folder(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new, empty folder next to `path` to fill, which replaces it at the end; removed on failure.

    `path` must not exist, or be an empty folder.
    """
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        yield part
        if path.is_dir():
            path.rmdir()
        os.rename(part, path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


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


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
