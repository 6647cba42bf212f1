"""Distinguishes images that the system failed to read from images that are damaged."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from labelwise.errors import LabelwiseError

_DISK = tuple(
    os.strerror(getattr(errno, name))
    for name in (
        "EIO",
        "ESTALE",
        "ETIMEDOUT",
        "ENOTCONN",
        "EHOSTDOWN",
        "ENODEV",
        "EMFILE",
        "ENFILE",
        "ENOMEM",
    )
    if hasattr(errno, name)
)


def refuse_failing_disk(unreadable: Iterable[tuple[int, str]]) -> None:
    """Refuse to go on without images that a disk or network failed to read: a later try may succeed.

    Args:
        unreadable: row and reason of each image that could not be read.

    Raises:
        LabelwiseError: the reason is an error of the system.
    """
    for _, reason in unreadable:
        if any(text in reason for text in _DISK):
            raise LabelwiseError(
                reason,
                "a disk that can be read",
                "check the disk or the network, then go on with --resume; the last saved state is intact",
            )
