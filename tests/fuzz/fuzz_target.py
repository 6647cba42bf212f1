"""A reader that is fuzzed: valid files to begin with, a call on a changed one, and what must hold of its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_verdict import Lost

from labelwise.data import read
from labelwise.data.dataset import Dataset


@dataclass(frozen=True)
class Target:
    """One reader.

    Args:
        name: of the reader, and the file that is changed.
        seeds: valid contents of the file.
        call: reads a content, and raises `Lost` where the result makes no sense.
    """

    name: str
    seeds: Sequence[bytes]
    call: Callable[[bytes], Any]


def sound(data: Dataset) -> None:
    """Raise `Lost` unless a data set agrees with itself and can be shown, cut and stored."""
    demand(len(data) > 0, "no rows")
    demand(data.known.dtype == bool, "known is no mask")
    demand(bool(np.isfinite(data.values).all()), "values that are not finite")
    demand(bool(((data.values >= 0) & (data.values <= 1)).all()), "values outside [0, 1]")
    demand(not data.values[~data.known].any(), "a value where nothing is known")
    for name in data.labels:
        name.encode()
    data.summary().encode()
    if data.split_of is not None:
        demand(int(data.split_of.max()) < len(data.split_names), "a row in a split without a name")
    told = data.rows_in_source is None or data.rows_in_source == len(data) or data.notes
    demand(bool(told), f"{data.rows_in_source} rows became {len(data)} without a word")
    for i in range(len(data)):
        for label, *sides in data.boxes_of(i):
            demand(0 <= label < len(data.labels), f"a box of label {label}")
            demand(all(0 <= side <= 1 for side in sides), f"a box of {sides}")
    data.take(np.arange(len(data))[::-1])


def demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Lost(otherwise)


def from_source(
    file: Path, source: str, check: Callable[[bytes, Dataset], None] | None = None
) -> Callable[[bytes], Any]:
    def call(data: bytes) -> None:
        file.write_bytes(data)
        found = read(source)
        sound(found)
        if check is not None:
            check(data, found)

    return call


def from_file(file: Path, reader: Callable[[Path], Any]) -> Callable[[bytes], Any]:
    def call(data: bytes) -> Any:
        file.write_bytes(data)
        return reader(file)

    return call
