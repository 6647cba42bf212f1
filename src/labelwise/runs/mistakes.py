"""Warnings about likely mistakes in the data: images in several splits, dark images, images of another size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from labelwise.data.contents import shared_content, shared_files
from labelwise.data.dataset import Dataset
from labelwise.data.decode import UnreadableImage, evenly, first_dark
from labelwise.data.pixels import BITS
from labelwise.runs.config import Config

MOST = 200_000
"""Largest number of images that are searched for copies; `labelwise data check` searches more."""


def shared_rows(one: Dataset, other: Dataset) -> Int64[np.ndarray, " K"]:
    """Rows of `other` whose image is also in `one`: as the same file, or as a copy of its bytes.

    Only files of equal length and equal last bytes are read whole. Above `MOST` images in total, files are compared
    by name only.
    """
    shared = shared_files(one, other)
    if len(one) + len(other) <= MOST:
        shared |= shared_content(one, other)
    return np.flatnonzero(shared).astype(np.int64)


def _overlap_warning(rows: Dataset, seen: Int64[np.ndarray, " K"], split: str) -> str:
    """The warning about images of a split that were trained on, for results and the log."""
    examples = ", ".join(rows.image_id(int(i)) for i in seen[:3]) + (", ..." if len(seen) > 3 else "")
    if len(seen) == len(rows):
        return (
            f"All {len(rows):,} images of {split} were trained on: its figures show what the model remembers, "
            "not how well it recognises."
        )
    return (
        f"{len(seen):,} of {len(rows):,} images of {split} are in train too, as the same file or a copy ({examples}): "
        "its figures are too high; see `labelwise data check`."
    )


def seen_in_training(train: Dataset, rows: Dataset, split: str) -> dict[str, Any]:
    """Conditions of a result on some rows: how many images were trained on, and a warning if there are any."""
    seen = shared_rows(train, rows)
    warning = {"warning": _overlap_warning(rows, seen, split)} if len(seen) else {}
    return {"seen_in_training": len(seen), **warning}


def warn_of_mistakes(
    dataset: Dataset, config: Config, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Warn of images that train shares with other splits, of nearly black images, and of a changed transform.

    Returns:
        `seen_in_training` of each other split.
    """
    train, parts = dataset.split("train"), [n for n, c in dataset.splits().items() if c and n != "train"]
    overlaps = {split: seen_in_training(train, dataset.split(split), split) for split in parts}
    warnings = [seen["warning"] for seen in overlaps.values() if "warning" in seen]
    if config.augment.bits == BITS and (dark := first_dark(_sample_images(train))):
        warnings.append(dark[0].upper() + dark[1:])
    if config.init_from:
        from labelwise.runs.run import Run  # loads the networks' libraries

        warnings += _transform_warnings(Run.open(config.init_from).config, config)
    for warning in warnings:
        say(f"warning: {warning}")
    return overlaps


def _sample_images(rows: Dataset) -> Iterator[Path | bytes]:
    """Images of up to 200 evenly spaced rows; images missing from a store are left out."""
    for i in evenly(len(rows)):
        with suppress(UnreadableImage):
            yield rows.encoded(i)


def _transform_warnings(earlier: Config, current: Config) -> list[str]:
    """A warning, if any, that the image transform is not that of the run that training starts from."""
    old, new = (c.transform().model_dump(mode="json") for c in (earlier, current))
    changed = [f"{name} {new[name]} after {old[name]}" for name in new if new[name] != old.get(name)]
    start = f"The image transform differs from the one {current.init_from} was trained with:"
    return [f"{start} {', '.join(changed)}."] if changed else []
