"""The photographs that a user names as examples of a label."""

from __future__ import annotations

import csv
from pathlib import Path

from labelwise.data.review import COLUMNS, Review
from labelwise.errors import LabelwiseError
from labelwise.inference.output import find_images


def photographs_of(given: str, answer: str) -> list[str]:
    """Files of paths separated by commas, folders, globs, `@LIST`, or of tables in CSV.

    A table has a column `path` or `image`, relative to its folder. Of one with a column `answer`, rows with `1` are
    positives and rows with `0` negatives; of a review's list, the label's answers in its journal.

    Args:
        given: as on the command line.
        answer: "1" for positives, "0" for negatives.

    Raises:
        LabelwiseError: no such file, or a table without such a column.
    """
    files: list[str] = []
    for path in [given] if Path(given).exists() else given.split(","):
        if path.lower().endswith(".csv"):
            files += _files_of_table(Path(path), answer)
        elif path:
            files += find_images([path])
    return files


def _files_of_table(file: Path, answer: str) -> list[str]:
    """The photographs of a table with an answer; see `photographs_of`."""
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns, rows = reader.fieldnames or [], list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise LabelwiseError(f"table {file} ({reason})", "a CSV of photographs", "correct the path") from None
    if set(COLUMNS) <= set(columns):
        return [
            str(file.parent / item.image) for item, value in Review(file).corrections() if value == answer
        ]
    path_column = next((name for name in ("path", "image") if name in columns), None)
    if path_column is None:
        raise LabelwiseError(f"table {file} without a column path or image", "one of them", "name the column")
    matching = [row for row in rows if "answer" not in columns or (row["answer"] or "").strip() == answer]
    return [str(file.parent / row[path_column]) for row in matching]
