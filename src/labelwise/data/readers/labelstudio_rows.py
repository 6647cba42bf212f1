"""Annotations of the flat rows of Label Studio: JSON_MIN, CSV and TSV, where names of columns vary."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labelwise.data.readers.csv import decode_text
from labelwise.data.readers.labelstudio_answers import (
    ProjectAnnotations,
    TaskAnnotation,
    holds_images,
    image_column,
    image_of,
    label_kind,
)
from labelwise.data.readers.split_names import are_splits
from labelwise.errors import LabelwiseError

_ROW_KEYS = "id annotation_id annotator created_at updated_at lead_time agreement history inner_id"
ROW_KEYS = frozenset(_ROW_KEYS.split())
"""Columns of flat rows in every project."""

_USUAL = frozenset({"choice", "choices", "label", "labels", "tag", "tags", "class", "classes"})


def annotations_of_rows(
    content: Sequence[Mapping[str, Any]], first: int, image_key: str | None, wanted: list[str]
) -> ProjectAnnotations:
    """The annotations of flat rows, one per row.

    Args:
        content: the rows; a cell is a text, or the value of its JSON.
        first: number of the first row, for messages.
        image_key: column of the image; `None`: the column with cells that look like images.
        wanted: columns of the answers; empty: those of lists of labels, or the only one of texts.

    Raises:
        LabelwiseError: an entry of another kind, or an ambiguous column of answers.
    """
    for number, row in enumerate(content, first):
        if not isinstance(row, dict):
            raise LabelwiseError(f"entry {number}: {json.dumps(row)[:60]}", "an object", "correct the file")
    export = ProjectAnnotations()
    key = image_column(content, image_key, export.notes)
    columns = [name for name in dict.fromkeys(k for row in content for k in row) if name != key]
    controls = _controls(content, [name for name in columns if name not in ROW_KEYS], wanted, export)
    for number, row in enumerate(content, first):
        place = f"row {number}"
        answer = TaskAnnotation(place, image_of(row, key, place), row.get("annotation_id") not in (None, ""))
        answer.fields = {name: cell for name, cell in row.items() if name not in controls}
        for control in controls:
            cell = row.get(control)
            for value in cell if isinstance(cell, list) else [cell]:
                if isinstance(value, str) and value.strip() and not value.startswith(('{"', "[{")):
                    answer.labels.setdefault(control, []).append(value.strip())
                elif value not in (None, "") and not export.add(answer, control, value):
                    raise LabelwiseError(
                        f"{place}, column {control!r}: {json.dumps(value)[:80]}",
                        "a choice, or choices",
                        "correct the cell, or name another column with control=NAME",
                    )
        answer.submitted |= bool(answer.labels)
        export.answers.append(answer)
    return export


def _controls(
    content: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    wanted: list[str],
    export: ProjectAnnotations,
) -> list[str]:
    """The columns that hold labels: those of the option, or those whose cells look like labels."""
    for name in wanted:
        if name not in columns:
            raise LabelwiseError(f"control={name}", f"one of: {', '.join(columns)}", "correct the option")
    if wanted:
        return wanted
    lists, texts = [], []
    if are_splits((row.get("split") for row in content), least=1):
        columns = [name for name in columns if name != "split"]
    for name in columns:
        cells = [row[name] for row in content if row.get(name) not in (None, "", [])]
        flat = [value for cell in cells for value in (cell if isinstance(cell, list) else [cell])]
        if any(label_kind(value) for value in flat):
            lists.append(name)
        elif flat and _are_texts(flat) and not holds_images(flat):
            texts.append(name)
    usual = [name for name in texts if name.lower() in _USUAL]
    controls = lists or (texts if len(texts) == 1 else usual)
    if not lists and len(controls) != 1:
        raise LabelwiseError(
            f"{len(texts)} columns that could hold the choices" + (f": {', '.join(texts)}" if texts else ""),
            "one column of choices",
            "name it with control=NAME" if texts else "export with annotations",
        )
    others = [name for name in texts if name not in controls]
    if others:
        export.notes.append(
            f"The choices are those of {', '.join(controls)}; to read other columns too, list all of them with "
            f"control=NAME,NAME: {', '.join(others)}."
        )
    return controls


def _are_texts(values: Sequence[Any]) -> bool:
    """Whether all values are texts, and not all of them numbers."""
    if not all(isinstance(value, str) for value in values):
        return False
    try:
        return not [float(value) for value in values]
    except ValueError:
        return True


def table_rows(file: Path) -> tuple[list[dict[str, Any]], str]:
    """The rows of a CSV or TSV export, with JSON in cells parsed, and a note on the encoding, which may be empty.

    Raises:
        LabelwiseError: an empty file, broken quotes, or rows of another length.
    """
    text, note = decode_text(file)
    header = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=lambda mark: (header.count(mark), mark == ","))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        lines = [cells for cells in reader if cells]
    except csv.Error as error:
        raise LabelwiseError(
            f"{file}, line {reader.line_num}: {error}", "whole pairs of quotes", "export it again"
        ) from None
    if len(lines) < 2:
        raise LabelwiseError(f"{file} without rows", "a header and one row per annotation", "check the file")
    for number, cells in enumerate(lines, 1):
        if len(cells) != len(lines[0]):
            raise LabelwiseError(
                f"{file}, row {number}: {len(cells)} cells",
                f"{len(lines[0])} as in the header",
                "export it again",
            )
    return [dict(zip(lines[0], map(_parsed_cell, cells), strict=True)) for cells in lines[1:]], note


def _parsed_cell(text: str) -> Any:
    """The JSON in a cell, or its text."""
    if text[:1] in ("{", "["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):  # a name may begin with a bracket
            return text
    return text
