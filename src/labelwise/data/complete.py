"""Corrections of a label table, with the provenance of every changed cell."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa

from labelwise.data.dataset import Dataset
from labelwise.data.source import parse
from labelwise.data.table import write_table
from labelwise.data.wholefile import refuse_missing_folder, whole_file
from labelwise.data.writers.csv import write_csv
from labelwise.errors import LabelwiseError

AUDIT_COLUMNS = (
    "rank", "image", "label", "current", "proposed", "kind", "score", "probability", "reason", "evidence",
    "wrong",
)  # fmt: skip
CHANGE_COLUMNS = ("image", "label", "before", "after", "source", "score")
STATES = {"1": 1.0, "0": 0.0, "": math.nan}


@dataclass(frozen=True)
class Correction:
    """One cell to change.

    Args:
        image: its name in the table.
        label: the label's name.
        before: the state at the review: 1, 0, or NaN for unknown; in a change, the state in the table.
        after: the state to write: 1, 0, or NaN.
        source: of the decision.
        score: confidence, in [0, 1].
    """

    image: str
    label: str
    before: float
    after: float
    source: str
    score: float


def read_corrections(file: Path, kinds: Collection[str] = (), min_score: float = 0.0) -> list[Correction]:
    """Corrections that an audit table proposes.

    Args:
        file: CSV with the columns of `AUDIT_COLUMNS`.
        kinds: kinds to read; all if empty.
        min_score: lowest score to read.

    Raises:
        LabelwiseError: no such file, other columns, or a line with an invalid cell.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in AUDIT_COLUMNS[1:8] if name not in (reader.fieldnames or ())]
            if missing:
                raise LabelwiseError(
                    f"{file} without the column {missing[0]!r}",
                    "a table that `labelwise audit` wrote",
                    "name that file",
                )
            corrections = [(row, _correction(row, f"{file}, line {reader.line_num}")) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or (
            "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        )
        raise LabelwiseError(
            f"{file}: {reason}", "a table that `labelwise audit` wrote", "check the path"
        ) from None
    return [c for row, c in corrections if c.score >= min_score and (not kinds or row["kind"] in kinds)]


def _correction(row: dict[str, str], location: str) -> Correction:
    """The correction of a row of an audit table; raises `LabelwiseError` for an invalid state or score."""
    try:
        before, after = (STATES[row[name].strip()] for name in ("current", "proposed"))
        return Correction(
            row["image"], row["label"], before, after, f"audit: {row['kind']}", float(row["score"])
        )
    except (KeyError, ValueError, AttributeError, TypeError):
        raise LabelwiseError(
            f"{location}: {', '.join(str(row.get(n)) for n in ('current', 'proposed', 'score'))}",
            "current and proposed of 1, 0 or blank, and a score",
            "correct the line",
        ) from None


def apply_corrections(table: Dataset, decisions: Iterable[Correction]) -> tuple[Dataset, list[Correction]]:
    """The table with changed cells, and every change; a cell that already has the decided state is no change.

    The boxes of a label are removed from an image in which it becomes absent or unknown.

    Args:
        table: the rows.
        decisions: the last one for a cell applies.

    Returns:
        the new table and the changes, in the order of the decisions.

    Raises:
        LabelwiseError: an image or label that the table lacks, or a cell in neither the reviewed nor the decided
            state, as the decisions were made on another table.
    """
    row_numbers = {table.image_id(row): row for row in range(len(table))}
    latest = {(d.image, d.label): d for d in decisions}
    values, known = table.values.copy(), table.known.copy()
    changes = []
    for d in latest.values():
        if d.image not in row_numbers:
            raise LabelwiseError(f"image {d.image!r}", "an image of the table", "use the table of the audit")
        row, column = row_numbers[d.image], table.labels.index(d.label)
        state = float(values[row, column]) if known[row, column] else math.nan
        if _same_state(state, d.after):
            continue
        if not _same_state(state, d.before):
            raise LabelwiseError(
                f"{d.label} of {d.image} is {_cell(state) or 'unknown'}, judged as {_cell(d.before) or 'unknown'}",
                "the table that was audited",
                "audit this one again",
            )
        known[row, column] = not math.isnan(d.after)
        values[row, column] = 0 if math.isnan(d.after) else d.after
        changes.append(replace(d, before=state))
    note = f"{len(changes):,} cells were changed by a review of the labels."
    corrected = replace(table, values=values, known=known, boxes=_remaining_boxes(table, values, known))
    return corrected.with_notes(note) if changes else table, changes


@dataclass(frozen=True)
class LabelChange:
    """What a review changes of one label.

    Args:
        label: its name.
        positives: known positives before.
        removed: positives that become absent or unknown.
        added: known negatives that become present.
        filled: unknown cells that become known.
        unset: known negatives that become unknown.
    """

    label: str
    positives: int
    removed: int = 0
    added: int = 0
    filled: int = 0
    unset: int = 0

    @property
    def share(self) -> float:
        """Positives removed and added, as a share of the positives before; infinite if there were none."""
        changed = self.removed + self.added
        return changed / self.positives if self.positives else math.inf if changed else 0.0

    @property
    def counts(self) -> dict[str, int]:
        """The numbers by name."""
        return {name: number for name, number in asdict(self).items() if name != "label"}

    def __str__(self) -> str:
        texts = [f"{number:,} {key}" for key, number in self.counts.items() if number or key == "positives"]
        return f"{self.label}: {', '.join(texts)}"


def changes_by_label(table: Dataset, changes: Iterable[Correction]) -> list[LabelChange]:
    """Changes of each label that has any, the largest share of its positives first.

    Args:
        table: the rows before.
        changes: returned by `apply_corrections`.
    """
    kinds: dict[str, Counter[str]] = {}
    for c in changes:
        kinds.setdefault(c.label, Counter())[_kind(c)] += 1
    positives = table.positive.sum(0)
    counted = [
        LabelChange(label, int(positives[table.labels.index(label)]), **counts)
        for label, counts in kinds.items()
    ]
    return sorted(counted, key=lambda c: (-c.share, c.label))


def _kind(change: Correction) -> str:
    """The count of `LabelChange` that a change of one cell adds to."""
    if math.isnan(change.before):
        return "filled"
    if change.before >= 0.5:
        return "removed"
    return "unset" if math.isnan(change.after) else "added"


def refuse_large(changed: Iterable[LabelChange], most: float) -> None:
    """Raises `LabelwiseError` if a label's `share` of changed positives is over `most`."""
    large = [c for c in changed if c.share > most]
    if large:
        first = large[0]
        others = f", and {len(large) - 1:,} other labels" if len(large) > 1 else ""
        raise LabelwiseError(
            f"{first.removed + first.added:,} changes to the {first.positives:,} positives of {first.label}{others}",
            f"at most {most:.0%} of a label's positives",
            "look at them; then add --yes, or raise --min-score or --max-share; nothing is written",
        )


def refuse_source(source: str, out: Path) -> None:
    """Raises `LabelwiseError` if `out`, or its file of changes, is a file of the source, which would be lost."""
    files = [Path(name) for name in parse(source).path.split(",")]
    written = (out, out.with_suffix(".changes.csv"))
    if any(f.is_file() and w.exists() and f.samefile(w) for f in files for w in written):
        raise LabelwiseError(f"{str(out)!r} to write, the table itself", "a new file", "choose another name")


def _same_state(one: float, other: float) -> bool:
    """Whether two states are equal; values from 0.5 count as present."""
    return math.isnan(one) == math.isnan(other) and (math.isnan(one) or (one >= 0.5) == (other >= 0.5))


def _cell(state: float) -> str:
    """A state as in the table: 1, 0, or blank for unknown."""
    return "" if math.isnan(state) else f"{state:g}"


def _remaining_boxes(table: Dataset, values: np.ndarray, known: np.ndarray) -> Any:
    """The boxes of a table without those of labels that become absent or unknown."""
    if table.boxes is None:
        return None
    removed = table.positive & ~(known & (values >= 0.5))
    boxes_of_rows = table.boxes.to_pylist()
    for row in np.flatnonzero(removed.any(axis=1)).tolist():
        boxes_of_rows[row] = [box for box in boxes_of_rows[row] or () if not removed[row, box["label"]]]
    return pa.array(boxes_of_rows, table.boxes.type) if removed.any() else table.boxes


def write_corrected(table: Dataset, changes: Sequence[Correction], out: Path) -> Path:
    """Writes the table as CSV or Parquet, by the suffix of `out`, and its changes next to it.

    Returns:
        the file of the changes, `OUT.changes.csv`.

    Raises:
        LabelwiseError: another suffix, a missing folder, or content that a CSV cannot represent.
    """
    out = Path(out)
    suffix = out.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise LabelwiseError(f"{str(out)!r} to write", "a file name in .csv or .parquet", "rename it")
    refuse_missing_folder(out)
    changes_file = out.with_suffix(".changes.csv")
    with whole_file(changes_file) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        _write_changes(stream, changes)
        # Inside the block: a refused table leaves no file of changes.
        (write_table if suffix == ".parquet" else write_csv)(table, out)
    return changes_file


def _write_changes(stream: TextIO, changes: Sequence[Correction]) -> None:
    """Writes the changes as CSV, with the columns `CHANGE_COLUMNS`."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CHANGE_COLUMNS)
    for c in changes:
        writer.writerow((c.image, c.label, _cell(c.before), _cell(c.after), c.source, f"{c.score:.4f}"))
