"""Augmented manifests of SageMaker Ground Truth and Rekognition: JSON lines with one attribute per labelling job."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from labelwise.data.dataset import Dataset
from labelwise.data.readers.image_labels import ImageLabels, dataset_of_images
from labelwise.data.readers.lines import JsonLine, first_object, json_lines
from labelwise.data.readers.name_doubts import few
from labelwise.data.readers.name_lists import is_multi_hot
from labelwise.data.readers.name_pieces import refuse_states
from labelwise.data.readers.several import files_with_splits
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

FORM = "sagemaker:FILE.manifest[,MORE.manifest][?job=NAME]"
MEANING = (
    "augmented manifests of SageMaker Ground Truth or Rekognition; names of several files set the splits"
)
OPTIONS = frozenset({"images", "job", "duplicates", "missing"})
IMAGE = "source-ref"
_METADATA = "-metadata"
_KINDS = {
    "groundtruth/image-classification-multilabel": "several",
    "groundtruth/image-classification": "one",
    "groundtruth/object-detection": "boxes",
}


@dataclass
class LabelJob:
    """An attribute that holds labels.

    Args:
        kind: `several` ids, `one` id, `boxes` with ids, or `plain` ids without metadata.
        names: name of each id, from the class maps.
        named: names in the metadata of single answers, in the order of the lines.
    """

    kind: str
    names: dict[str, str] = field(default_factory=dict)
    named: dict[str, None] = field(default_factory=dict)


def recognises(path: Path) -> bool:
    """Whether a file's first line is an object with `source-ref` and a labelling job's metadata."""
    if not path.is_file():
        return False
    first = first_object(path)
    return isinstance(first.get(IMAGE), str) and any(
        name.endswith(_METADATA) and isinstance(first[name], dict) for name in first
    )


def read(source: Source) -> Dataset:
    """Reads manifests; labels of a line are unknown if the job failed on it or has not reached it.

    Raises:
        LabelwiseError: a line of another format, with its number, a file without labels, or several jobs without the
            option `job`.
    """
    lines: list[JsonLine] = []
    splits: list[str] = []
    files = files_with_splits(source, "an augmented manifest")
    for file, split in files:
        lines += [replace(line, place=f"{file.name}, {line.place}") for line in json_lines(file)]
        splits += [split] * (len(lines) - len(splits))
    notes = ["A label that a job did not choose is absent."]
    jobs = _jobs(lines, notes)
    chosen = _chosen(jobs, source, notes)
    for name in chosen:
        _read_names(name, jobs[name], lines)
    one_label_each = len(chosen) > 1 and "job" not in source.options
    if one_label_each:
        _refuse_several(jobs, source)
        notes.append(f"{len(chosen):,} jobs of one label each: a label is absent where a line lacks its job.")
    plain = [name for name in chosen if jobs[name].kind == "plain"]
    multi_hot = {name for name in plain if _is_multi_hot(name, jobs[name], lines)}
    if multi_hot:
        notes.append(f"Lists of 0 and 1 in {few(sorted(multi_hot))}: labels are numbered from 0.")
    items = []
    for split, line in zip(splits, lines, strict=True):
        answers = {name: _answer(name, jobs[name], line, name in multi_hot) for name in chosen}
        items.append(_item(line, answers, jobs, one_label_each, split))
    if any(jobs[name].kind == "boxes" for name in chosen):
        notes.append("Of boxes only the presence of their labels is read.")
    return dataset_of_images(
        items, source, [files[0][0].parent], labels=_labels(jobs, chosen, items), notes=notes
    )


def _jobs(lines: Sequence[JsonLine], notes: list[str]) -> dict[str, LabelJob]:
    """The attributes that hold labels: those with metadata of a known kind, else those of plain ids."""
    jobs: dict[str, LabelJob] = {}
    others: dict[str, str] = {}
    plain: dict[str, None] = {}
    for line in lines:
        if not isinstance(line.content.get(IMAGE), str) or not line.content[IMAGE].strip():
            raise LabelwiseError(
                f"{line.place} without {IMAGE}", "the image's address in each line", "correct the line"
            )
        for key, value in line.content.items():
            metadata = line.content.get(f"{key}{_METADATA}")
            if isinstance(metadata, dict):
                kind = _kind(metadata)
                if kind:
                    jobs.setdefault(key, LabelJob(kind))
                    _refuse_other_kind(key, jobs[key].kind, kind, line.place)
                elif "failure-reason" not in metadata:
                    others.setdefault(key, str(metadata.get("type")))
            elif not key.endswith((_METADATA, "-ref")) and type(value) in (int, str, list):
                plain.setdefault(key)
    if jobs:
        if others:
            notes.append(
                f"Left out, as they are not labels of images: {few([f'{k} ({v})' for k, v in others.items()])}."
            )
        left_out = [key for key in plain if key not in jobs]
        if left_out:
            notes.append(f"Left out, as they have no metadata of a labelling job: {few(left_out)}.")
        return jobs
    if plain:
        return {key: LabelJob("plain") for key in plain}
    kinds = f": {few([f'{k} is of type {v}' for k, v in others.items()])}" if others else ""
    raise LabelwiseError(
        f"{lines[0].place.rpartition(',')[0]} without labels of images{kinds}",
        f"a job of type {', '.join(_KINDS)}",
        "check the file",
    )


def _kind(metadata: Mapping[str, Any]) -> str:
    """The kind of a job by its metadata; empty for a job of another kind."""
    if "type" in metadata:
        return _KINDS.get(str(metadata["type"]), "")
    if "class-name" in metadata:
        return "one"
    return "several" if "class-map" in metadata and "objects" not in metadata else ""


def _refuse_other_kind(key: str, first: str, kind: str, place: str) -> None:
    """Raises `LabelwiseError` for a job of another kind than in its first line."""
    if kind != first:
        raise LabelwiseError(
            f"{place}: {key!r} of another type than in earlier lines", "one type per job", "correct the line"
        )


def _chosen(jobs: Mapping[str, LabelJob], source: Source, notes: list[str]) -> list[str]:
    """Names of the jobs to read: those of the option `job`, else all."""
    names = list(dict.fromkeys(source.names_among("job", jobs, "one of")))
    if names:
        left_out = [name for name in jobs if name not in names]
        if left_out:
            notes.append(f"Jobs that were left out: {few(left_out)}.")
        return names
    return list(jobs)


def _refuse_several(jobs: Mapping[str, LabelJob], source: Source) -> None:
    """Refuses several jobs unless each has a single label, as Rekognition writes them."""
    if not all(job.kind == "one" and len(job.named) == 1 for job in jobs.values()):
        raise LabelwiseError(
            f"{source.path} with the jobs {', '.join(list(jobs)[:12])}",
            "one job, or several listed by the option job",
            f"choose with job={next(iter(jobs))}, or list several separated by commas",
        )


def _read_names(name: str, job: LabelJob, lines: Sequence[JsonLine]) -> None:
    """Adds the names in a job's metadata to the job."""
    for line in lines:
        place, metadata = line.place, line.content.get(f"{name}{_METADATA}")
        if not isinstance(metadata, dict):
            continue
        if "class-name" in metadata:
            job.named.setdefault(_label_name(metadata["class-name"], f"{place}: class-name of {name!r}"))
        class_map = metadata.get("class-map", {})
        if not isinstance(class_map, dict):
            raise LabelwiseError(f"{place}: class-map of {name!r}", "names by id", "correct the line")
        for key, value in class_map.items():
            label = _label_name(value, f"{place}: class-map of {name!r}")
            if job.names.setdefault(key, label) != label:
                raise LabelwiseError(
                    f"{place}: id {key} of {name!r} is {label!r}, and {job.names[key]!r} in an earlier line",
                    "one name per id",
                    "correct the class maps",
                )


def _label_name(value: Any, place: str) -> str:
    """The name of a label, stripped; raises `LabelwiseError` unless it is a text."""
    if not isinstance(value, str) or not value.strip():
        raise LabelwiseError(f"{place} is {value!r}"[:200], "a label's name", "correct the line")
    return value.strip()


def _answer(name: str, job: LabelJob, line: JsonLine, multi_hot: bool) -> list[str] | None:
    """Names of a job's labels for a line; `None` if the job failed or has not reached it."""
    value, place = line.content.get(name), line.place
    metadata = line.content.get(f"{name}{_METADATA}")
    if value is None or (isinstance(metadata, dict) and "failure-reason" in metadata):
        return None
    if job.kind == "one" and isinstance(metadata, dict) and "class-name" in metadata:
        return [str(metadata["class-name"]).strip()]
    if job.kind == "boxes":
        boxes = value.get("annotations") if isinstance(value, dict) else None
        if not isinstance(boxes, list) or not all(
            isinstance(box, dict) and "class_id" in box for box in boxes
        ):
            raise LabelwiseError(
                f"{place}: {name!r} without boxes", "annotations with a class_id", "correct the line"
            )
        value = [box["class_id"] for box in boxes]
    ids = _ids(value, f"{place}: {name!r}")
    if multi_hot:
        ids = [str(number) for number, cell in enumerate(ids) if cell == "1"]
    return [job.names.get(key, key) for key in ids]


def _ids(value: Any, place: str) -> list[str]:
    """Ids as text, from a list, one id, or a list written as text."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    ids = value if isinstance(value, list) else [value]
    if not all(isinstance(key, int | str) and not isinstance(key, bool) and str(key).strip() for key in ids):
        raise LabelwiseError(
            f"{place} holds {value!r}"[:200], "a class id, or a list of them", "correct the line"
        )
    return [str(key).strip() for key in ids]


def _is_multi_hot(name: str, job: LabelJob, lines: Sequence[JsonLine]) -> bool:
    """Whether lists hold 0 or 1 for all labels, not ids; if so, labels are named by their place."""
    filled = (line for line in lines if line.content.get(name) is not None)
    rows = [_ids(line.content[name], f"{line.place}: {name!r}") for line in filled]
    binary = all(set(row) <= {"0", "1"} for row in rows)
    if not binary or not is_multi_hot([tuple(map(int, row)) for row in rows], name):
        refuse_states({key for row in rows for key in row}, rows, repr(name))
        return False
    job.names.update((str(number), str(number)) for number in range(len(rows[0])))
    return True


def _item(
    line: JsonLine,
    answers: Mapping[str, list[str] | None],
    jobs: Mapping[str, LabelJob],
    closed: bool,
    split: str,
) -> ImageLabels:
    """The labels of a line; those of jobs without an answer are unknown unless the jobs are `closed`."""
    labels = ImageLabels(line.content[IMAGE].strip(), split=split, place=line.place)
    present = list(dict.fromkeys(label for names in answers.values() for label in names or ()))
    if closed or all(names is not None for names in answers.values()):
        return replace(labels, present=present)
    answered = [jobs[name] for name, names in answers.items() if names is not None]
    if not answered:
        return replace(labels, known=False)
    checked = dict.fromkeys(label for job in answered for label in (*job.names.values(), *job.named))
    return replace(labels, present=present, absent=[label for label in checked if label not in present])


def _labels(jobs: Mapping[str, LabelJob], chosen: Sequence[str], items: Iterable[ImageLabels]) -> list[str]:
    """Labels job by job, in ascending order of their ids, followed by labels that are named by their ids."""
    labels: dict[str, None] = {}
    for name in chosen:
        for key in sorted(jobs[name].names, key=_id_order):
            labels.setdefault(jobs[name].names[key])
        for label in sorted(jobs[name].named):
            labels.setdefault(label)
    more = {label for item in items for label in item.present} - labels.keys()
    return [*labels, *sorted(more, key=_id_order)]


def _id_order(key: str) -> tuple[int, int, str]:
    """The sort key of an id: numbers come first, by value."""
    return (0, int(key), key) if key.isdecimal() else (1, 0, key)
