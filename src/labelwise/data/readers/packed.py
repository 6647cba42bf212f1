"""A packed store: the folder that `labelwise data pack` writes."""

from __future__ import annotations

from dataclasses import replace

from pyarrow import parquet

from labelwise.data.dataset import Dataset
from labelwise.data.readers.files import source_folder
from labelwise.data.source import Source
from labelwise.data.store import TABLE, PackedImages
from labelwise.data.table import dataset_from_table
from labelwise.errors import LabelwiseError

FORM = "packed:DIR"
MEANING = "the store of resized images that `labelwise data pack` writes; it reads fast"
OPTIONS: frozenset[str] = frozenset()


def read(source: Source) -> Dataset:
    """Opens a store; images are memory-mapped, and each is checked when it is read.

    Raises:
        LabelwiseError: a missing or damaged store, or one of a newer format.
    """
    folder = source_folder(source, "a folder that `labelwise data pack` wrote")
    images = PackedImages(folder)
    data = dataset_from_table(parquet.read_table(folder / TABLE), folder / TABLE)
    if len(data) != len(images):
        raise LabelwiseError(
            f"{folder} with {len(images):,} images for {len(data):,} rows", "one image per row", "pack again"
        )
    return replace(data, store=images)
