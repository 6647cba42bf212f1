"""JSON lines, or one list of objects: an image, and a list of names, an object of states, or one key per label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from labelwise.data.dataset import Dataset
from labelwise.data.imagefiles import is_image_name
from labelwise.data.readers.columns import OPTIONS as COLUMN_OPTIONS
from labelwise.data.readers.columns import dataset_of
from labelwise.data.readers.files import text_array
from labelwise.data.readers.image_labels import dataset_of_cells
from labelwise.data.readers.jsonl_labels import labels_of_names, plain_column, stated
from labelwise.data.readers.jsonl_rows import JsonRows, first_key, is_state, names_key, read_json_rows
from labelwise.data.readers.lines import first_object
from labelwise.data.readers.name_doubts import few, refuse_negatives
from labelwise.data.readers.roles import IMAGE
from labelwise.data.readers.split_cells import group_codes
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

FORM = "jsonl:FILE[,FILE][?image=KEY&labels=KEY&ignore=KEYS]"
MEANING = "JSON objects, one per line or in a list: an image, and names, an object of 1, 0 and null, or a key per label"
OPTIONS = COLUMN_OPTIONS
_OF_NAMES = ("separator", "none", "blank")
_OF_KEYS = ("absent", "present", "classes", "split", "group")
_OTHER_TOOLS = frozenset({"source-ref", "imageGcsUri", "dataItemResourceLabels"})


def recognises(path: Path) -> bool:
    """Whether a file's first object holds an image file and labels in one of the forms."""
    if not path.is_file():
        return False
    first = first_object(path)
    image = first_key(list(first), IMAGE)
    if image is None or not isinstance(first[image], str) or first.keys() & _OTHER_TOOLS:
        return False
    other_keys = [key for key in first if key != image and key.lower() not in ("split", "group")]
    states = bool(other_keys) and all(is_state(first[key]) for key in other_keys)
    names = names_key([first], other_keys, Source("jsonl", str(path)))
    return (states or names is not None) and is_image_name(first[image].partition("?")[0])


def read(source: Source) -> Dataset:
    """Reads JSON lines; see `labels_of_names` and `stated` for labels in one key, `dataset_of` for one key per label.

    Raises:
        LabelwiseError: a line of another format, with its number, keys without labels, or an option without effect.
    """
    lines = read_json_rows(source)
    _refuse_rejected(lines)
    key = names_key(lines.rows, lines.keys, source)
    if key is None:
        source.refuse_unused(("separator", "none"), "label names")
        return _dataset_of_keys(lines, source).with_notes(*_split_note(lines))
    source.refuse_unused(_OF_KEYS, "one key per label")
    notes = _split_note(lines)
    values = [row.get(key) for row in lines.rows]
    if any(isinstance(value, dict) for value in values):
        source.refuse_unused(_OF_NAMES, "label names")
        labels, cells, known = stated(values, key, lines.places, source, notes)
    else:
        labels, cells, known = labels_of_names(values, key, lines.places, source, notes)
    others = [name for name in lines.keys if name != key]
    if others:
        refuse_negatives(others, source)
        notes.append(f"Keys beside {key!r} that were left out: {few(others, 12)}.")
    groups = None
    if lines.groups is not None:
        groups = group_codes(pa.chunked_array([_text_array(lines.groups)]), notes)
    return dataset_of_cells(
        text_array(lines.images),
        labels,
        cells,
        known,
        source,
        [lines.folder, lines.folder / "images"],
        row_name=lines.places.__getitem__,
        splits=_text_array(lines.splits),
        group=groups,
        notes=notes,
    )


def _split_note(lines: JsonRows) -> list[str]:
    """A note on the key of the splits, unless it is called `split`."""
    key = lines.split_key
    is_renamed = key is not None and key.lower() != "split"
    return [f"The key {key!r} holds names of splits, and is read as the split."] if is_renamed else []


def _refuse_rejected(lines: JsonRows) -> None:
    """Raises `LabelwiseError` for lines that were rejected or ignored in Prodigy, since their labels do not hold."""
    if "answer" not in lines.keys:
        return
    answers = [row.get("answer") for row in lines.rows]
    pairs = zip(lines.places, answers, strict=True)
    rejected = [place for place, answer in pairs if answer in ("reject", "ignore")]
    texts = {answer for answer in answers if isinstance(answer, str | None)}
    if rejected and texts <= {"accept", "reject", "ignore", None}:
        raise LabelwiseError(
            f"{len(rejected):,} lines whose answer is reject or ignore, the first in {rejected[0]}",
            "lines that were accepted",
            "leave these lines out, or add ?ignore=answer to read all lines",
        )


def _text_array(texts: Sequence[str | None]) -> pa.Array:
    return pa.array(texts, pa.string())


def _dataset_of_keys(lines: JsonRows, source: Source) -> Dataset:
    """The data set of lines with one key per label, by the rules of a table."""
    if not lines.keys:
        raise LabelwiseError(
            f"{source.path} without labels",
            "a key of names, such as labels, or one key per label",
            "add the labels",
        )
    columns = {"image": text_array(lines.images)}
    for name, texts in (("split", lines.splits), ("group", lines.groups)):
        if texts is not None and any(texts):
            columns[name] = _text_array(texts)
    for name in lines.keys:
        if name in columns:
            raise LabelwiseError(
                f"a key {name!r} beside that of the image", "labels of other names", f"add ignore={name}"
            )
        columns[name] = plain_column([row.get(name) for row in lines.rows])
    used = ("image", "ignore")
    inner = Source(source.kind, source.path, {k: v for k, v in source.options.items() if k not in used})
    return dataset_of(pa.table(columns), inner, lines.folder, lines.places.__getitem__)
