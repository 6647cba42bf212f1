"""Writers of predictions to CSV, TSV or JSON lines, in a stream and atomically."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

import numpy as np

from labelwise.data.wholefile import whole_file
from labelwise.inference.prediction import Prediction

FAMILIAR = "familiar"
SEPARATOR = "|"
"""Separator of the names of selected labels in a cell of CSV."""


def column_names(names: tuple[str, ...], familiar: bool = False) -> list[str]:
    """Names of the columns of a table of predictions, with p-values of the images for `familiar`.

    >>> column_names(("dog", "image"))
    ['image', 'error', 'selected', 'dog', 'score:image']
    """
    columns = ["image", "error", "selected", *([FAMILIAR] if familiar else [])]
    fixed = set(columns)
    used = fixed | set(names)
    for name in names:
        column = name
        if name in fixed:
            while column in used:
                column = f"score:{column}"
            used.add(column)
        columns.append(column)
    return columns


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
        self._resources = ExitStack()
        self._temporary = self._resources.enter_context(whole_file(path))

    def add(self, prediction: Prediction) -> None:
        """Adds a row."""
        raise NotImplementedError

    def finish(self) -> None:
        """Writes the buffered rows."""

    def close(self) -> None:
        """Writes the rest and moves the file to its path."""
        with self._resources:
            self.finish()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._resources.__exit__(kind, error, trace)


class TextWriter(Writer):
    """A table in CSV or TSV: image, error, selected labels, then one probability column per label.

    Texts are quoted, so that an empty text differs from a missing one.

    Args:
        path: a file in `.csv` or `.tsv`.
        names: labels in column order.
        familiar: whether to write the p-values of images.
    """

    def __init__(self, path: Path, names: tuple[str, ...], familiar: bool = False) -> None:
        super().__init__(path, names, familiar)
        self._separator = "\t" if path.suffix.lower() == ".tsv" else ","
        self._cell = cell_writer(names)
        file = open(self._temporary, "w", encoding="utf-8", errors="replace", newline="\n")  # noqa: SIM115
        self._file = self._resources.enter_context(file)
        self._write([_quoted(name) for name in column_names(names, familiar)])

    def add(self, prediction: Prediction) -> None:
        """Adds a row."""
        p = prediction
        image = _quoted(os.fsencode(p.image).decode("utf-8", "replace"))
        familiar = [str(np.float32(p.familiar)) if p.familiar is not None else ""] if self.familiar else []
        if p.error is not None:
            self._write([image, _quoted(p.error), "", *familiar, *("" for _ in self.names)])
        else:
            scores = (str(np.float32(p.scores[name])) for name in self.names)
            self._write([image, "", _quoted(self._cell(p.selected)), *familiar, *scores])

    def _write(self, cells: Sequence[str]) -> None:
        self._file.write(self._separator.join(cells) + "\n")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


class LinesWriter(Writer):
    """One JSON object per line, as printed by `labelwise predict --json`."""

    def __init__(self, path: Path, names: tuple[str, ...], familiar: bool = False) -> None:
        super().__init__(path, names, familiar)
        # A file name that is not valid UTF-8 is escaped, as JSON does too.
        file = open(self._temporary, "w", encoding="utf-8", errors="backslashreplace", newline="\n")  # noqa: SIM115
        self._file = self._resources.enter_context(file)

    def add(self, prediction: Prediction) -> None:
        """Adds a line."""
        self._file.write(json.dumps(prediction.to_json(), ensure_ascii=False) + "\n")


CellWriter: TypeAlias = Callable[[Sequence[str]], str]
TEXT_WRITERS: dict[str, type[TextWriter] | type[LinesWriter]] = {
    ".csv": TextWriter,
    ".tsv": TextWriter,
    ".jsonl": LinesWriter,
    ".ndjson": LinesWriter,
}
"""Writers by suffix, of the formats that need no other package."""


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
