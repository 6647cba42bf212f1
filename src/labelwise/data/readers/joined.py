"""One data set of several tables, often a split each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int64

from labelwise.data.dataset import Dataset
from labelwise.data.readers.columns import split_codes
from labelwise.data.readers.name_doubts import few
from labelwise.data.source import WouldLose
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet


def joined(parts: Sequence[tuple[Dataset, str]], *, union: bool) -> Dataset:
    """The rows of several data sets of image files without boxes, one behind the other.

    Labels stand in the order of the first part. Images get names under the folder that all roots share. Groups of
    different parts are different groups. What all parts say in `notes` is said once, the rest with the name of its
    part.

    Args:
        parts: data sets and the split that each is; with an empty split a part keeps its own splits.
        union: whether a label that a part lacks is unknown there; else it stops.

    Raises:
        LabelwiseError: for no parts, parts with a split beside their own splits, or an image in several parts.
        WouldLose: for labels that differ without `union`.
    """
    if not parts:
        raise LabelwiseError("no data sets to join", "at least one", "name them")
    called = [split or f"part {number}" for number, (_, split) in enumerate(parts, 1)]
    datas = [data for data, _ in parts]
    for data, (_, split), name in zip(datas, parts, called, strict=True):
        if split and data.splits():
            raise LabelwiseError(
                f"{name}, which is the split {split}, with splits of its own",
                "one or the other",
                "remove one",
            )
    labels, differences = _labels(datas, called, union)
    images, root = _images(datas, called)
    splits = pa.concat_arrays([_splits(data, split) for data, split in parts])
    codes, split_names = None, tuple[str, ...]()
    notes = [*_notes(datas, called), *differences]
    if splits.null_count < len(splits):
        codes, split_names = split_codes(pa.chunked_array([splits]), notes)
    cells = [_cells(data, labels) for data in datas]
    return Dataset(
        labels=labels,
        images=images,
        root=root,
        values=np.concatenate([values for values, _ in cells]),
        known=np.concatenate([known for _, known in cells]),
        split_of=codes,
        split_names=split_names,
        group=_group(datas),
        notes=tuple(notes),
        rows_in_source=sum(data.rows_in_source or len(data) for data in datas),
    )


def _labels(datas: Sequence[Dataset], called: Sequence[str], union: bool) -> tuple[LabelSet, list[str]]:
    """All labels, and a sentence on parts that lack some."""
    every = dict.fromkeys(name for data in datas for name in data.labels)
    groups = {name: group for data in datas for name, group in data.labels.groups.items()}
    labels = LabelSet(tuple(every), groups)
    lacking = []
    for data, name in zip(datas, called, strict=True):
        if absent := [label for label in every if label not in data.labels.names]:
            lacking.append(f"{name} lacks {few(absent)}")
    if not lacking:
        return labels, []
    if not union:
        raise WouldLose(
            f"labels that differ: {'; '.join(lacking)}",
            f"the same labels in {', '.join(called)}",
            "make them agree, or add labels=union: a label is unknown where it is lacking",
            ("labels", "union"),
        )
    return labels, [f"Labels are unknown where they are lacking: {'; '.join(lacking)}."]


def _images(datas: Sequence[Dataset], called: Sequence[str]) -> tuple[pa.Array, Path]:
    """Names of all images under the deepest folder that holds the roots, and that folder."""
    roots = [data.root or Path() for data in datas]
    if len({root.is_absolute() for root in roots}) > 1:
        roots = [root.absolute() for root in roots]
    common = Path(os.path.commonpath(roots))
    names = pa.concat_arrays(
        [_under(data.images, root, common) for data, root in zip(datas, roots, strict=True)]
    )
    _refuse_repeated(names, np.repeat(np.arange(len(datas)), [len(data) for data in datas]), called)
    return names, common


def _under(images: pa.Array | pa.ChunkedArray, root: Path, common: Path) -> pa.Array:
    """Names under the common folder; absolute ones stay."""
    chunks = images.chunks if isinstance(images, pa.ChunkedArray) else [images]
    names = pa.concat_arrays([*chunks, pa.array([], images.type)]).cast(pa.string())
    inner = os.path.relpath(root, common)
    if inner == ".":
        return names
    absolute = pc.or_(pc.starts_with(names, "/"), pc.match_substring_regex(names, r"^[A-Za-z]:[/\\]"))
    return pc.if_else(absolute, names, pc.binary_join_element_wise(inner.replace(os.sep, "/"), names, "/"))


def _refuse_repeated(names: pa.Array, part: Int64[np.ndarray, " N"], called: Sequence[str]) -> None:
    coded = names.dictionary_encode()
    codes = coded.indices.to_numpy(zero_copy_only=False)
    first = np.full(len(coded.dictionary), -1, np.int64)
    first[codes[::-1]] = part[::-1]
    several = np.flatnonzero(first[codes] != part)
    if len(several):
        row = int(several[0])
        places = f"{called[first[codes[row]]]} and {called[part[row]]}"
        raise LabelwiseError(
            f"{len(np.unique(codes[several])):,} images in several parts, such as {names[row].as_py()} in {places}",
            "each image in one",
            "remove it from one of them",
        )


def _splits(data: Dataset, split: str) -> pa.Array:
    if split or data.split_of is None:
        return pa.array([split or None] * len(data), pa.string())
    words = pa.array([*data.split_names, None], pa.string())
    return words.take(pa.array(np.where(data.split_of < 0, len(data.split_names), data.split_of)))


def _cells(data: Dataset, labels: LabelSet) -> tuple[np.ndarray, Bool[np.ndarray, "N L"]]:
    if data.labels.names == labels.names:
        return data.values, data.known
    columns = [labels.index(name) for name in data.labels]
    values = np.zeros((len(data), len(labels)), data.values.dtype)
    known = np.zeros(values.shape, bool)
    values[:, columns], known[:, columns] = data.values, data.known
    return values, known


def _group(datas: Sequence[Dataset]) -> Int64[np.ndarray, " N"] | None:
    if all(data.group is None for data in datas):
        return None
    codes, start = [], 0
    for data in datas:
        own = np.arange(len(data)) if data.group is None else np.unique(data.group, return_inverse=True)[1]
        codes.append(own.astype(np.int64).reshape(-1) + start)
        start += len(data)
    return np.concatenate(codes)


def _notes(datas: Sequence[Dataset], called: Sequence[str]) -> list[str]:
    every = dict.fromkeys(note for data in datas for note in data.notes)
    notes = []
    for note in every:
        places = [name for name, data in zip(called, datas, strict=True) if note in data.notes]
        notes.append(note if len(places) == len(datas) else f"{', '.join(places)}: {note}")
    return notes
