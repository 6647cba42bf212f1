"""Readers, one file per format: SOURCE -> Dataset. Reading is strict: nothing is dropped silently."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from labelwise.data.balance import blocks
from labelwise.data.dataset import Dataset
from labelwise.data.implied import with_rules
from labelwise.data.readers.class_names import with_class_names
from labelwise.data.readers.label_counts import unshared_names
from labelwise.data.readers.name_doubts import doubtful_names, few
from labelwise.data.readers.recognise import RULES, Rule, recognise
from labelwise.data.source import Source, parse
from labelwise.errors import LabelwiseError, advice
from labelwise.registry import Registry
from labelwise.rules import read_rules


@dataclass(frozen=True)
class Reader:
    """A format.

    Args:
        form: syntax of its SOURCE.
        meaning: description in one line.
        options: names of its options.
        read: function that reads it.
        recognises: whether a file or folder is of this format; `None` if its content does not tell.
    """

    form: str
    meaning: str
    options: frozenset[str]
    read: Callable[[Source], Dataset]
    recognises: Callable[[Path], bool] | None = None


class ReaderRegistry(Registry[Reader]):
    """The readers by kind; each is a module, or another object, with FORM, MEANING, OPTIONS and read."""

    content = "an object with FORM, MEANING, OPTIONS and read"

    def _add(self, name: str, loaded: Any) -> None:
        recognises = getattr(loaded, "recognises", None)
        options = frozenset(loaded.OPTIONS)
        self._entries[name] = Reader(loaded.FORM, loaded.MEANING, options, loaded.read, recognises)


READERS = ReaderRegistry(
    "reader", "labelwise.data.readers", "", "labelwise.readers", "^FORM = ", ("voc", "coco", "csv", "parquet")
)
_COMMON = frozenset({"val_as", "names", "rules"})


def _further_rules() -> list[Rule]:
    """Rules of the readers that the table of recognise.py does not list and that recognise their files."""
    rules = []
    for kind in sorted(set(READERS) - {rule.kind for rule in RULES}):
        with suppress(LabelwiseError):  # reported if the kind is used
            if (recognises := READERS[kind].recognises) is not None:
                rules.append(Rule(kind, recognises))
    return rules


def resolve(source: str | Source) -> Source:
    """The parsed SOURCE with its kind recognised and its options checked.

    Raises:
        LabelwiseError: for an unknown kind or option, or a bare path that no reader recognises.
    """
    parsed = parse(source) if isinstance(source, str) else source
    if not parsed.kind:
        kind, path = recognise(parsed.path, READERS, _further_rules())
        parsed = Source(kind, path, parsed.options)
    if parsed.kind not in READERS:
        raise LabelwiseError(
            f"{str(parsed)!r} of kind {parsed.kind!r}",
            f"one of {', '.join(f'{kind}:' for kind in READERS)}",
            advice(parsed.kind, READERS, otherwise="correct the SOURCE"),
        )
    reader = READERS[parsed.kind]
    for option in parsed.options:
        if option not in reader.options | _COMMON:
            known = ", ".join(sorted(reader.options | _COMMON))
            raise LabelwiseError(
                f"option {option!r} in {str(parsed)!r}", f"one of: {known}", "correct or remove the option"
            )
    return parsed


def read(source: str | Source) -> Dataset:
    """Reads a data set; missing images, unexpected values and contradictions raise with a list of them.

    Args:
        source: a SOURCE text such as `voc:DIR` or `csv:FILE?images=DIR`, or a bare path.

    Returns:
        the data set; its `.notes` are the decisions of the reader.

    Raises:
        LabelwiseError: if the source is not understood, or could only be read with a loss.
    """
    resolved = resolve(source)
    reader = READERS[resolved.kind]
    data = reader.read(resolved)
    if "names" not in reader.options:  # otherwise the reader has used it
        data = with_class_names(data, resolved)
    data = _with_rules(_with_val_as(data, resolved), resolved)
    data = replace(data, source=str(resolved), rows_in_source=data.rows_in_source or len(data))
    pa.default_memory_pool().release_unused()  # returns the memory of the reading to the system
    doubts = [*doubtful_names(data, resolved, reader.options | _COMMON), *unshared_names(data)]
    unseen = labels_without_training(data)
    if unseen:
        doubts.append(f"{len(unseen)} labels have positives outside train but none in train: {few(unseen)}.")
    return data.with_notes(*(note for note in doubts if not _is_noted(note, data.notes)))


def _is_noted(note: str, notes: Sequence[str]) -> bool:
    """Whether the data set already has a note, for instance from the table that it was read from."""
    return any(other.startswith(note.partition(";")[0]) for other in notes)


def _with_rules(data: Dataset, source: Source) -> Dataset:
    """The data set with the rules in the file of the option `rules`, and the cells that follow from them."""
    if "rules" not in source.options:
        return data
    file = Path(source.options["rules"])
    return with_rules(data, read_rules(file, data.labels.names), file.name)


def _with_val_as(data: Dataset, source: Source) -> Dataset:
    """The data set with its split `val` joined to train, or renamed to test if the source has no other test labels."""
    target = source.choice("val_as", ("keep", "train", "test"))
    if target == "keep":
        return data
    if not data.splits().get("val") or not data.splits().get("train"):
        raise LabelwiseError(
            f"val_as={target} in {str(source)!r}", "a source with train and val", "leave it out"
        )
    if target == "test" and data.splits().get("test"):
        raise LabelwiseError(
            f"val_as=test in {str(source)!r}, which has a test split",
            "one test split",
            "leave val_as=test out",
        )
    joined = {name: "train" if name == "val" and target == "train" else name for name in data.split_names}
    if target == "test":
        joined["val"] = "test"
    names = tuple(dict.fromkeys(joined.values()))
    codes = np.array([*(names.index(joined[name]) for name in data.split_names), -1])[data.split_of]
    change = {"train": "val was joined to train", "test": "val is called test"}[target]
    return data.with_split(codes, names).with_notes(f"The source's {change} (val_as={target}).")


def labels_without_training(data: Dataset) -> list[str]:
    """Labels with a known positive outside the split `train` and none inside it."""
    if data.split_of is None or "train" not in data.split_names:
        return []
    inside = data.split_of == data.split_names.index("train")
    outside = (data.split_of >= 0) & ~inside
    seen = {True: np.zeros(len(data.labels), bool), False: np.zeros(len(data.labels), bool)}
    for block in blocks(data):
        positive = data.known[block] & (data.values[block] >= 0.5)
        for trained, rows in ((True, inside[block]), (False, outside[block])):
            seen[trained] |= positive[rows].any(0)
        if seen[True].all():
            break
    return [data.labels.names[j] for j in np.flatnonzero(seen[False] & ~seen[True])]
