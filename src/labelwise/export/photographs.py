"""The photographs that an export is compared on, and those that int8 is calibrated on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from labelwise.data import Dataset, read
from labelwise.data.decode import UnreadableImage
from labelwise.data.splits import ensure_splits
from labelwise.data.transforms import build_transform
from labelwise.errors import LabelwiseError
from labelwise.runs.run import Run

BATCH = 8


def source_of(run: Run, data: str | None) -> Dataset:
    """A data set with its splits; the run's own for `None`.

    Raises:
        LabelwiseError: the data cannot be read.
    """
    try:
        return ensure_splits(read(data or run.config.data.source), seed=run.config.seed)
    except LabelwiseError as error:
        raise LabelwiseError(
            f"no images to compare the export on ({error.given})",
            "the run's own data, or others",
            "name real photographs with --data SOURCE",
        ) from None


def judged_rows(data: Dataset) -> Dataset:
    """The val split, else the test split, else all rows."""
    split = next((name for name in ("val", "test") if data.splits().get(name)), None)
    return data if split is None else data.split(split)


def calibration_batches(run: Run, rows: Dataset, count: int) -> Iterator[Tensor]:
    """The first `count` readable images, as `[B, 3, H, W]` uint8."""
    return (images for _, images in batches(islice(readable(run, rows), count)))


def batches(named: Iterator[tuple[int, Tensor]]) -> Iterator[tuple[list[int], Tensor]]:
    """Images with their row numbers, a few at a time."""
    while batch := list(islice(named, BATCH)):
        yield [i for i, _ in batch], torch.stack([image for _, image in batch])


def readable(run: Run, rows: Dataset) -> Iterator[tuple[int, Tensor]]:
    """Row number and transformed image of each readable row."""
    transform = build_transform(run.config.transform(), train=False)
    for i in range(len(rows)):
        try:
            image = transform.decode(rows.encoded(i))
        except UnreadableImage:
            continue
        yield i, transform(image)
