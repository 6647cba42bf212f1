"""Data sets from annotations: for each image the names of its present labels, and of those verified absent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from labelwise.data.dataset import Dataset
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
        image: its path or URL as written, or the encoded file.
        present: names of the labels that are present.
        absent: names of the labels that are verified absent; all others are unknown. `None`: every label that is not
            present is absent.
        known: `False` for an image without an answer: all labels are unknown.
        split: name of its split, or empty.
    """

    image: str | bytes
    present: Sequence[str] = ()
    absent: Sequence[str] | None = None
    known: bool = True
    split: str = ""


def dataset_of_images(
    items: Sequence[ImageLabels],
    source: Source,
    folders: Sequence[Path],
    *,
    row_name: Callable[[int], str],
    labels: Sequence[str] = (),
    group: np.ndarray | None = None,
    groups: dict[str, Group] | None = None,
    notes: Sequence[str] = (),
    noted: int = 0,
) -> Dataset:
    """The data set of annotated images; rows of one image are merged, and missing files raise.

    Args:
        items: one per image, or several that agree.
        source: its options `images`, `duplicates` and `missing` are used.
        folders: candidates for the images, see `locate`.
        row_name: returns the name of an item for messages.
        labels: names in their order, if the file lists them; other names raise. If empty, the labels are the sorted
            names that occur.
        group: `[N]` int64; items with the same code stay in one split.
        groups: of the labels.
        notes: of the reader so far.
        noted: number of unknown items that the notes already mention.

    Raises:
        LabelwiseError: no images, no labels, names outside `labels`, contradictions or missing images.
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
    values, known = _cells(items, names, row_name)
    messages = list(notes)
    unannotated = sum(not item.known for item in items) - noted
    if unannotated:
        messages.append(f"{unannotated:,} images that nobody annotated are all-unknown.")
    return dataset_of_cells(
        _images(items),
        names,
        values,
        known,
        source,
        folders,
        row_name=row_name,
        splits=pa.array([item.split or None for item in items], pa.string()),
        group=group,
        groups=groups,
        notes=messages,
    )


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
        source, folders, row_name, groups, notes: as in `dataset_of_images`.
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


def _images(items: Sequence[ImageLabels]) -> Sequence[str] | pa.Array:
    if all(isinstance(item.image, bytes) for item in items):
        return pa.array([item.image for item in items], pa.large_binary())
    return [str(item.image) for item in items]


def _cells(
    items: Sequence[ImageLabels], names: Sequence[str], row_name: Callable[[int], str]
) -> tuple[np.ndarray, np.ndarray]:
    column = {name: j for j, name in enumerate(names)}
    values = np.zeros((len(items), len(names)), np.uint8)
    known = np.ones(values.shape, bool)
    for row, item in enumerate(items):
        try:
            present = [column[name] for name in item.present]
            absent = [column[name] for name in item.absent or ()]
        except KeyError as error:
            raise LabelwiseError(
                f"{row_name(row)} with the label {error.args[0]!r}",
                f"one of the {len(names):,} labels that the file lists: {', '.join(names[:8])}",
                "correct the annotation, or list the label",
            ) from None
        if both := set(present) & set(absent):
            raise LabelwiseError(
                f"{row_name(row)} with {names[min(both)]!r} both present and absent",
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
