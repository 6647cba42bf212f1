"""Reader of the files of `labelwise predict --out` in all its formats."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from labelwise.errors import LabelwiseError, first_line

OWN = ("image", "error", "selected")
"""Columns of every table of predictions; a label of such a name has the prefix `score:`."""
_EXPECTED = "a file that `labelwise predict --out` wrote"


@dataclass(frozen=True)
class ImagePrediction:
    """The prediction of a model for one image.

    Args:
        image: its path as passed to `predict`.
        selected: the predicted labels, in the file's order; `None` for an unreadable image.
        scores: probability of each label.
    """

    image: str
    selected: tuple[str, ...] | None
    scores: dict[str, float]


def read_answers(path: Path) -> list[ImagePrediction]:
    """The predictions of a file in .parquet, .csv, .tsv, .jsonl or .ndjson, or of a folder of parts.

    Raises:
        LabelwiseError: no such file, or one of another format.
    """
    files = sorted(path.glob("part-*.parquet")) if path.is_dir() else [path]
    try:
        answers = [answer for file in files for answer in _predictions_in(file)]
    except LabelwiseError:
        raise
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        csv.Error,
        pa.ArrowException,
    ) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise LabelwiseError(f"{path} ({reason})", _EXPECTED, "check --predictions") from None
    if not answers:
        raise LabelwiseError(f"{path} without predictions", _EXPECTED, "check --predictions")
    return answers


def _predictions_in(file: Path) -> Iterator[ImagePrediction]:
    """The predictions of one file, by its suffix."""
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        with parquet.ParquetFile(file) as reader:
            _refuse_other(file, reader.schema_arrow.names)
            for batch in reader.iter_batches(batch_size=4096):
                yield from (_prediction_of_row(row, row["selected"] or ()) for row in batch.to_pylist())
    elif suffix in (".csv", ".tsv"):
        with open(file, newline="", encoding="utf-8") as stream:
            rows = csv.DictReader(stream, delimiter="\t" if suffix == ".tsv" else ",", strict=True)
            _refuse_other(file, rows.fieldnames or ())
            yield from (_prediction_of_row(row, _names(row["selected"])) for row in rows)
    elif suffix in (".jsonl", ".ndjson"):
        with open(file, encoding="utf-8") as stream:
            yield from (_prediction_of_line(json.loads(line)) for line in stream if line.strip())
    else:
        raise LabelwiseError(
            f"{str(file)!r}", f"{_EXPECTED}, in .parquet, .csv, .tsv or .jsonl", "check --predictions"
        )


def _refuse_other(file: Path, columns: Sequence[str]) -> None:
    """Raises `LabelwiseError` for a table without the columns of predictions."""
    missing = [name for name in OWN if name not in columns]
    if missing:
        raise LabelwiseError(f"{file} without the column {missing[0]!r}", _EXPECTED, "check --predictions")


def _prediction_of_row(row: dict[str, Any], selected: Sequence[str]) -> ImagePrediction:
    """The prediction in a row of a table."""
    if row["error"]:
        return ImagePrediction(row["image"], None, {})
    scores = {_label(name): float(cell) for name, cell in row.items() if name not in OWN}
    return ImagePrediction(row["image"], tuple(selected), scores)


def _prediction_of_line(line: dict[str, Any]) -> ImagePrediction:
    """The prediction in a JSON line."""
    if "error" in line:
        return ImagePrediction(line["image"], None, {})
    labels = line["labels"]
    chosen = tuple(label["name"] for label in labels if label["selected"])
    return ImagePrediction(line["image"], chosen, {label["name"]: float(label["score"]) for label in labels})


def _names(cell: str) -> list[str]:
    """Names in a cell of CSV: separated by `|`, or a JSON list.

    >>> _names("dog|cat"), _names('["a|b"]'), _names("")
    (['dog', 'cat'], ['a|b'], [])
    """
    if cell.startswith("["):
        return [str(name) for name in json.loads(cell)]
    return cell.split("|") if cell else []


def _label(column: str) -> str:
    """The label of a column of scores.

    >>> _label("dog"), _label("score:image"), _label("score:dog")
    ('dog', 'image', 'score:dog')
    """
    label = column
    while label.startswith("score:"):
        label = label.removeprefix("score:")
    return label if label in OWN else column
