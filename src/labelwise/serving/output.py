"""Predictions on their way in and out of files."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from labelwise.data.decode import decode_image
from labelwise.errors import LabelwiseError
from labelwise.serving.predictor import Prediction

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".jfif"}


def find_images(paths: Sequence[str]) -> list[str]:
    """Image files of files, folders (searched to the bottom), globs, and `@LIST` files with a path a line.

    A file named outright is taken whatever its suffix; folders give their image files, sorted.

    Raises:
        LabelwiseError: something that is not there, or nothing found.
    """
    found: list[str] = []
    for path in paths:
        if path.startswith("@"):
            found += _listed(Path(path[1:]))
        elif os.path.isdir(path):
            found += sorted(str(p) for p in Path(path).rglob("*") if p.suffix.lower() in SUFFIXES)
        elif os.path.lexists(path):
            found.append(path)
        elif glob.has_magic(path):
            found += sorted(p for p in glob.glob(path, recursive=True) if os.path.isfile(p))
        else:
            raise LabelwiseError(
                f"{path}: no such file or folder", "image files, folders or globs", "correct the path"
            )
    if not found:
        raise LabelwiseError(
            f"no image in {', '.join(paths)}",
            f"files ending in {', '.join(sorted(SUFFIXES))}",
            "correct the path",
        )
    return found


def _listed(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise LabelwiseError(
            f"list {path} ({error})", "a text file with a path a line", "correct the list"
        ) from None


def columns_of(names: tuple[str, ...]) -> pa.Schema:
    """Names and types of a table of predictions.

    >>> columns_of(("dog", "image")).names
    ['image', 'error', 'selected', 'dog', 'score:image']
    """
    fields = [("image", pa.string()), ("error", pa.string()), ("selected", pa.list_(pa.string()))]
    taken = {name for name, _ in fields}
    return pa.schema([*fields, *((f"score:{n}" if n in taken else n, pa.float32()) for n in names)])


class ParquetWriter:
    """A table of predictions: image, error, selected labels, then one probability column per label.

    Written to a neighbour and put in place when closed, so that a half-written table is never found.
    """

    def __init__(self, path: Path, names: tuple[str, ...], rows: int = 4096) -> None:
        self._path, self._names, self._rows = path, names, rows
        self._schema = columns_of(names)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._part = path.with_name(f".{path.name}.part")
        self._writer = pq.ParquetWriter(self._part, self._schema)
        self._held: list[Prediction] = []

    def add(self, prediction: Prediction) -> None:
        """One more row."""
        self._held.append(prediction)
        if len(self._held) >= self._rows:
            self._flush()

    def close(self) -> None:
        """Write the rest and put the table in its place."""
        self._flush()
        self._writer.close()
        os.replace(self._part, self._path)

    def _flush(self) -> None:
        held = self._held
        columns = [
            pa.array([os.fsencode(p.image).decode("utf-8", "replace") for p in held]),
            pa.array([p.error for p in held], pa.string()),
            pa.array([None if p.error else p.selected for p in held], pa.list_(pa.string())),
            *(pa.array([p.scores.get(n) for p in held], pa.float32()) for n in self._names),
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._held = []


def stems(paths: Sequence[str]) -> dict[str, str]:
    """A name for what is written about each file: its own without the suffix, numbered where several share it.

    >>> stems(["a/1.jpg", "b/1.jpg", "b/2.png"])
    {'a/1.jpg': '1', 'b/1.jpg': '1-2', 'b/2.png': '2'}
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for path in paths:
        stem, name, count = Path(path).stem, Path(path).stem, 1
        while name in taken and path not in found:
            count += 1
            name = f"{stem}-{count}"
        taken.add(found.setdefault(path, name))
    return found


def write_maps(prediction: Prediction, folder: Path, stem: str) -> None:
    """Each selected label's evidence over the photograph, as `STEM.LABEL.jpg` in a folder."""
    from labelwise.reports.pictures import overlay

    folder.mkdir(parents=True, exist_ok=True)
    photograph = decode_image(prediction.image)
    for label in prediction.selected:
        safe = "".join(c if c.isalnum() or c in "-_ " else "_" for c in label)
        picture = overlay(photograph, prediction.over_photograph(label))
        picture.save(folder / f"{stem}.{safe}.jpg", quality=88)
