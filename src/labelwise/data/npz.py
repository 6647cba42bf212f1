"""Arrays out of npz files that anybody may have made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from labelwise.errors import first_line

LARGEST = 8 << 30
"""Bytes of all arrays together once decompressed; a mask of a million images and a thousand labels is one eighth."""


def read_npz(file: str | Path, names: Sequence[str]) -> list[np.ndarray]:
    """Named arrays of numbers, truth values or text; pickled objects are refused, and so is what would not fit.

    Raises:
        ValueError: no such file, not an npz, damaged, without one of the arrays, or too large; one line says which.
    """
    try:
        with ZipFile(file) as held:
            size = sum(part.file_size for part in held.infolist())
        if size > LARGEST:
            raise ValueError(f"{size:,} bytes once decompressed")
        with np.load(file, allow_pickle=False) as found:
            return [found[name] for name in names]
    except Exception as error:  # zip, zlib and header parsers each have errors of their own
        raise ValueError(first_line(error)) from None
