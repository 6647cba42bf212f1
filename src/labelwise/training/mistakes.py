"""What a person may have got wrong without any error: images seen twice, images of another size."""

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
from labelwise.training.config import Config

MOST = 200_000
"""Images up to which copies are looked for; with more, `labelwise data check` does it."""


def shared_rows(one: Dataset, other: Dataset) -> Int64[np.ndarray, " K"]:
    """Rows of `other` whose image is in `one` too: as the same file, or as a copy of its bytes.

    A copy has the length and the end of the other file, so that few files are read whole. Over `MOST` images
    together, files are compared by name alone.
    """
    found = shared_files(one, other)
    if len(one) + len(other) <= MOST:
        found |= shared_content(one, other)
    return np.flatnonzero(found).astype(np.int64)


def _told_overlap(rows: Dataset, seen: Int64[np.ndarray, " K"], split: str) -> str:
    """A sentence on images of a split that were trained on, for a result and for a person."""
    few = ", ".join(rows.image_id(int(i)) for i in seen[:3]) + (", ..." if len(seen) > 3 else "")
    if len(seen) == len(rows):
        return (
            f"All {len(rows):,} images of {split} were trained on: its figures tell what the model remembers, "
            "not how well it recognises."
        )
    return (
        f"{len(seen):,} of {len(rows):,} images of {split} are in train too, as the same file or a copy ({few}): "
        "its figures are too high; see `labelwise data check`."
    )


def seen_in_training(train: Dataset, rows: Dataset, split: str) -> dict[str, Any]:
    """Conditions of a result on some rows: how many images were trained on, and a sentence where there are any."""
    seen = shared_rows(train, rows)
    told = {"warning": _told_overlap(rows, seen, split)} if len(seen) else {}
    return {"seen_in_training": len(seen), **told}


def warn_of_mistakes(
    dataset: Dataset, config: Config, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Tell of images that train shares with other splits, that come out nearly black, or of another size than before.

    Returns:
        `seen_in_training` of each other split.
    """
    train, parts = dataset.split("train"), [n for n, c in dataset.splits().items() if c and n != "train"]
    found = {split: seen_in_training(train, dataset.split(split), split) for split in parts}
    told = [seen["warning"] for seen in found.values() if "warning" in seen]
    if config.augment.bits == BITS and (dark := first_dark(_some(train))):
        told.append(dark[0].upper() + dark[1:])
    if config.init_from:
        from labelwise.training.run import Run  # loads the networks' libraries

        told += _other_images(Run.open(config.init_from).config, config)
    for one in told:
        say(f"warning: {one}")
    return found


def _some(rows: Dataset) -> Iterator[Path | bytes]:
    """Images of up to 200 rows, evenly spaced; those that a store lacks are left out."""
    for i in evenly(len(rows)):
        with suppress(UnreadableImage):
            yield rows.encoded(i)


def _other_images(before: Config, now: Config) -> list[str]:
    old, new = (c.transform().model_dump(mode="json") for c in (before, now))
    changed = [f"{name} {new[name]} after {old[name]}" for name in new if new[name] != old.get(name)]
    told = f"Images are prepared in another way than those that {now.init_from} learned on: {', '.join(changed)}."
    return [told] if changed else []
