"""Data sets from annotations: for each image the names of its present labels, and of those verified absent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from labelwise.data.dataset import Dataset
from labelwise.data.readers.boxes import LabelBox, with_boxes
from labelwise.data.readers.files import keep_existing
from labelwise.data.readers.label_counts import refuse_huge
from labelwise.data.readers.locate import locate
from labelwise.data.readers.repeated import merge_repeated
from labelwise.data.readers.split_cells import split_codes
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError
from labelwise.types import Group, LabelSet


@dataclass(frozen=True)
class ImageLabels:
    """The annotation of one image.

    Args:
        image: its path or URL as written.
        present: names of the labels that are present.
        absent: names of the labels that are verified absent; all others are unknown. `None`: every label that is not
            present is absent.
        known: `False` for an image without an answer: all labels are unknown.
        split: name of its split, or empty.
        place: its name in messages.
        boxes: of its labels, if the file has any.
    """

    image: str
    present: Sequence[str] = ()
    absent: Sequence[str] | None = None
    known: bool = True
    split: str = ""
    place: str = ""
    boxes: Sequence[LabelBox] = ()


@dataclass
class Annotations:
    """Content of the files of a data set, file by file.

    Args:
        items: the images with their labels.
        labels: names in the order in which files list them or annotations use them.
        left_out: counts of annotations that are not read, by kind.
    """

    items: list[ImageLabels] = field(default_factory=list)
    labels: dict[str, None] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)


def dataset_of_images(
    items: Sequence[ImageLabels],
    source: Source,
    folders: Sequence[Path],
    *,
    labels: Sequence[str] = (),
    group: np.ndarray | None = None,
    groups: dict[str, Group] | None = None,
    notes: Sequence[str] = (),
    noted: int = 0,
) -> Dataset:
    """The data set of annotated images; rows of one image are merged, and missing files raise.

    Args:
        items: one per image, or several that agree. A repeated image has the boxes of all its items.
        source: its options `images`, `duplicates` and `missing` are used.
        folders: candidates for the images, see `locate`.
        labels: names in their order, if the file lists them; other names raise. If empty, the labels are the sorted
            names that occur.
        group: `[N]` int64; items with the same code stay in one split.
        groups: of the labels.
        notes: of the reader so far.
        noted: number of unknown items that the notes already mention.

    Raises:
        LabelwiseError: no images, no labels, names outside `labels`, invalid boxes, contradictions or missing images.
    """
    if not items:
        raise LabelwiseError(
            f"{source.path} without images", "at least one annotated image", "check the file"
        )
    names = tuple(labels) or tuple(
        sorted({n for item in items for n in (*item.present, *(item.absent or ()))})
    )
    if not names:
        raise LabelwiseError(
            f"{source.path} with {len(items):,} images and no label", "label names", "check the export"
        )
    refuse_huge(len(items), len(names), source.path)
    values, known = _cells(items, names)
    messages = list(notes)
    unannotated = sum(not item.known for item in items) - noted
    if unannotated:
        messages.append(f"{unannotated:,} images that nobody annotated are all-unknown.")
    data = dataset_of_cells(
        [item.image for item in items],
        names,
        values,
        known,
        source,
        folders,
        row_name=lambda row: items[row].place,
        splits=pa.array([item.split or None for item in items], pa.string()),
        group=group,
        groups=groups,
        notes=messages,
    )
    boxes = [(row, box, item.place) for row, item in enumerate(items) for box in item.boxes]
    return with_boxes(data, boxes, [item.image for item in items]) if boxes else data


def dataset_of_cells(
    images: Sequence[str] | pa.Array,
    labels: Sequence[str],
    values: np.ndarray,
    known: np.ndarray,
    source: Source,
    folders: Sequence[Path],
    *,
    row_name: Callable[[int], str],
    splits: pa.Array | None = None,
    group: np.ndarray | None = None,
    groups: dict[str, Group] | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """The data set of rows with their label cells; rows of one image are merged, and missing files raise.

    Args:
        images: `[N]` paths or URLs as written, or encoded files (binary).
        labels: `L` names.
        values: `[N, L]` uint8, or float32 in [0, 1]; 0 where not known.
        known: `[N, L]` bool.
        source, folders, groups, notes: as in `dataset_of_images`.
        row_name: returns the name of a row for messages.
        splits: `[N]` texts; null or empty for a row without a split. `None`, or only nulls, for no splits.
        group: `[N]` int64; rows with the same code stay in one split.

    Raises:
        LabelwiseError: contradictions, missing images, or labels that are repeated or empty.
    """
    messages = list(notes)
    if isinstance(images, pa.Array) and pa.types.is_large_binary(images.type):
        located, root = images, None
    else:
        located, root = locate(images, source, folders, messages)
    codes, names = None, tuple[str, ...]()
    if splits is not None and splits.null_count < len(splits):
        codes, names = split_codes(pa.chunked_array([splits]), messages)
    data = Dataset(
        labels=LabelSet(tuple(labels), groups or {}),
        images=located,
        root=root,
        values=values,
        known=known,
        split_of=codes,
        split_names=names,
        group=group,
        notes=tuple(messages),
        rows_in_source=len(located),
    )
    return keep_existing(merge_repeated(data, source, row_name), source)


def _cells(items: Sequence[ImageLabels], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Values and known cells, `[N, L]` each; refuses an unlisted label and one that is present and absent."""
    column = {name: j for j, name in enumerate(names)}
    values = np.zeros((len(items), len(names)), np.uint8)
    known = np.ones(values.shape, bool)
    for row, item in enumerate(items):
        try:
            present = [column[name] for name in item.present]
            absent = [column[name] for name in item.absent or ()]
        except KeyError as error:
            raise LabelwiseError(
                f"{item.place} with the label {error.args[0]!r}",
                f"one of the {len(names):,} labels that the file lists: {', '.join(names[:8])}",
                "correct the annotation, or list the label",
            ) from None
        if both := set(present) & set(absent):
            raise LabelwiseError(
                f"{item.place} with {names[min(both)]!r} both present and absent",
                "one of the two",
                "correct the annotation",
            )
        values[row, present] = 1
        if not item.known:
            known[row] = False
            values[row] = 0
        elif item.absent is not None:
            known[row] = False
            known[row, present + absent] = True
    return values, known
