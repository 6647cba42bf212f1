"""Writes fiftyone-VERSION/ with the package's own exporter; run where fiftyone and Pillow are. No database is needed.

FIFTYONE_DATABASE_URI=mongodb://localhost:1 FIFTYONE_DO_NOT_TRACK=true python tests/data/tools/write_fiftyone.py
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fiftyone.core.labels import Classification, Classifications
from fiftyone.core.metadata import ImageMetadata
from fiftyone.utils.data.exporters import FiftyOneImageClassificationDatasetExporter
from PIL import Image

HERE = Path(__file__).resolve().parent / f"fiftyone-{version('fiftyone')}"
CLASSES = ["cat", "dog", "never"]


def several(*names: str) -> Classifications:
    return Classifications(classifications=[Classification(label=name, confidence=0.5) for name in names])


LABELS: dict[str, Any] = {
    "a.jpg": several("cat", "dog"),
    "b.jpg": several(),
    "c.jpg": None,
    "sub/a.jpg": several("dog"),
    "d.jpg": Classification(label="cat"),
    "x.y.jpg": several("dog"),
}


def main() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        for number, image in enumerate(LABELS):
            (folder / image).parent.mkdir(exist_ok=True)
            colour = (40 * number, 255 - 40 * number, 90)
            Image.new("RGB", (8, 8), colour).save(folder / image, quality=50)
        forms: dict[str, dict[str, Any]] = {
            "indices": {"classes": CLASSES},
            "names": {"include_confidence": True, "include_attributes": True, "rel_dir": name},
        }
        for form, options in forms.items():
            shutil.rmtree(HERE / form, ignore_errors=True)
            with FiftyOneImageClassificationDatasetExporter(
                export_dir=str(HERE / form), **options
            ) as exporter:
                for image, label in LABELS.items():
                    exporter.export_sample(
                        str(folder / image), label, metadata=ImageMetadata(width=8, height=8)
                    )


if __name__ == "__main__":
    main()
