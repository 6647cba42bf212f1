"""ImageNet ReaL: several labels for each image of ImageNet's validation split."""

from __future__ import annotations

import json
from pathlib import Path

from labelwise.data.dataset import Dataset
from labelwise.data.readers.image_labels import ImageLabels, dataset_of_images
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

FORM = "imagenet_real:DIR[?images=DIR]"
MEANING = "ImageNet ReaL: real.json, and the images of the validation split below it or in images"
OPTIONS = frozenset({"images", "missing", "duplicates"})


def recognises(path: Path) -> bool:
    """Whether a folder holds real.json."""
    return (path / "real.json").is_file()


def read(source: Source) -> Dataset:
    """Reads a list of class numbers for each image, in the order of the images' numbers, as the split test.

    An image with an empty list has no answer and is unknown; labels that an image lacks are absent.

    Raises:
        LabelwiseError: not a list of lists of class numbers, or missing images.
    """
    folder = Path(source.path)
    file = folder / "real.json"
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabelwiseError(f"{file}: {error.strerror}", "the file real.json", "check the path") from None
    except ValueError:
        rows = None
    if not isinstance(rows, list) or not all(
        isinstance(row, list) and all(type(number) is int and 0 <= number < 1000 for number in row)
        for row in rows
    ):
        raise LabelwiseError(
            f"{file} of another form", "a list of class numbers for each image", "download it again"
        )
    items = [
        ImageLabels(f"ILSVRC2012_val_{i:08}.JPEG", [str(n) for n in row], known=bool(row), split="test")
        for i, row in enumerate(rows, 1)
    ]
    names = [str(number) for number in sorted({number for row in rows for number in row})]
    return dataset_of_images(
        items, source, [folder, folder / "val"], labels=names, row_name=lambda i: f"image {i + 1}"
    )
