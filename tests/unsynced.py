"""Nothing waits until the disk has a file: files of tests need not outlast a power cut.

Each wait is some ten milliseconds, and the suite writes ten thousand files. What is synced, and in which order, is
held by tests that put a function of their own in its place.
"""

from __future__ import annotations

import os


def _at_once(descriptor: int) -> None:
    os.fstat(descriptor)  # an error where it is no open file, as ever


os.fsync = _at_once
