"""The audit's list as a review queue, with a durable journal of the decisions on each suspicious label."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError

COLUMNS = ("rank", "image", "label", "current", "proposed", "kind", "score", "probability", "reason")
CHOICES = ("keep", "change", "unknown")


@dataclass(frozen=True)
class Item:
    """One suspicious label of one image, a row of the audit's CSV.

    Args:
        rank: rank in the audit's list.
        image: the image's id in the data set.
        label: the label in question.
        current: "1", "0", or "" for unknown.
        proposed: the value proposed by the audit.
        kind: missing, wrong, duplicate or contradiction.
        score: how suspicious the label is.
        probability: of the label, by the audit's model.
        reason: explanation in one sentence.
    """

    rank: str
    image: str
    label: str
    current: str
    proposed: str
    kind: str
    score: str
    probability: str
    reason: str

    @property
    def key(self) -> tuple[str, str]:
        """The item's cell, which identifies it across audits."""
        return self.image, self.label


class Review:
    """A queue of items with a journal of decisions next to the audit's file.

    Each decision is a line that is synced to disk before it is confirmed; the last one of an item counts. All
    confirmed decisions are restored when the queue is opened again, also after a crash.

    Args:
        audit: CSV that `labelwise audit` wrote.
        data: the data set that was audited; required for photographs under its folder, and for the export.

    Raises:
        LabelwiseError: another kind of file, a damaged journal, an image that is not in the data set, or a data set
            whose images have no names.
    """

    def __init__(self, audit: Path, data: Dataset | None = None) -> None:
        self.audit, self.data = audit, data
        self.journal = audit.with_name(f"{audit.stem}.review.jsonl")
        self.items = read_items(audit)
        self._rows = {} if data is None else {data.image_id(i): i for i in range(len(data))}
        self._check_images()
        self._lock = threading.Lock()
        self._chosen = read_journal(self.journal)

    def __len__(self) -> int:
        return len(self.items)

    def choice(self, i: int) -> str | None:
        """The decision on an item, `None` for an undecided one."""
        return self._chosen.get(self.items[i].key)

    @property
    def decided(self) -> int:
        """Number of decided items."""
        return sum(self.choice(i) is not None for i in range(len(self)))

    def decide(self, i: int, choice: str | None) -> None:
        """Stores one decision; `None` revokes an earlier one.

        Raises:
            LabelwiseError: no such choice, or the journal cannot be written.
        """
        if choice is not None and choice not in CHOICES:
            raise LabelwiseError(f"choice {choice!r}", f"one of {', '.join(CHOICES)}", "correct it")
        item = self.items[i]
        when = datetime.now(timezone.utc).isoformat(timespec="seconds")
        line = {
            "time": when,
            "image": item.image,
            "label": item.label,
            "kind": item.kind,
            "current": item.current,
            "proposed": item.proposed,
            "choice": choice,
        }
        with self._lock:
            append_line(self.journal, json.dumps(line, ensure_ascii=False))
            self._chosen[item.key] = choice

    def add(self, items: Sequence[Item]) -> int:
        """Adds items at the end of the queue and of the audit's file, without cells that are in it; returns how many.

        Raises:
            LabelwiseError: the file cannot be written.
        """
        with self._lock:
            existing = {item.key for item in self.items}
            new_items = [item for item in items if item.key not in existing]
            if new_items:
                append_line(self.audit, _csv_lines(self.audit, new_items))
                self.items = [*self.items, *new_items]
        return len(new_items)

    def encoded(self, i: int) -> Path | bytes:
        """The image file of an item, or its bytes."""
        image = self.items[i].image
        if self.data is not None:
            return self.data.encoded(self._rows[image])
        return self.audit.parent / image

    def corrections(self) -> list[tuple[Item, str]]:
        """Decided items with the new value of their cell: "1", "0" or "" for unknown."""
        values = {
            "keep": lambda item: item.current,
            "change": lambda item: item.proposed,
            "unknown": lambda _: "",
        }
        choices = ((item, self._chosen.get(item.key)) for item in self.items)
        return [(item, values[choice](item)) for item, choice in choices if choice is not None]

    def to_json(self) -> dict[str, Any]:
        """The queue as JSON data for the page."""
        items = [{**asdict(item), "choice": self.choice(i)} for i, item in enumerate(self.items)]
        return {
            "audit": self.audit.name,
            "journal": self.journal.name,
            "exports": self.data is not None,
            "items": items,
        }

    def _check_images(self) -> None:
        """Raises `LabelwiseError` for an item whose image is not in the data, or not beside the audit's file."""
        if self.data is not None:
            missing = next((item.image for item in self.items if item.image not in self._rows), None)
            if missing is not None:
                raise LabelwiseError(
                    f"image {missing!r} of {self.audit}, which the data do not hold",
                    "the data that were audited",
                    "correct --data",
                )
            return
        for item in self.items:
            self._refuse_outside(item.image)
        if self.items and not os.path.isfile(self.audit.parent / self.items[0].image):
            raise LabelwiseError(
                f"image {self.items[0].image!r} of {self.audit}, which is not there",
                "images beside the audit's file, or the data that were audited",
                "give --data SOURCE",
            )

    def _refuse_outside(self, image: str) -> None:
        """Refuses an image outside the audit's folder: without data, the table alone decides which files are served."""
        folder = self.audit.parent.resolve()
        if "\0" in image or not (folder / image).resolve().is_relative_to(folder):
            raise LabelwiseError(
                f"image {image!r} of {self.audit}, which lies elsewhere",
                "images beside the audit's file, or the data that were audited",
                "give --data SOURCE",
            )


def read_items(file: Path) -> list[Item]:
    """The items of an audit's CSV, in its order.

    Raises:
        LabelwiseError: no such file, other columns, or values that no audit writes.
    """
    try:
        with open(file, newline="", encoding="utf-8") as stream:
            rows = csv.DictReader(stream)
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise LabelwiseError(
                    f"{file} without the column {missing[0]!r}",
                    ",".join(COLUMNS),
                    "write it by labelwise audit",
                )
            return [_item(file, row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise LabelwiseError(
            f"audit {file} ({reason})", "the CSV of labelwise audit", "correct the path"
        ) from None


def begin_audit(file: Path) -> None:
    """Writes the CSV of an empty queue."""
    file.parent.mkdir(parents=True, exist_ok=True)
    append_line(file, ",".join(COLUMNS))


def _csv_lines(file: Path, items: Sequence[Item]) -> str:
    """Items as lines of an audit's CSV, in its columns, to be appended to it."""
    with open(file, newline="", encoding="utf-8") as stream:
        columns = next(csv.reader(stream))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writerows(asdict(item) for item in items)
    line_break = "" if file.read_bytes()[-1:] == b"\n" else "\n"
    return line_break + text.getvalue().removesuffix("\n")


def _item(file: Path, row: Mapping[str, str]) -> Item:
    """The item of a row; raises `LabelwiseError` for a state that no audit writes."""
    item = Item(**{name: row[name] or "" for name in COLUMNS})
    for name in ("current", "proposed"):
        if getattr(item, name) not in ("0", "1", ""):
            raise LabelwiseError(
                f"{file} with {name} {getattr(item, name)!r}", '1, 0 or ""', "write it by labelwise audit"
            )
    return item


def read_journal(file: Path) -> dict[tuple[str, str], str | None]:
    """The last choice of each item; a last line truncated by a crash was never confirmed and is removed.

    Raises:
        LabelwiseError: a damaged line before the last.
    """
    if not file.is_file():
        return {}
    complete, _, truncated = file.read_bytes().rpartition(b"\n")
    if truncated:
        os.truncate(file, len(complete) + 1 if complete else 0)
    chosen: dict[tuple[str, str], str | None] = {}
    for number, text in enumerate(complete.splitlines(), 1):
        try:
            line = json.loads(text)
            chosen[line["image"], line["label"]] = line["choice"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise LabelwiseError(
                f"line {number} of {file} is damaged", "a decision in JSON", "remove the line"
            ) from None
    return chosen


def append_line(file: Path, line: str) -> None:
    """Appends a line and syncs it to disk.

    Raises:
        LabelwiseError: the disk is full or not writable.
    """
    try:
        with open(file, "ab") as stream:
            stream.write(line.encode("utf-8", "backslashreplace") + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise LabelwiseError(
            f"{file} could not be written ({error.strerror})",
            "a writable disk",
            "free some space, decide again",
        ) from None
