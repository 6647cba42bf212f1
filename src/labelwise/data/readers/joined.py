"""One data set of several: a file or folder each, often a split each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int64

from labelwise.data.dataset import BOX_TYPE, Dataset
from labelwise.data.readers.columns import split_codes
from labelwise.data.readers.name_doubts import few
from labelwise.data.source import WouldLose
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet


def joined(
    parts: Sequence[tuple[Dataset, str]], *, names: Sequence[str] = (), union: bool | None = None
) -> Dataset:
    """The rows of several data sets, one behind the other.

    Labels stand in the order of the first part. Images get names under the folder that all roots share, or stay
    encoded files. Groups of different parts are different groups. What all parts say in `notes` is said once, the
    rest with the name of its part.

    Args:
        parts: data sets and the split that each is; with an empty split a part keeps its own splits.
        names: of the parts in messages; without them the splits.
        union: a label that a part lacks is unknown there; `False`: it stops, with the option `labels=union` that goes
            on; `None`: it stops, as the source has no such option.

    Raises:
        LabelwiseError: for no parts, parts of which some are embedded and some not, or with a split beside their
            own splits, or an image in several parts.
        WouldLose: for labels that differ where `union` is `False`.
    """
    if not parts:
        raise LabelwiseError("no data sets to join", "at least one", "name them")
    called = list(names) or [split or f"part {number}" for number, (_, split) in enumerate(parts, 1)]
    datas = [data for data, _ in parts]
    for data, (_, split), name in zip(datas, parts, called, strict=True):
        if split and data.splits():
            raise LabelwiseError(
                f"{name}, which is the split {split}, with splits of its own",
                "one or the other",
                "remove one",
            )
    labels, notes = _labels(datas, called, union)
    images, root = _images(datas, called)
    splits = pa.concat_arrays([_splits(data, split) for data, split in parts])
    codes, split_names = None, tuple[str, ...]()
    messages = [*_notes(datas, called), *notes]
    if splits.null_count < len(splits):
        codes, split_names = split_codes(pa.chunked_array([splits]), messages)
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
        boxes=_boxes(datas, labels),
        notes=tuple(messages),
        rows_in_source=sum(data.rows_in_source or len(data) for data in datas),
    )


def _labels(
    datas: Sequence[Dataset], called: Sequence[str], union: bool | None
) -> tuple[LabelSet, list[str]]:
    every = dict.fromkeys(name for data in datas for name in data.labels)
    lacking = {
        name: [label for label in every if label not in data.labels.names]
        for name, data in zip(called, datas, strict=True)
    }
    lacking = {name: labels for name, labels in lacking.items() if labels}
    told = "; ".join(f"{name} lacks {few(labels)}" for name, labels in lacking.items())
    if lacking and not union:
        given, expected = f"labels that differ: {told}", f"the same labels in {', '.join(called)}"
        if union is None:
            raise LabelwiseError(given, expected, "make them agree")
        todo = "make them agree, or add labels=union: a label is unknown where it is lacking"
        raise WouldLose(given, expected, todo, ("labels", "union"))
    groups = {name: group for data in datas for name, group in data.labels.groups.items()}
    return LabelSet(tuple(every), groups), [
        f"Labels are unknown where they are lacking: {told}."
    ] if told else []


def _images(
    datas: Sequence[Dataset], called: Sequence[str]
) -> tuple[pa.Array | pa.ChunkedArray, Path | None]:
    if any(data.store is not None for data in datas) or len({data.holds_bytes for data in datas}) > 1:
        raise LabelwiseError(
            f"images of different kinds in {', '.join(called)}",
            "image files in all, or encoded images in all tables",
            "import them to tables of one kind first",
        )
    if datas[0].holds_bytes:
        chunks = [chunk for data in datas for chunk in _chunks(data.images.cast(pa.large_binary()))]
        return pa.chunked_array(chunks, pa.large_binary()), None
    roots = [data.root or Path() for data in datas]
    if len({root.is_absolute() for root in roots}) > 1:
        roots = [root.absolute() for root in roots]
    common = Path(os.path.commonpath(roots))
    names = pa.concat_arrays(
        [_under(data.images, root, common) for data, root in zip(datas, roots, strict=True)]
    )
    _refuse_repeated(names, np.repeat(np.arange(len(datas)), [len(data) for data in datas]), called)
    return names, common


def _chunks(column: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return column.chunks if isinstance(column, pa.ChunkedArray) else [column]


def _under(images: pa.Array | pa.ChunkedArray, root: Path, common: Path) -> pa.Array:
    """Names under the common folder; absolute ones stay."""
    names = pa.concat_arrays([*_chunks(images), pa.array([], images.type)]).cast(pa.string())
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


def _boxes(datas: Sequence[Dataset], labels: LabelSet) -> pa.Array | None:
    if all(data.boxes is None for data in datas):
        return None
    cells: list[list[dict[str, float]] | None] = []
    for data in datas:
        if data.boxes is None:
            cells += [None] * len(data)
            continue
        place = [labels.index(name) for name in data.labels]
        for boxes in data.boxes.to_pylist():
            cells.append(None if boxes is None else [{**box, "label": place[box["label"]]} for box in boxes])
    return pa.array(cells, BOX_TYPE)


def _notes(datas: Sequence[Dataset], called: Sequence[str]) -> list[str]:
    every = dict.fromkeys(note for data in datas for note in data.notes)
    notes = []
    for note in every:
        places = [name for name, data in zip(called, datas, strict=True) if note in data.notes]
        notes.append(note if len(places) == len(datas) else f"{', '.join(places)}: {note}")
    return notes
