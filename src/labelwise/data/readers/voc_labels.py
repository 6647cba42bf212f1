"""The labels of a VOC tree and their states by the lists of `ImageSets/Main`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from labelwise.data.readers.name_doubts import few
from labelwise.data.readers.voc_layout import VocLayout
from labelwise.data.readers.voc_lists import States
from labelwise.errors import LabelwiseError

_NAMES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor"
)
VOC_NAMES = tuple(_NAMES.split())
_MAP = "labelmap.txt"
_BACKGROUND = "background"


def label_names(
    root: Path, occurring: Iterable[str], states: States, of_voc: bool
) -> tuple[tuple[str, ...], list[str]]:
    """The labels in their order, and notes on them.

    They are VOC's 20 if the tree is VOC: its annotations state it, or each of the 20 occurs or has lists. Otherwise
    they are the names of `labelmap.txt` in its order, then those that occur or have lists, in alphabetical order.

    Args:
        root: of the tree.
        occurring: names of annotated objects.
        states: of the lists of labels.
        of_voc: whether every annotation states that it is VOC's.
    """
    mapped = _label_map(root)
    names, notes = {*occurring, *states, *mapped}, []
    if _BACKGROUND in names - set(occurring) and 1 not in states.get(_BACKGROUND, {}).values():
        names.remove(_BACKGROUND)
        notes.append(f"{_BACKGROUND} is not a label: it is left out, as no image has it.")
    if names and names <= set(VOC_NAMES):
        if of_voc or len(names) == len(VOC_NAMES):
            return VOC_NAMES, notes
        notes.append(
            f"All names are among VOC's 20, but no file states that this is VOC: only these {len(names)} are labels."
        )
    in_order = [name for name in mapped if name in names]
    return (*in_order, *sorted(names - set(in_order))), notes


def _label_map(root: Path) -> list[str]:
    """Names of `labelmap.txt`, lines `name:color:parts:actions`."""
    file = root / _MAP
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    names = [line.split(":")[0].strip() for line in lines if not line.startswith("#")]
    return list(dict.fromkeys(name for name in names if name))


def labels_of_lists(
    root: Path,
    layout: VocLayout,
    labels: Sequence[str],
    annotated: Bool[np.ndarray, " N"],
    strong: Bool[np.ndarray, "N L"],
    weak: Bool[np.ndarray, "N L"],
) -> tuple[Bool[np.ndarray, "N L"], Bool[np.ndarray, "N L"], Bool[np.ndarray, "N L"], list[str]]:
    """Adds the lists of labels to the annotations.

    A 1 makes a label present, a 0 difficult. For an image without an annotation, a label is negative if its list has
    -1, and unknown if its list lacks the image; an image in no list of labels is all-negative.

    Args:
        root: of the tree.
        layout: its images and lists.
        labels: the `L` names.
        annotated: whether an image has an annotation.
        strong, weak: labels with regular objects, and with difficult ones.

    Returns:
        `strong`, `weak`, the mask of known cells, and notes.

    Raises:
        LabelwiseError: images with neither an annotation nor a line in a list of labels, unless the tree is from a
            tool that writes images without labels this way.
    """
    row_of = {row.name: i for i, row in enumerate(layout.rows)}
    state = np.full(strong.shape, -2, np.int8)  # -2: in no list
    for column, label in enumerate(labels):
        for name, value in layout.states.get(label, {}).items():
            if name in row_of:
                state[row_of[name], column] = value
    in_lists = (state > -2).any(1)
    notes = _without_labels(root, layout, ~annotated & ~in_lists)
    added = annotated[:, None] & (state == 1) & ~strong
    if added.any():
        notes.append(
            f"{int(added.sum()):,} labels are 1 in their lists alone, without an object; they are present."
        )
    listed = ~annotated & in_lists
    known = np.ones_like(strong)
    known[listed] = state[listed] > -2
    if listed.any():
        notes.append(f"{int(listed.sum()):,} images without an annotation have their labels from the lists.")
    unlisted = int((~known).sum())
    if unlisted:
        notes.append(f"{unlisted:,} labels of them are unknown, as their lists lack the image.")
    return strong | (state == 1), weak | (state == 0), known, notes


def _without_labels(root: Path, layout: VocLayout, rows: Bool[np.ndarray, " N"]) -> list[str]:
    """A note on images with neither an annotation nor a line in a list of labels, which are all-negative."""
    if not rows.any():
        return []
    missing = [layout.rows[i].name for i in np.flatnonzero(rows).tolist()]
    folder = root / "Annotations"
    if not (root / _MAP).is_file() and (folder.is_dir() or not layout.states):
        raise LabelwiseError(
            f"{len(missing):,} listed images without an annotation in {folder}: {', '.join(missing[:5])}",
            "one XML file per listed image",
            "add the files, or remove the images from ImageSets/Main",
        )
    return [
        f"{len(missing):,} listed images have neither an annotation nor a line in a list of labels: "
        f"they are all-negative ({few(missing)})."
    ]
