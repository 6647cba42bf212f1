"""Readers, one file per format: SOURCE -> Dataset. Reading is strict: nothing is dropped silently."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pyarrow as pa

from labelwise.data.dataset import Dataset
from labelwise.data.implied import with_rules
from labelwise.data.readers import (
    celeba,
    coco,
    csv,
    cvat,
    datumaro,
    digits,
    fiftyone,
    folder,
    hf,
    jsonl,
    labelstudio,
    nuswide,
    openimages,
    pa100k,
    packed,
    paddlex,
    parquet,
    peta,
    rapv1,
    rapv2,
    roboflow,
    sagemaker,
    tags,
    vertex,
    vg,
    voc,
    webdataset,
)
from labelwise.data.readers.class_names import with_class_names
from labelwise.data.readers.label_counts import unshared_names
from labelwise.data.readers.name_doubts import doubtful_names, few
from labelwise.data.readers.recognise import Rule, recognise
from labelwise.data.source import Source, parse
from labelwise.errors import LabelwiseError, first_line
from labelwise.rules import read_rules


@dataclass(frozen=True)
class Reader:
    """A format.

    Args:
        form: syntax of its SOURCE.
        meaning: description in one line.
        options: names of its options.
        read: function that reads it.
    """

    form: str
    meaning: str
    options: frozenset[str]
    read: Callable[[Source], Dataset]


_MODULES = (
    voc,
    coco,
    csv,
    parquet,
    packed,
    folder,
    jsonl,
    labelstudio,
    cvat,
    datumaro,
    fiftyone,
    paddlex,
    tags,
    roboflow,
    hf,
    webdataset,
    sagemaker,
    vertex,
    openimages,
    celeba,
    nuswide,
    vg,
    peta,
    pa100k,
    rapv1,
    rapv2,
    digits,
)
READERS: Mapping[str, Reader] = {
    module.__name__.rpartition(".")[2]: Reader(module.FORM, module.MEANING, module.OPTIONS, module.read)
    for module in _MODULES
}
_COMMON = frozenset({"val_as", "names", "rules"})
_BLOCK = 65536  # rows


ENTRY_POINTS = "labelwise.readers"
"""Group under which another package registers a reader: an object with FORM, MEANING, OPTIONS and read."""


def reader_named(kind: str) -> Reader | None:
    """The reader of a kind, built in or registered by an installed package; `None` for an unknown kind.

    Raises:
        LabelwiseError: a registered reader that cannot be loaded.
    """
    if kind in READERS:
        return READERS[kind]
    entry = next((entry for entry in entry_points(group=ENTRY_POINTS) if entry.name == kind), None)
    if entry is None:
        return None
    try:
        loaded = entry.load()
        return Reader(loaded.FORM, loaded.MEANING, frozenset(loaded.OPTIONS), loaded.read)
    except (ImportError, AttributeError, TypeError) as error:
        raise LabelwiseError(
            f"reader {kind!r} of {entry.value} ({first_line(error)})",
            "an object with FORM, MEANING, OPTIONS and read",
            "correct or remove the package that registers it",
        ) from None


def kinds() -> list[str]:
    """Names of all kinds, the built-in ones first."""
    return [*READERS, *sorted({e.name for e in entry_points(group=ENTRY_POINTS)} - set(READERS))]


def _registered_rules() -> list[Rule]:
    """Rules of registered readers that recognise their files by `recognises(path) -> bool`."""
    rules = []
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            recognises = getattr(entry.load(), "recognises", None)
        except (ImportError, AttributeError):
            continue  # `reader_named` reports the fault if the kind is used
        if recognises is not None and entry.name not in READERS:
            rules.append(Rule(entry.name, recognises))
    return rules


def resolve(source: str | Source) -> Source:
    """The parsed SOURCE with its kind recognised and its options checked.

    Raises:
        LabelwiseError: for an unknown kind or option, or a bare path that no reader recognises.
    """
    parsed = parse(source) if isinstance(source, str) else source
    if not parsed.kind:
        kind, path = recognise(parsed.path, kinds(), _registered_rules())
        parsed = Source(kind, path, parsed.options)
    reader = reader_named(parsed.kind)
    if reader is None:
        raise LabelwiseError(
            f"{str(parsed)!r} of kind {parsed.kind!r}",
            f"one of {', '.join(f'{kind}:' for kind in kinds())}",
            "correct the SOURCE",
        )
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
    reader = reader_named(resolved.kind)
    assert reader is not None  # resolve refuses an unknown kind
    data = reader.read(resolved)
    if "names" not in reader.options:  # otherwise the reader has used it
        data = with_class_names(data, resolved)
    data = _with_rules(_val_as(data, resolved), resolved)
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


def _val_as(data: Dataset, source: Source) -> Dataset:
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
    for start in range(0, len(data), _BLOCK):  # in blocks, to avoid a copy of all cells
        part = slice(start, start + _BLOCK)
        positive = data.known[part] & (data.values[part] >= 0.5)
        for trained, rows in ((True, inside[part]), (False, outside[part])):
            seen[trained] |= positive[rows].any(0)
        if seen[True].all():
            break
    return [data.labels.names[j] for j in np.flatnonzero(seen[False] & ~seen[True])]
