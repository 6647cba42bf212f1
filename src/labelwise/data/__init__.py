"""Images with label states: readers, splits, partial-label masks, decoding, transforms and loaders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelwise.lazy import names_of

if TYPE_CHECKING:
    from labelwise.data.cellfile import read_cells, save_cells
    from labelwise.data.dataset import Dataset, Sample
    from labelwise.data.decode import UnreadableImage, decode_image
    from labelwise.data.loading import eval_loader, train_loader
    from labelwise.data.masks import group_mask, known_mask, positives_mask, single_positive_mask
    from labelwise.data.readers import read
    from labelwise.data.splits import ensure_splits, stratified_split
    from labelwise.data.transforms import TransformConfig, build_transform

_HOME = {
    "Dataset": "dataset",
    "Sample": "dataset",
    "UnreadableImage": "decode",
    "decode_image": "decode",
    "eval_loader": "loading",
    "train_loader": "loading",
    "group_mask": "masks",
    "known_mask": "masks",
    "positives_mask": "masks",
    "single_positive_mask": "masks",
    "read": "readers",
    "read_cells": "cellfile",
    "save_cells": "cellfile",
    "ensure_splits": "splits",
    "stratified_split": "splits",
    "TransformConfig": "transforms",
    "build_transform": "transforms",
}

__all__ = [
    "Dataset",
    "Sample",
    "TransformConfig",
    "UnreadableImage",
    "build_transform",
    "decode_image",
    "ensure_splits",
    "eval_loader",
    "group_mask",
    "known_mask",
    "positives_mask",
    "read",
    "read_cells",
    "save_cells",
    "single_positive_mask",
    "stratified_split",
    "train_loader",
]


__getattr__ = names_of(__name__, _HOME)


def __dir__() -> list[str]:
    return __all__
