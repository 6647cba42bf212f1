"""Label Studio: tasks to import, with labels as annotations or predictions, and the labelling configuration."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np

from labelwise.data.readers.name_doubts import few
from labelwise.data.source import Source
from labelwise.data.wholefile import whole_folder
from labelwise.data.writers.images import absolute_paths, common_root, copy_images, names_from
from labelwise.data.writers.job import Job, Written, lost_parts, refuse_shares
from labelwise.data.writers.predictions import ImagePrediction, read_answers
from labelwise.errors import LabelwiseError

MEANING = "tasks.json and config.xml for Label Studio; annotations of known labels, predictions of a model"
SUFFIXES = ("",)
IMAGES = ("paths", "copy")
OPTIONS = frozenset({"predictions", "url_prefix"})
LOCAL_FILES = "/data/local-files/?d="
"""URL prefix of Label Studio for a file below its folder of local files."""
_CONTROL, _OBJECT = "labels", "image"


def write(job: Job) -> Written:
    """Writes `OUT/tasks.json` and `OUT/config.xml`.

    An image with only known labels becomes an annotation. One with partly known labels becomes a prediction to start
    from, as a missing choice means absent in Label Studio; a model's prediction fills in unknown labels. One without
    known labels is a task, with the model's prediction if there is one.

    Raises:
        LabelwiseError: shares, predictions only of other images, or images inside the data set without `copy`.
    """
    data = job.data
    refuse_shares(data, "Label Studio")
    notes = lost_parts(data, "the tasks", "boxes", "sets")
    answers = read_answers(job.predictions) if job.predictions is not None else []
    with whole_folder(job.out) as folder:
        if job.images == "copy":
            root, names = Path(os.path.abspath(job.out / "images")), copy_images(job, folder / "images")
            paths = names if data.embedded else absolute_paths(job)
        else:
            paths = absolute_paths(job)
            root = common_root(job, paths)
            names = names_from(paths, root)
        by_row = _answers_by_row(job, paths, answers, notes)
        labels = list(dict.fromkeys([*data.labels, *(n for a in by_row.values() for n in a.selected or ())]))
        if len(labels) > len(data.labels):
            notes.append(f"Labels only in the predictions: {few(labels[len(data.labels) :])}.")
        tasks = Tasks(job, [_url(job, root, name) for name in names], by_row)
        with open(folder / "tasks.json", "w", encoding="utf-8", newline="\n") as stream:
            separator = "[\n"
            for task in tasks:
                stream.write(separator + json.dumps(task, ensure_ascii=False))
                separator = ",\n"
            stream.write("\n]\n")
        (folder / "config.xml").write_text(configuration(labels), encoding="utf-8")
    notes += tasks.notes()
    if not tasks.labelled:
        notes.append(
            "labelwise does not read these tasks, as no annotation has a label: write .csv or .parquet for that."
        )
    if job.url_prefix is None:
        notes.append(
            f"Start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
            f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={root}, and add a folder there as local storage."
        )
    return Written(job.out, ("tasks.json", "config.xml"), tuple(notes), _source(job, tasks, root))


def configuration(labels: Sequence[str]) -> str:
    """The labelling configuration: an image with multiple choices.

    >>> print(configuration(["dog"]))
    <View>
      <Image name="image" value="$image" />
      <Choices name="labels" toName="image" choice="multiple" showInline="true">
        <Choice value="dog" />
      </Choices>
    </View>
    <BLANKLINE>
    """
    for label in labels:
        if any(letter < " " and letter not in "\t\n\r" for letter in label):
            raise LabelwiseError(f"label {label!r}", "a name that XML can hold", "rename the label")
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name=_OBJECT, value="$image")
    choices = ElementTree.SubElement(
        view, "Choices", name=_CONTROL, toName=_OBJECT, choice="multiple", showInline="true"
    )
    for label in labels:
        ElementTree.SubElement(choices, "Choice", value=label)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def _url(job: Job, root: Path, name: str) -> str:
    """The address of an image in a task."""
    prefix = LOCAL_FILES if job.url_prefix is None else job.url_prefix
    return prefix + quote(name if not os.path.isabs(name) else os.path.relpath(name, root))


def _answers_by_row(
    job: Job, paths: Sequence[str], answers: Sequence[ImagePrediction], notes: list[str]
) -> Mapping[int, ImagePrediction]:
    """The answer for each row; images are named as in the data set, or by paths relative to the current folder.

    Raises:
        LabelwiseError: answers for other images only.
    """
    if not answers:
        return {}
    row_of = {job.data.image_id(row): row for row in range(len(job.data))}
    row_of |= {path: row for row, path in enumerate(paths)}
    by_row, others = dict[int, ImagePrediction](), list[str]()
    for answer in answers:
        row = row_of.get(os.path.abspath(answer.image), row_of.get(answer.image))
        if row is None:
            others.append(answer.image)
        elif answer.selected is not None:
            by_row[row] = answer
    if len(others) == len(answers):
        raise LabelwiseError(
            f"{job.predictions} with {few(others, 3)}",
            f"images of the data set, such as {paths[0]}",
            "predict on those, or run this in the folder of `labelwise predict`",
        )
    if others:
        notes.append(f"{len(others):,} predictions of other images are left out: {few(others, 3)}.")
    if len(by_row) < len(job.data):
        notes.append(f"{len(job.data) - len(by_row):,} images have no prediction.")
    return by_row


def _source(job: Job, tasks: Tasks, root: Path) -> Source | None:
    """The source that reads the annotations; `None` without labels in them."""
    if not tasks.labelled:
        return None
    options = {"images": str(root), **({"blank": "negative"} if tasks.counts["empty"] else {})}
    return Source("labelstudio", str(job.out / "tasks.json"), options)


class Tasks:
    """The tasks of a data set, in the order of its rows.

    Args:
        job: its data set has hard labels.
        urls: of the images.
        answers: predictions of a model, by row.
    """

    def __init__(self, job: Job, urls: Sequence[str], answers: Mapping[int, ImagePrediction]) -> None:
        self._data, self._urls, self._answers = job.data, urls, answers
        self._positive = job.data.positive
        self.counts: Counter[str] = Counter()
        self.labelled = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in range(len(self._data)):
            known = self._data.known[row]
            task: dict[str, Any] = {"data": self._fields(row)}
            if known.all():
                names = self._names(self._positive[row])
                self.counts["annotations"] += 1
                self.counts["empty"] += not names
                self.labelled |= bool(names)
                task["annotations"] = [{"result": _choices(names)}]
            prediction = self._prediction(row, known)
            if prediction is not None:
                task["predictions"] = [prediction]
            yield task

    def notes(self) -> list[str]:
        """Sentences on the tasks."""
        notes = []
        if self.counts["empty"]:
            notes.append(
                f"{self.counts['empty']:,} annotations have no choice, as every label is absent; tools may read "
                "them as unlabelled."
            )
        if self.counts["partly"]:
            notes.append(
                f"{self.counts['partly']:,} images with some unknown labels are not annotations, as a missing "
                "choice means absent: their known labels are a prediction to start from."
            )
        return notes

    def _fields(self, row: int) -> dict[str, Any]:
        """The data of a task: the address of its image, its split and its group."""
        fields: dict[str, Any] = {_OBJECT: self._urls[row]}
        if self._data.split_of is not None and self._data.split_of[row] >= 0:
            fields["split"] = self._data.split_names[self._data.split_of[row]]
        if self._data.group is not None:
            fields["group"] = int(self._data.group[row])
        return fields

    def _names(self, selected: np.ndarray) -> list[str]:
        """Names of the selected labels."""
        return [self._data.labels.names[j] for j in np.flatnonzero(selected)]

    def _prediction(self, row: int, known: np.ndarray) -> dict[str, Any] | None:
        """The model's prediction, overridden by the known labels of a partly known image, or only these."""
        partly = bool(known.any() and not known.all())
        self.counts["partly"] += partly
        present = self._names(self._positive[row]) if partly else []
        answer = self._answers.get(row)
        if answer is None:
            return {"model_version": "known labels", "result": _choices(present)} if present else None
        absent = set(self._names(known & ~self._positive[row])) if partly else set()
        selected = [name for name in answer.selected or () if name not in absent]
        names = list(dict.fromkeys([*selected, *present]))
        return {"model_version": "labelwise", "score": _score(answer, selected), "result": _choices(names)}


def _score(answer: ImagePrediction, selected: Sequence[str]) -> float:
    """The lowest probability of the selected labels; without any, 1 minus the highest of all."""
    lowest = min((answer.scores[name] for name in selected), default=None)
    return round(1 - max(answer.scores.values(), default=0.0) if lowest is None else lowest, 6)


def _choices(names: Sequence[str]) -> list[dict[str, Any]]:
    """Choices as the result of a task; empty without any."""
    value = {"choices": list(names)}
    entry = {"id": _CONTROL, "from_name": _CONTROL, "to_name": _OBJECT, "type": "choices", "value": value}
    return [entry] if names else []
