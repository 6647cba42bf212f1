"""Predictions as parquet, and the choice of a format by the name of a file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from labelwise.errors import LabelwiseError
from labelwise.inference.prediction import Prediction
from labelwise.inference.writers import TEXT_WRITERS, Writer, column_names

if TYPE_CHECKING:
    import pyarrow as pa


def columns_of(names: tuple[str, ...], familiar: bool = False) -> pa.Schema:
    """Names and types of a table of predictions, with p-values of the images for `familiar`."""
    import pyarrow as pa

    texts = [pa.string(), pa.string(), pa.list_(pa.string())]
    kinds = [*texts, *([pa.float32()] if familiar else []), *(pa.float32() for _ in names)]
    return pa.schema(list(zip(column_names(names, familiar), kinds, strict=True)))


class ParquetWriter(Writer):
    """A table of predictions: image, error, selected labels, then one probability column per label.

    Args:
        path: a file in `.parquet`.
        names: labels in column order.
        familiar: whether to write the p-values of images.
        rows: number of rows to buffer before they are written.
    """

    def __init__(self, path: Path, names: tuple[str, ...], familiar: bool = False, rows: int = 4096) -> None:
        import pyarrow.parquet as pq

        super().__init__(path, names, familiar)
        self._rows, self._buffer = rows, list[Prediction]()
        self._schema = columns_of(names, familiar)
        self._sink = pq.ParquetWriter(self._temporary, self._schema)
        self._resources.callback(self._sink.close)

    def add(self, prediction: Prediction) -> None:
        """Adds a row."""
        self._buffer.append(prediction)
        if len(self._buffer) >= self._rows:
            self.finish()

    def finish(self) -> None:
        """Writes the buffered rows."""
        import pyarrow as pa

        rows, self._buffer = self._buffer, []
        columns = [
            pa.array([os.fsencode(p.image).decode("utf-8", "replace") for p in rows]),
            pa.array([p.error for p in rows], pa.string()),
            pa.array([None if p.error else p.selected for p in rows], pa.list_(pa.string())),
            *([pa.array([p.familiar for p in rows], pa.float32())] if self.familiar else []),
            *(pa.array([p.scores.get(n) for p in rows], pa.float32()) for n in self.names),
        ]
        self._sink.write_table(pa.Table.from_arrays(columns, schema=self._schema))


WRITERS: dict[str, Callable[[Path, tuple[str, ...], bool], Writer]] = {
    ".parquet": ParquetWriter,
    **TEXT_WRITERS,
}


def is_one_file(out: str) -> bool:
    """Whether a path names a file of predictions, by its suffix; otherwise it is a folder of parts.

    A path without a suffix, a path that ends in a slash, and an existing folder are folders.

    Raises:
        LabelwiseError: the suffix of an unsupported format.

    >>> is_one_file("out.csv"), is_one_file("out"), is_one_file("out.csv/"), is_one_file("2024.05")
    (True, False, False, False)
    """
    path, suffix = Path(out), Path(out).suffix.lower()
    if out.endswith(("/", os.sep)) or path.is_dir():
        return False
    if suffix in WRITERS:
        return True
    if re.fullmatch(r"\.\w*[a-z]\w*", suffix):
        raise LabelwiseError(
            f"--out {out}, a file in {suffix}",
            f"a file in {', '.join(WRITERS)}, or a folder",
            f"change the suffix, or write {out}{os.sep} for a folder of that name",
        )
    return False
