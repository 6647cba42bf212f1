"""Annotations of a full JSON export of Label Studio: labels by control, for each annotation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from labelwise.data.imagefiles import is_image_name
from labelwise.errors import LabelwiseError

_IMAGE_KEYS = ("image", "img", "photo", "picture", "image_url", "url")
_PATH = " / "


class Box(NamedTuple):
    """A rectangle in percent of the upright image's width and height."""

    label: str
    sides: tuple[float, float, float, float]


@dataclass
class TaskAnnotation:
    """One annotation of a task, or a task without any.

    Args:
        place: its name in messages.
        image: as in the task.
        submitted: whether it was submitted, with or without labels.
        labels: chosen labels by control.
        boxes: rectangles by control.
        fields: other data of the task, such as `split` and `group`.
    """

    place: str
    image: str
    submitted: bool
    labels: dict[str, list[str]] = field(default_factory=dict)
    boxes: dict[str, list[Box]] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class ProjectAnnotations:
    """All annotations of a project.

    Args:
        answers: in the order of the file.
        regions: names of the controls of boxes and other regions.
        left_out: counts of entries without labels, by kind.
        notes: one sentence per decision.
    """

    answers: list[TaskAnnotation] = field(default_factory=list)
    regions: set[str] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(self, answer: TaskAnnotation, control: str, value: Any) -> bool:
        """Adds the labels of a result's value to an answer; returns whether it holds any kind of label.

        Raises:
            LabelwiseError: labels that are not a list of texts.
        """
        kind = label_kind(value)
        if kind is None:
            return False
        for name in _names(value[kind], kind == "taxonomy", f"{answer.place}, control {control!r}"):
            answer.labels.setdefault(control, []).append(name)
            if kind == "rectanglelabels":
                answer.boxes.setdefault(control, []).extend(_box(name, value, answer.place))
        if kind not in ("choices", "taxonomy"):
            self.regions.add(control)
        return True


def label_kind(value: Any) -> str | None:
    """The key of the labels in a result's value; `None` for text, ratings and bare regions."""
    if not isinstance(value, dict):
        return None
    return next((k for k in value if k in ("choices", "taxonomy", "labels") or k.endswith("labels")), None)


def _names(value: Any, taxonomy: bool, place: str) -> Iterator[str]:
    """The label names of a result; those of a taxonomy with their parents."""
    if isinstance(value, list):
        names = [_PATH.join(v) if taxonomy and _are_texts(v) else v for v in value]
        if _are_texts(names):
            yield from (name.strip() for name in names)
            return
    expected = "a list of paths, each a list of names" if taxonomy else "a list of label names"
    raise LabelwiseError(f"{place}: {json.dumps(value)[:80]}", expected, "correct the file")


def _are_texts(value: Any) -> bool:
    """Whether a value is a list of texts that are not blank."""
    return isinstance(value, list) and all(isinstance(item, str) and item.strip() for item in value)


def _box(name: str, value: Mapping[str, Any], place: str) -> Iterator[Box]:
    """The box of a rectangle; none for a rotated one."""
    if value.get("rotation"):  # its sides are not parallel to the image's: only its label is read
        return
    try:
        x, y, width, height = (float(value[key]) for key in ("x", "y", "width", "height"))
    except (KeyError, TypeError, ValueError):
        raise LabelwiseError(
            f"{place}: a rectangle with {json.dumps(value)[:120]}",
            "x, y, width and height in percent",
            "correct the file",
        ) from None
    yield Box(name, (x, y, x + width, y + height))


def tasks(content: Sequence[Any], image_key: str | None) -> ProjectAnnotations:
    """The annotations of the full JSON export.

    Args:
        content: its tasks.
        image_key: the key of the image in a task's data; `None`: the key with values that look like images.

    Raises:
        LabelwiseError: an entry of another kind, with its task.
    """
    data = []
    for number, task in enumerate(content, 1):
        task_data = task.get("data") if isinstance(task, dict) else None
        if not isinstance(task_data, dict):
            raise LabelwiseError(f"entry {number} without data", "a task with its data", "correct the file")
        data.append(task_data)
    export = ProjectAnnotations()
    key = image_column(data, image_key, export.notes)
    for number, (task, task_data) in enumerate(zip(content, data, strict=True), 1):
        place = f"task {task.get('id', number)}"
        image = image_of(task_data, key, place)
        for name in ("predictions", "drafts"):
            export.left_out[name] += len(task[name]) if isinstance(task.get(name), list) else 0
        submitted = 0
        for annotation in _entries(task.get("annotations", task.get("completions")), "annotations", place):
            if annotation.get("was_cancelled") or annotation.get("skipped"):
                export.left_out["skipped annotations"] += 1
                continue
            submitted += 1
            answer = TaskAnnotation(
                f"{place}, annotation {annotation.get('id', submitted)}", image, True, fields=task_data
            )
            for result in _entries(annotation.get("result"), "result", answer.place):
                control = result.get("from_name")
                if not isinstance(control, str) or not export.add(answer, control, result.get("value")):
                    export.left_out[f"results of type {result.get('type', 'relation')}"] += 1
            export.answers.append(answer)
        if not submitted:
            export.answers.append(TaskAnnotation(place, image, False, fields=task_data))
    return export


def _entries(value: Any, name: str, place: str) -> list[dict[str, Any]]:
    """A list of objects of a task; raises `LabelwiseError` for another value."""
    entries = [] if value is None else value
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise LabelwiseError(
            f"{place}: {name} {json.dumps(value)[:60]}", "a list of objects", "export with annotations"
        )
    return entries


def image_column(data: Sequence[Mapping[str, Any]], wanted: str | None, notes: list[str]) -> str:
    """The key of images: the wanted one, the only one with names of images, or the usual name.

    Args:
        data: of each task.
        wanted: the option `image`.
        notes: receives a sentence if several keys are possible.

    Raises:
        LabelwiseError: a wanted key that no task has, or none or several keys with names of images.
    """
    keys = list(dict.fromkeys(key for row in data for key in row))
    if wanted is not None:
        if wanted not in keys:
            raise LabelwiseError(f"image={wanted}", f"one of: {', '.join(keys)}", "correct the option")
        return wanted
    likely = [key for key in keys if holds_images([row.get(key) for row in data])]
    usual = [key for key in _IMAGE_KEYS if key in (likely or keys)]
    if len(likely) == 1:
        return likely[0]
    if usual:
        if likely:
            notes.append(f"Images are those of {usual[0]!r}; {', '.join(likely)} look like images too.")
        return usual[0]
    raise LabelwiseError(
        f"{len(likely) or 'no'} keys that hold images" + (f": {', '.join(likely)}" if likely else ""),
        "one key with the paths or URLs of images",
        f"name it with image=KEY; there are {', '.join(keys[:12])}",
    )


def holds_images(values: Sequence[Any]) -> bool:
    """Whether most texts among values end with the suffix of an image."""
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    named = sum(is_image_name(text) or is_image_name(text.partition("?")[0]) for text in texts)
    return bool(texts) and named * 2 > len(texts)


def image_of(row: Mapping[str, Any], key: str, place: str) -> str:
    """The image of a task's data; raises `LabelwiseError` if it is not a text."""
    image = row.get(key)
    if not isinstance(image, str) or not image.strip():
        raise LabelwiseError(
            f"{place} with {key} {json.dumps(image)[:60]}", "the path or URL of one image", "correct the task"
        )
    return image.strip()
