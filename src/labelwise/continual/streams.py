"""Data sets as streams of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError
from labelwise.evaluation.parts import folders_of
from labelwise.runs.continual_settings import Setting


@dataclass(frozen=True)
class Task:
    """One task of a stream.

    Args:
        labels: columns of the task's own labels.
        train: rows of the stream's `train`, in the order of the data set.
        test: rows of the stream's `test` on which the task is evaluated.
        folder: of its images, in a domain-incremental stream.
    """

    labels: tuple[int, ...]
    train: np.ndarray
    test: np.ndarray
    folder: str = ""


@dataclass(frozen=True)
class Stream:
    """Tasks in their order, over one training and one test set.

    Args:
        name: its source.
        setting: see `ContinualSettings`.
        train: training rows; the columns of the first task's labels come first, and so on.
        test: test rows, with the same columns.
        tasks: tasks in their order.
        notes: decisions and missing data, one sentence each.
    """

    name: str
    setting: Setting
    train: Dataset
    test: Dataset
    tasks: tuple[Task, ...]
    notes: tuple[str, ...] = ()

    @property
    def grows(self) -> bool:
        """Whether the model starts with the first task's labels and grows by those of each further one."""
        return self.setting == "class-incremental"

    def annotated(self, task: int) -> np.ndarray:
        """`[L]` bool: the labels annotated in a task's images; its own if the model grows, else all."""
        mask = np.ones(len(self.train.labels), bool)
        if self.grows:
            mask[:] = False
            mask[list(self.tasks[task].labels)] = True
        return mask

    def judged(self, task: int) -> np.ndarray:
        """Columns on which a task is evaluated: its own if the model grows, else all."""
        return np.array(self.tasks[task].labels) if self.grows else np.arange(len(self.train.labels))

    def known_labels(self, after: int) -> int:
        """Number of labels of the model in a task; they are the leading columns."""
        if not self.grows:
            return len(self.train.labels)
        return sum(len(task.labels) for task in self.tasks[: after + 1])


def label_blocks(labels: int, sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Columns split into consecutive blocks of these sizes, or into four of nearly equal size.

    Raises:
        LabelwiseError: sizes that do not add up to the labels.

    >>> label_blocks(5, [])
    [(0, 1), (2,), (3,), (4,)]
    """
    if not sizes:
        blocks = np.array_split(np.arange(labels), min(4, labels))
        return [tuple(block.tolist()) for block in blocks]
    if sum(sizes) != labels or min(sizes) < 1:
        raise LabelwiseError(
            f"tasks of {', '.join(map(str, sizes))} labels, {sum(sizes)} in all",
            f"sizes over 0 that add up to {labels}, the labels of the data",
            "correct --tasks",
        )
    ends = np.cumsum(sizes)
    return [tuple(range(end - size, end)) for size, end in zip(sizes, ends.tolist(), strict=True)]


def make_stream(data: Dataset, setting: Setting, sizes: Sequence[int] = ()) -> Stream:
    """A stream from a data set with the splits `train` and `test`; each task owns a block of labels in their order.

    Online: an image belongs to the task of its rarest positive label, counted in the training split, so that each
    image occurs once; images without a positive are left out. Class-incremental: a task has every training image with
    a positive among its labels, and is evaluated on the whole test split. Domain-incremental: a task has the images of
    one folder and all labels; folders come in the order of their names.

    Raises:
        LabelwiseError: no such splits, sizes that do not fit, or a task without training or test images.
    """
    train, test = data.split("train"), data.split("test")
    if setting == "domain-incremental":
        return _by_folder(data.source, train, test, sizes)
    blocks = label_blocks(len(data.labels), sizes)
    owner = np.concatenate([np.full(len(block), t) for t, block in enumerate(blocks)])
    count = train.positive.sum(0)
    rows = [_rows_of_tasks(split, setting, blocks, owner, count) for split in (train, test)]
    all_test = np.arange(len(test))
    tasks = tuple(
        Task(block, rows[0][t], all_test if setting == "class-incremental" else rows[1][t])
        for t, block in enumerate(blocks)
    )
    for task in tasks:
        if not len(task.train):
            names = ", ".join(data.labels.names[j] for j in task.labels)
            raise LabelwiseError(
                f"no training image for the task of {names}", "an image for each task", "choose other --tasks"
            )
    left_out = int((~train.positive.any(1)).sum())
    notes = (f"{left_out:,} training images without a positive are in no task.",) if left_out else ()
    return Stream(data.source, setting, train, test, tasks, notes)


def _by_folder(source: str, train: Dataset, test: Dataset, sizes: Sequence[int]) -> Stream:
    """A stream of one task per folder with training images."""
    if sizes:
        raise LabelwiseError(
            f"tasks of {', '.join(map(str, sizes))} labels in a domain-incremental stream",
            "a task per folder, with all labels",
            "leave out --tasks",
        )
    ids = [name for rows in (train, test) for name in rows.image_ids(np.arange(len(rows)))]
    every = tuple(range(len(train.labels)))
    tasks, without_train = [], []
    for folder, mask in folders_of(ids).items():
        rows, judged = np.flatnonzero(mask[: len(train)]), np.flatnonzero(mask[len(train) :])
        if len(rows) and not len(judged):
            raise LabelwiseError(f"no test image in the folder {folder}", "one for each task", "split again")
        if len(rows):
            tasks.append(Task(every, rows, judged, folder))
        else:
            without_train.append(folder)
    if len(tasks) < 2:
        raise LabelwiseError(
            f"training images of {source} in {len(tasks)} folder",
            "two folders or more",
            "use another --setting",
        )
    notes = (f"Folders without training images are in no task: {', '.join(without_train)}.",)
    return Stream(source, "domain-incremental", train, test, tuple(tasks), notes if without_train else ())


def _rows_of_tasks(
    split: Dataset, setting: Setting, blocks: Sequence[tuple[int, ...]], owner: np.ndarray, count: np.ndarray
) -> list[np.ndarray]:
    """The rows of each task in a split."""
    positive = split.positive
    if setting == "class-incremental":
        return [np.flatnonzero(positive[:, list(block)].any(1)) for block in blocks]
    rarest = np.where(positive, count, np.iinfo(np.int64).max).argmin(1)
    task = np.where(positive.any(1), owner[rarest], -1)
    return [np.flatnonzero(task == t) for t in range(len(blocks))]
