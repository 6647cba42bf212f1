"""Label Studio: the JSON export, JSON_MIN, CSV and TSV of image tasks with choices or labelled regions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa

from labelwise.data.dataset import Dataset
from labelwise.data.readers.boxes import LabelBox
from labelwise.data.readers.exports import beginning, export_file, json_content
from labelwise.data.readers.files import files_there
from labelwise.data.readers.image_labels import ImageLabels, dataset_of_images
from labelwise.data.readers.labelstudio_answers import ProjectAnnotations, TaskAnnotation, tasks
from labelwise.data.readers.labelstudio_rows import annotations_of_rows, table_rows
from labelwise.data.readers.locate import locate
from labelwise.data.readers.split_cells import group_codes
from labelwise.data.readers.split_names import are_splits, canonical
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError
from labelwise.types import Group

FORM = "labelstudio:FILE[?images=DIR&control=NAME&blank=negative]"
MEANING = "a Label Studio export: JSON, JSON_MIN, CSV or TSV; labels of an unanswered task are unknown"
OPTIONS = frozenset({"images", "control", "image", "blank", "duplicates", "missing"})

_EXPECTED = "a Label Studio export (JSON, JSON_MIN, CSV or TSV)"
_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")  # the prefix that Label Studio adds to names of uploaded files
_TASKS = re.compile(r'\[\s*\{.*"(annotations|completions)"\s*:\s*\[', re.DOTALL)
_TASK_KEYS = re.compile(r'"data"\s*:\s*\{|"(from_name|completed_by|was_cancelled)"\s*:')


def recognises(path: Path) -> bool:
    """Whether a file is an export of Label Studio."""
    text = beginning(path).lstrip() if path.is_file() else ""
    if text.startswith("["):
        if _TASKS.match(text) and _TASK_KEYS.search(text):
            return True
        return '"annotation_id":' in text and '"lead_time":' in text
    header = text.partition("\n")[0]
    columns = {name.strip().strip('"') for name in re.split(r"[,;\t]", header)}
    return {"annotation_id", "annotator", "created_at", "lead_time", "updated_at"} <= columns


def read(source: Source) -> Dataset:
    """Reads an export; labels are those that occur, since the export does not list those that were offered.

    Each annotation is a row; agreeing rows of one image are merged. Labels of an unanswered control are unknown; a
    label of a region control is absent without a region.

    Raises:
        LabelwiseError: a file of another kind, no choices, or contradictions between annotators.
    """
    blank = source.choice("blank", ("unknown", "negative"))
    export = _export(source)
    names = _label_names(export, source.names("control"))
    notes = [*export.notes, *_notes(export, names, blank)]
    images, root = _located([answer.image for answer in export.answers], source, notes)
    items = [
        replace(_item(answer, names, export.regions, blank == "negative"), image=image)
        for answer, image in zip(export.answers, images, strict=True)
    ]
    rows = _rows_to_read(items)
    items = [items[row] for row in rows]
    answers = [export.answers[row] for row in rows]
    items, group = _with_splits(items, answers, notes)
    noted = sum(not item.known and answer.submitted for item, answer in zip(items, answers, strict=True))
    return dataset_of_images(
        items,
        source,
        [root],
        group=group,
        groups=_groups(answers, names, source) if len(names) > 1 else None,
        notes=notes,
        noted=noted,
    )


def _export(source: Source) -> ProjectAnnotations:
    """The annotations of an export in any of its four forms."""
    file = export_file(source, _EXPECTED)
    image, control = source.options.get("image"), source.names("control")
    first_character = beginning(file).lstrip()[:1]
    if first_character not in ("[", "{"):
        content, note = table_rows(file)
        _refuse_other(file, list(content[0]))
        export = annotations_of_rows(content, 2, image, control)
        export.notes += [note] if note else []
        return export
    content = json_content(file, _EXPECTED)
    if not isinstance(content, list) or not content:
        given = "an empty list" if content == [] else "no list"
        raise LabelwiseError(f"{file} with {given} on top", _EXPECTED, "check the file")
    first = content[0] if isinstance(content[0], dict) else {}
    if "annotations" in first or "completions" in first or isinstance(first.get("data"), dict):
        return tasks(content, image)
    _refuse_other(file, list(first))
    return annotations_of_rows(content, 1, image, control)


def _refuse_other(file: Path, keys: list[str]) -> None:
    """Raises `LabelwiseError` for rows without the columns of an export."""
    if "annotation_id" not in keys:
        listed = ", ".join(keys[:8]) or "no names"
        raise LabelwiseError(f"{file} with {listed}, without annotation_id", _EXPECTED, "check the file")


def _rows_to_read(items: Sequence[ImageLabels]) -> list[int]:
    """Indices of the rows, without rows of unknown labels if another row of the image has labels."""
    known = {item.image for item in items if item.known}
    rows = []
    for row, item in enumerate(items):
        if item.known or item.image not in known:
            known.add(item.image)
            rows.append(row)
    return rows


def _with_splits(
    items: list[ImageLabels], answers: Sequence[TaskAnnotation], notes: list[str]
) -> tuple[list[ImageLabels], np.ndarray | None]:
    """The items with the splits of their tasks, and the code of each one's group; our writer stores both in tasks."""
    splits = [answer.fields.get("split") for answer in answers]
    if are_splits(splits, least=1):
        notes.append("The key 'split' of the tasks holds names of splits, and is read as the split.")
        items = [replace(item, split=canonical(text) or "") for item, text in zip(items, splits, strict=True)]
    elif any(isinstance(text, str) for text in splits):
        notes.append(
            "The key 'split' of the tasks holds other values than train, val and test: it was left out."
        )
    groups = [answer.fields.get("group") for answer in answers]
    if not any(isinstance(name, str | int) for name in groups):
        return items, None
    notes.append("The key 'group' of the tasks is the group of their images: a group stays in one split.")
    texts = pa.array([str(name) if isinstance(name, str | int) else None for name in groups], pa.string())
    return items, group_codes(pa.chunked_array([texts]), notes)


def _label_names(export: ProjectAnnotations, wanted: Sequence[str]) -> dict[str, dict[str, str]]:
    """For each control, its labels that occur, sorted, with their names in the data set."""
    occurring: dict[str, set[str]] = {}
    for answer in export.answers:
        for control, labels in answer.labels.items():
            occurring.setdefault(control, set()).update(labels)
    for name in wanted:
        if name not in occurring:
            known = ", ".join(occurring) or "none"
            raise LabelwiseError(
                f"control={name}, which has no labels", f"controls with labels: {known}", "correct the option"
            )
    if not occurring:
        raise LabelwiseError(
            "an export without a single label",
            "annotations with choices or labelled regions",
            "annotate first",
        )
    chosen = list(wanted) or list(occurring)
    count: dict[str, int] = {}
    for control in chosen:
        for name in occurring[control]:
            count[name] = count.get(name, 0) + 1
    shared = {control for control in chosen if any(count[name] > 1 for name in occurring[control])}
    return {
        control: {n: f"{control}: {n}" if control in shared else n for n in sorted(occurring[control])}
        for control in chosen
    }


def _notes(export: ProjectAnnotations, names: Mapping[str, Mapping[str, str]], blank: str) -> list[str]:
    """What was left out or renamed, for the user."""
    notes = [
        "Labels are those that occur: the export does not list those that were offered and never chosen."
    ]
    prefixed = [c for c, labels in names.items() if any(old != new for old, new in labels.items())]
    if prefixed:
        notes.append(
            f"Controls share names of labels, which are prefixed with the control: {', '.join(prefixed)}."
        )
    others = {control for answer in export.answers for control in answer.labels} - set(names)
    if others:
        notes.append(f"Controls left out: {', '.join(sorted(others))}.")
    left_out = ", ".join(f"{count:,} {what}" for what, count in export.left_out.items() if count)
    if left_out:
        notes.append(f"Entries without a label were left out: {left_out}.")
    questions = [control for control in names if control not in export.regions]
    empty = sum(
        answer.submitted and any(not answer.labels.get(control) for control in questions)
        for answer in export.answers
    )
    where = "without a choice" if len(questions) == 1 else "without a choice of each control"
    meaning = "labels are unknown; blank=negative reads them as absent" if blank == "unknown" else "no label"
    if empty:
        notes.append(f"{empty:,} annotations were submitted {where}: {meaning}.")
    return notes


def _item(
    answer: TaskAnnotation, names: Mapping[str, Mapping[str, str]], regions: set[str], blank_is_absent: bool
) -> ImageLabels:
    """The labels of one answer; `names` gives the label of each control and choice."""
    present: dict[str, None] = {}
    absent: list[str] = []
    for control, labels in names.items():
        chosen = set(answer.labels.get(control, ()))
        present.update(dict.fromkeys(labels[name] for name in labels if name in chosen))
        if chosen or (answer.submitted and (blank_is_absent or control in regions)):
            absent += [labels[name] for name in labels if name not in chosen]
    pairs = ((labels, box) for control, labels in names.items() for box in answer.boxes.get(control, ()))
    boxes = [LabelBox(labels[box.label], box.sides, (100.0, 100.0)) for labels, box in pairs]
    known = bool(present or absent)
    return ImageLabels(
        answer.image, tuple(present), tuple(absent), known=known, place=answer.place, boxes=boxes
    )


def _located(names: list[str], source: Source, notes: list[str]) -> tuple[list[str], Path]:
    """Images as they are on this disk; an uploaded one is also searched by its name before the upload."""
    folder = Path(source.path).parent
    array, root = locate(names, source, [folder, folder / "images"], notes)
    paths: list[str] = array.to_pylist()
    exist = files_there(array, str(root))
    bare = {name: _UPLOAD.sub("", _file_name(name)) for name in set(paths) if _UPLOAD.match(_file_name(name))}
    absent = sorted({name for name, exists in zip(paths, exist, strict=True) if not exists and name in bare})
    uploads = Counter(bare[name] for name in absent)
    absent = [name for name in absent if uploads[bare[name]] == 1]  # two uploads may be two images
    matches, _ = locate([bare[name] for name in absent], source.with_option("images", str(root)), [root], [])
    used = {name for name, exists in zip(paths, exist, strict=True) if exists}
    results = zip(absent, matches.to_pylist(), files_there(matches, str(root)), strict=True)
    renamed = {name: file for name, file, exists in results if exists and file not in used}
    if renamed:
        name = next(name for name in paths if name in renamed)
        notes.append(
            f"{len(renamed):,} images are matched without the prefix of an upload: {name} is {renamed[name]}."
        )
    return [renamed.get(name, name) for name in paths], root


def _file_name(image: str) -> str:
    """The last part of a path or URL, decoded."""
    path = image if "?d=" in image else image.partition("?")[0]
    return unquote(path.replace("\\", "/").rpartition("/")[2])


def _groups(
    answers: Sequence[TaskAnnotation], names: Mapping[str, Mapping[str, str]], source: Source
) -> dict[str, Group]:
    """A group for each control, exclusive unless an annotation has two of its labels."""
    union = source.options.get("duplicates") == "union"
    return {
        control: Group(
            tuple(labels.values()),
            not union and all(len(set(answer.labels.get(control, ()))) < 2 for answer in answers),
        )
        for control, labels in names.items()
    }
