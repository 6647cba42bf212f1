"""Images with labels that were only partly verified, as in LVIS: verified absences, and the rest unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from labelwise.data.readers.name_doubts import words_of
from labelwise.errors import LabelwiseError

ABSENT, PARTLY = "neg_category_ids", "not_exhaustive_category_ids"


_LIST_WORDS = frozenset({"neg", "negative", "negatives", "exhaustive", "verified"})


def refuse_other_names(file: Path, images: Sequence[Mapping[str, Any]]) -> None:
    """Raises `LabelwiseError` for lists of verified labels under other names than LVIS's, which would be lost."""
    lists = (key for image in images for key, value in image.items() if isinstance(value, list | dict))
    odd = [key for key in dict.fromkeys(lists) if key not in (ABSENT, PARTLY) and _LIST_WORDS & words_of(key)]
    if odd:
        raise LabelwiseError(
            f"{file}: images with {', '.join(odd[:4])}, which may list absent or verified labels",
            f"category ids in {ABSENT} or {PARTLY}, as in LVIS",
            "rename the key and write ids, or remove it if every label was verified in every image",
        )


def cells_looked_for(
    file: Path,
    images: Sequence[Mapping[str, Any]],
    column: Mapping[int, int],
    present: Bool[np.ndarray, "N L"],
) -> tuple[Bool[np.ndarray, "N L"] | None, list[str]]:
    """The known labels of a file's images, if the file states that not all labels were verified.

    With `neg_category_ids` a label is known if it is annotated or listed there. With
    `not_exhaustive_category_ids` alone a label is unknown if it is listed there and not annotated; an annotated one
    only lacks some of its boxes.

    Args:
        file: for messages.
        images: its `N` entries.
        column: of each category id.
        present: `[N, L]`, annotated labels.

    Returns:
        `[N, L]`, or `None` for a file without these fields, and notes.

    Raises:
        LabelwiseError: a field that is not a list of categories of the file.
    """
    verified = any(ABSENT in image for image in images)
    if not verified and not any(PARTLY in image for image in images):
        return None, []
    known = present.copy() if verified else np.ones_like(present)
    for row, image in enumerate(images):
        partly = _columns(file, image, PARTLY, column)
        if verified:
            known[row, _columns(file, image, ABSENT, column)] = True
        else:
            known[row, partly] = present[row, partly]
    if not verified:
        return known, [f"{file.name}: labels that were not verified in the whole image are unknown there."]
    both = sum(present[row, _columns(file, image, ABSENT, column)].sum() for row, image in enumerate(images))
    notes = [f"{file.name}: a label is negative where {ABSENT} lists it, unknown where it is not listed."]
    if both:
        notes.append(f"{file.name}: {both:,} annotated labels are in {ABSENT} too and count as present.")
    return known, notes


def _columns(file: Path, image: Mapping[str, Any], field: str, column: Mapping[int, int]) -> list[int]:
    """The columns of the labels that a field lists; raises `LabelwiseError` for an unknown category."""
    ids = image.get(field, [])
    if not isinstance(ids, list) or not all(type(number) is int and number in column for number in ids):
        raise LabelwiseError(
            f"{file}: image {image['id']} with {field} {ids!r}",
            "ids listed in the same file's categories",
            "correct the file",
        )
    return [column[number] for number in ids]
