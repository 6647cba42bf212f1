"""Arrays from npz files of unknown origin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

from labelwise.errors import first_line

LARGEST = 8 << 30
"""Limit in bytes of all decompressed arrays, eight times a mask of a million images and a thousand labels."""


def read_npz(file: str | Path, names: Sequence[str], optional: Sequence[str] = ()) -> list[Any]:
    """Named arrays of numbers, booleans or text; pickled objects and too large files are refused.

    Args:
        file: the npz.
        names: of arrays that must be there.
        optional: of arrays that follow them, `None` where absent.

    Raises:
        ValueError: no such file, not an npz, damaged, without one of the arrays, or too large; the message is one line.
    """
    try:
        with ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > LARGEST:
            raise ValueError(f"{size:,} bytes once decompressed")
        with np.load(file, allow_pickle=False) as arrays:
            return [*(arrays[name] for name in names), *(arrays.get(name) for name in optional)]
    except Exception as error:  # zip, zlib and header parsers each raise their own errors
        raise ValueError(first_line(error)) from None
