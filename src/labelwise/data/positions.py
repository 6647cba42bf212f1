"""Reads and writes at a position of an open file, on systems with and without `pread`."""

from __future__ import annotations

import os
import threading
from pathlib import Path

_SEEK_LOCK = threading.Lock()  # without `pread`, threads share the position of an open file


def open_descriptor(path: Path, flags: int) -> int:
    """Descriptor of a file, opened with `flags` of `os` for bytes; child processes do not inherit it.

    Raises:
        OSError: as `os.open`.
    """
    return os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)


def read_at(file: int, size: int, place: int) -> bytes:
    """`size` bytes of an open file from byte `place` on; fewer at its end.

    Raises:
        OSError: the disk fails.
    """
    content = _pread(file, size, place)
    while len(content) < size and (more := _pread(file, size - len(content), place + len(content))):
        content += more
    return content


def write_at(file: int, content: bytes, place: int) -> None:
    """Write all of `content` from byte `place` on.

    Raises:
        OSError: the disk is full or fails.
    """
    remaining = memoryview(content)
    while remaining:
        written = _pwrite(file, remaining, place)
        remaining, place = remaining[written:], place + written


def _pread(file: int, size: int, place: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(file, size, place)
    with _SEEK_LOCK:
        os.lseek(file, place, os.SEEK_SET)
        return os.read(file, size)


def _pwrite(file: int, content: memoryview, place: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(file, content, place)
    with _SEEK_LOCK:
        os.lseek(file, place, os.SEEK_SET)
        return os.write(file, content)
