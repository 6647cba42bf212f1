"""Images that the system failed to give, told apart from images that are damaged."""

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
    """Refuse to go on without images that a disk or a network failed to give: they are not damaged, and may come back.

    Args:
        unreadable: row and reason of each image that could not be read.

    Raises:
        LabelwiseError: a reason that lies in the system.
    """
    for _, reason in unreadable:
        if any(text in reason for text in _DISK):
            raise LabelwiseError(
                reason,
                "a disk that gives its files",
                "see to the disk or the network, then go on with --resume; the last saved state is intact",
            )
