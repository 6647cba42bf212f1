"""Writers of predictions to parquet, CSV, TSV or JSON lines, in a stream and atomically."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from labelwise.data.wholefile import whole_file
from labelwise.errors import LabelwiseError
from labelwise.serving.predictor import Prediction

FAMILIAR = "familiar"
SEPARATOR = "|"
"""Separator of the names of selected labels in a cell of CSV."""


def columns_of(names: tuple[str, ...], familiar: bool = False) -> pa.Schema:
    """Names and types of a table of predictions, with p-values of the images for `familiar`.

    >>> columns_of(("dog", "image")).names
    ['image', 'error', 'selected', 'dog', 'score:image']
    """
    fields = [("image", pa.string()), ("error", pa.string()), ("selected", pa.list_(pa.string()))]
    if familiar:
        fields.append((FAMILIAR, pa.float32()))
    own = {name for name, _ in fields}
    taken = own | set(names)
    for name in names:
        column = name
        if name in own:
            while column in taken:
                column = f"score:{column}"
            taken.add(column)
        fields.append((column, pa.float32()))
    return pa.schema(fields)


class Writer:
    """A file of predictions that is moved to its path when it is closed, and removed after an exception.

    Args:
        path: the file.
        names: labels in column order.
        familiar: whether to write the p-values of images.
    """

    def __init__(self, path: Path, names: tuple[str, ...], familiar: bool = False) -> None:
        self.names, self.familiar = names, familiar
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open = ExitStack()
        self._part = self._open.enter_context(whole_file(path))

    def add(self, prediction: Prediction) -> None:
        """Adds a row."""
        raise NotImplementedError

    def finish(self) -> None:
        """Writes the buffered rows."""

    def close(self) -> None:
        """Writes the rest and moves the file to its path."""
        with self._open:
            self.finish()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._open.__exit__(kind, error, trace)


class TableWriter(Writer):
    """A table of predictions: image, error, selected labels, then one probability column per label.

    Args:
        path: a file in `.parquet`, `.csv` or `.tsv`.
        names: labels in column order.
        familiar: whether to write the p-values of images.
        rows: number of rows to buffer before they are written.
    """

    def __init__(self, path: Path, names: tuple[str, ...], familiar: bool = False, rows: int = 4096) -> None:
        super().__init__(path, names, familiar)
        self._rows, self._held = rows, list[Prediction]()
        self._schema = columns_of(names, familiar)
        self._cells: CellWriter = list
        if path.suffix.lower() == ".parquet":
            self._sink: Any = pq.ParquetWriter(self._part, self._schema)
        else:
            self._cells = cell_writer(names)
            self._schema = self._schema.set(2, pa.field("selected", pa.string()))
            options = csv.WriteOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            self._sink = csv.CSVWriter(self._part, self._schema, write_options=options)
        self._open.callback(self._sink.close)

    def add(self, prediction: Prediction) -> None:
        """Adds a row."""
        self._held.append(prediction)
        if len(self._held) >= self._rows:
            self.finish()

    def finish(self) -> None:
        """Writes the buffered rows."""
        held, self._held = self._held, []
        columns = [
            pa.array([os.fsencode(p.image).decode("utf-8", "replace") for p in held]),
            pa.array([p.error for p in held], pa.string()),
            pa.array([None if p.error else self._cells(p.selected) for p in held], self._schema.types[2]),
            *([pa.array([p.familiar for p in held], pa.float32())] if self.familiar else []),
            *(pa.array([p.scores.get(n) for p in held], pa.float32()) for n in self.names),
        ]
        self._sink.write_table(pa.Table.from_arrays(columns, schema=self._schema))


class LinesWriter(Writer):
    """One JSON object per line, as printed by `labelwise predict --json`."""

    def __init__(self, path: Path, names: tuple[str, ...], familiar: bool = False) -> None:
        super().__init__(path, names, familiar)
        # A file name that is not valid UTF-8 is escaped, as JSON does too.
        file = open(self._part, "w", encoding="utf-8", errors="backslashreplace", newline="\n")  # noqa: SIM115
        self._file = self._open.enter_context(file)

    def add(self, prediction: Prediction) -> None:
        """Adds a line."""
        self._file.write(json.dumps(prediction.to_json(), ensure_ascii=False) + "\n")


CellWriter: TypeAlias = Callable[[Sequence[str]], Any]
WRITERS: dict[str, type[TableWriter] | type[LinesWriter]] = {
    ".parquet": TableWriter,
    ".csv": TableWriter,
    ".tsv": TableWriter,
    ".jsonl": LinesWriter,
    ".ndjson": LinesWriter,
}


def cell_writer(names: tuple[str, ...]) -> CellWriter:
    """The function that formats the selected labels of an image as one cell of CSV, the same for the whole file.

    A cell holds the names separated by `|`. If a label's own name contains a `|`, or begins with `[`, every cell is a
    JSON list instead.

    >>> cell_writer(("dog", "cat"))(["dog", "cat"]), cell_writer(("a|b", "cat"))(["cat"])
    ('dog|cat', '["cat"]')
    """
    if any(SEPARATOR in name or name.startswith("[") for name in names):
        return lambda selected: json.dumps(list(selected), ensure_ascii=False)
    return SEPARATOR.join


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
