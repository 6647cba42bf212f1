"""A table of predictions in files that are each written once, so that a stopped call can be resumed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int

from labelwise.data.wholefile import whole_file
from labelwise.errors import LabelwiseError
from labelwise.inference.tables import columns_of
from labelwise.runs.files import read_json, write_json

STATE = "collection.json"


@dataclass(frozen=True)
class PartPredictions:
    """Predictions of some images of a collection.

    Args:
        rows: indices of the images in the list of files.
        scores: probabilities in label order; NaN for an unreadable image.
        chosen: the labels that the decisions select.
        errors: the reason why an image is unreadable, "" for a readable one.
    """

    rows: Int[np.ndarray, " n"]
    scores: Float[np.ndarray, "n L"]
    chosen: Bool[np.ndarray, "n L"]
    errors: list[str]

    def selected(self, names: Sequence[str]) -> list[list[str] | None]:
        """The chosen labels of each image, highest probability first; `None` for an unreadable image."""
        order = np.argsort(-self.scores, axis=1, kind="stable")
        return [
            None if error else [names[j] for j in order[i] if self.chosen[i, j]]
            for i, error in enumerate(self.errors)
        ]


class Parts:
    """The folder of a collection's predictions: `part-000000.parquet` and on, `part` images each, in the files' order.

    A part is written atomically and holds each of its images once, even if it was predicted several times.

    Args:
        folder: new, or that of a call over the same list with the same model, which is resumed.
        files: the images.
        names: labels in column order.
        model: fingerprint of the model.
        part: images per file.

    Raises:
        LabelwiseError: a folder with other content.
    """

    def __init__(self, folder: Path, files: Sequence[str], names: tuple[str, ...], model: str, part: int):
        self._folder, self._files, self._names, self._part = folder, files, names, part
        self._in_progress: dict[int, _PartInProgress] = {}
        digest = hashlib.sha256()
        for file in files:
            digest.update(os.fsencode(file) + b"\0")
        state = {"format": 1, "images": len(files), "list": digest.hexdigest(), "model": model, "part": part}
        _claim(folder, state)

    @property
    def count(self) -> int:
        """Number of files of the complete collection."""
        return -(-len(self._files) // self._part)

    def rows(self, part: int) -> range:
        """Indices of the images of a part in the list of files."""
        return range(part * self._part, min((part + 1) * self._part, len(self._files)))

    def missing(self) -> list[int]:
        """Parts that are not finished, in order."""
        return [i for i in range(self.count) if not self.path(i).is_file()]

    def path(self, part: int) -> Path:
        """Path of a part."""
        return self._folder / f"part-{part:06d}.parquet"

    def add(self, answers: PartPredictions) -> list[int]:
        """Adds predictions, in any order; returns the parts that they complete."""
        finished = []
        for part in np.unique(answers.rows // self._part).tolist():
            in_part = answers.rows // self._part == part
            if part not in self._in_progress:
                self._in_progress[part] = _PartInProgress(self.rows(part), len(self._names))
            self._in_progress[part].fill(answers, in_part)
            if self._in_progress[part].complete:
                self._write(part, self._in_progress.pop(part).answers)
                finished.append(part)
        return finished

    def unreadable(self) -> int:
        """Number of images of the finished parts with an error."""
        finished = [self.path(i) for i in range(self.count) if self.path(i).is_file()]
        columns = (pq.read_table(path, columns=["error"])["error"] for path in finished)
        return sum(len(column) - column.null_count for column in columns)

    def _write(self, part: int, answers: PartPredictions) -> None:
        files = [self._files[row] for row in self.rows(part)]
        with whole_file(self.path(part)) as file:
            pq.write_table(_table(files, answers, self._names), file)


class _PartInProgress:
    """A part that is not complete."""

    def __init__(self, rows: range, labels: int) -> None:
        shape = len(rows), labels
        self._seen = np.zeros(len(rows), bool)
        scores, chosen = np.empty(shape, np.float32), np.zeros(shape, bool)
        self.answers = PartPredictions(np.array(rows), scores, chosen, [""] * len(rows))

    @property
    def complete(self) -> bool:
        """Whether every image has a prediction."""
        return bool(self._seen.all())

    def fill(self, answers: PartPredictions, mask: np.ndarray) -> None:
        """Adds the predictions selected by a mask."""
        filled = self.answers
        positions = answers.rows[mask] - filled.rows[0]
        self._seen[positions] = True
        filled.scores[positions], filled.chosen[positions] = answers.scores[mask], answers.chosen[mask]
        for position, i in zip(positions.tolist(), np.flatnonzero(mask).tolist(), strict=True):
            filled.errors[position] = answers.errors[i]


def _table(files: Sequence[str], answers: PartPredictions, names: tuple[str, ...]) -> pa.Table:
    """A part as a table, with null probabilities of unreadable images."""
    unreadable = np.array([bool(error) for error in answers.errors])
    columns = [
        pa.array([os.fsencode(file).decode("utf-8", "replace") for file in files]),
        pa.array([error or None for error in answers.errors], pa.string()),
        pa.array(answers.selected(names), pa.list_(pa.string())),
        *(pa.array(answers.scores[:, j], pa.float32(), mask=unreadable) for j in range(len(names))),
    ]
    return pa.Table.from_arrays(columns, schema=columns_of(names))


def _claim(folder: Path, state: dict[str, object]) -> None:
    """Mark a folder as that of these predictions; refuse one of other predictions."""
    file = folder / STATE
    if not file.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise LabelwiseError(
                f"{folder}, which holds something else", "a new folder", "choose another --out"
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, state)
        return
    stored = read_json(file)
    if not isinstance(stored, dict):
        raise LabelwiseError(f"{file}, which is no record", "what predict writes", "choose another --out")
    names = {
        "images": "images",
        "list": "list of images",
        "model": "model",
        "part": "--part",
        "format": "format",
    }
    differing = [names[key] for key in state if stored.get(key) != state[key]]
    if differing:
        raise LabelwiseError(
            f"{folder} of another {' and '.join(differing)}",
            "the list, the model and the --part that it was begun with",
            "give the same, or choose another --out",
        )
    for leftover in folder.glob(".part-*.part"):
        leftover.unlink()
