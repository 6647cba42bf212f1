"""The published streams COCOseq and NUS-WIDEseq, from their id lists."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from labelwise.continual.streams import Stream, Task
from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError
from labelwise.jsonfile import read_json
from labelwise.types import LabelSet

_json = partial(read_json, expected="a file of the stream", todo="fetch the file again")


@dataclass(frozen=True)
class PublishedStream:
    """The id lists of a published stream.

    Args:
        suffix: of the id lists, `ids/train_task0_id_SUFFIX.json`.
        order: tasks in the order of the stream.
        train: images of each task's training list, by number of the list.
        test: images of each task's balanced test list.
    """

    suffix: str
    order: tuple[int, ...]
    train: tuple[int, ...]
    test: tuple[int, ...]


STREAMS = {
    "cocoseq": PublishedStream("coco", (0, 3, 1, 2), (8365, 7814, 11603, 7290), (1960, 1690, 1400, 1316)),
    "nuswideseq": PublishedStream(
        "nuswide",
        (3, 1, 0, 5, 4, 2),
        (17672, 18402, 3623, 1948, 2373, 4730),
        (250, 294, 738, 585, 200, 299),
    ),
}


def published_stream(name: str, folder: Path) -> Stream:
    """COCOseq or NUS-WIDEseq from the folder that holds its id lists, annotations and images.

    `ids/train_task0_id_coco.json` and the like are lists of ids; those named `test` are the balanced ones.
    `multihot_map.json` maps each label to its column. COCOseq: `annotations/instances_train2014.json` and
    `..._val2014.json`, images in `train2014/` and `val2014/`. NUS-WIDEseq: `ImageList/TrainImagelist.txt` and
    `TestImagelist.txt`, `TrainTestLabels/Labels_<label>_Train.txt` and `_Test.txt`, images in `image/`; an id is a line
    number. Notes and the stream's name report missing images and lists of other lengths than the published ones.

    Raises:
        LabelwiseError: a file is absent or damaged, or an id is missing from the annotations.

    Source: Kim, Jeong and Kim, "Imbalanced Continual Learning with Partitioning Reservoir Sampling" (2020).
    """
    published = STREAMS[name]
    columns = _json(folder / "multihot_map.json")
    labels = LabelSet(tuple(sorted(columns, key=lambda label: int(columns[label]))))
    read = _coco if name == "cocoseq" else _nuswide
    notes: list[str] = []
    splits, rows = {}, {}
    for split in ("train", "test"):
        lists = [_json(folder / f"ids/{split}_task{t}_id_{published.suffix}.json") for t in published.order]
        expected = [getattr(published, split)[t] for t in published.order]
        if [len(ids) for ids in lists] != expected:
            notes.append(
                f"{split} lists hold {[len(ids) for ids in lists]} images, the published {expected}."
            )
        splits[split], rows[split], missing = _table(read(folder, split, labels), lists, folder, labels)
        notes += [
            f"{count} images of {split} task {t} are missing." for t, count in enumerate(missing) if count
        ]
    tasks = tuple(
        Task(_task_labels(splits["train"], train), train, test)
        for train, test in zip(rows["train"], rows["test"], strict=True)
    )
    title = f"{name}.v1" if not notes else f"{name}, not the published one"
    return Stream(title, "online", splits["train"], splits["test"], tasks, tuple(notes))


Described = dict[int, tuple[str, list[int]]]


def _table(
    described: Described, lists: list[list[int]], folder: Path, labels: LabelSet
) -> tuple[Dataset, list[np.ndarray], list[int]]:
    """One table of all tasks' images, the rows of each task, and the number of missing images of each."""
    paths: list[str] = []
    marks: list[list[int]] = []
    rows, missing = [], []
    for ids in lists:
        task_rows = []
        for i in ids:
            if i not in described:
                raise LabelwiseError(
                    f"image id {i!r} in a list",
                    "an id of the annotations",
                    "check that the files belong together",
                )
            path, columns = described[i]
            if (folder / path).is_file():
                task_rows.append(len(paths))
                paths.append(path)
                marks.append(columns)
        rows.append(np.array(task_rows, np.int64))
        missing.append(len(ids) - len(task_rows))
    values = np.zeros((len(paths), len(labels)), np.uint8)
    for row, columns in enumerate(marks):
        values[row, columns] = 1
    if not len(paths):
        raise LabelwiseError(
            f"no image of the lists in {folder}", "the images beside the lists", "check the path"
        )
    table = Dataset(labels, pa.array(paths), folder, values, np.ones(values.shape, bool), source=str(folder))
    return table, rows, missing


def _task_labels(train: Dataset, rows: np.ndarray) -> tuple[int, ...]:
    """Columns of the labels with a positive in a task's training rows."""
    return tuple(np.flatnonzero(train.values[rows].any(0)).tolist())


def _coco(folder: Path, split: str, labels: LabelSet) -> Described:
    """COCO image id -> path and columns; the lists hold images of both train2014 and val2014."""
    described: Described = {}
    column = {label: j for j, label in enumerate(labels.names)}
    for part in ("train2014", "val2014"):
        data = _json(folder / f"annotations/instances_{part}.json")
        names = {c["id"]: c["name"] for c in data["categories"]}
        for image in data["images"]:
            described[image["id"]] = (f"{part}/{image['file_name']}", [])
        for box in data["annotations"]:
            name = names[box["category_id"]]
            if name in column:
                described[box["image_id"]][1].append(column[name])
    return described


def _nuswide(folder: Path, split: str, labels: LabelSet) -> Described:
    """Line of the image list -> path and columns."""
    part = split.capitalize()
    images = _lines(folder / f"ImageList/{part}Imagelist.txt")
    described: Described = {i: ("image/" + name.replace("\\", "/"), []) for i, name in enumerate(images)}
    for j, label in enumerate(labels.names):
        path = folder / f"TrainTestLabels/Labels_{label}_{part}.txt"
        states = _lines(path)
        if len(states) != len(images):
            raise LabelwiseError(
                f"{path} with {len(states):,} lines", f"{len(images):,}", "fetch the file again"
            )
        for i, state in enumerate(states):
            if state == "1":
                described[i][1].append(j)
    return described


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise LabelwiseError(
            f"{path}: {error.strerror}", "a file of the stream", "see docs/continual.md"
        ) from None
