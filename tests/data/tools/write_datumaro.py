"""Writes datumaro-VERSION/ with the package's own exporters; run where datumaro and Pillow are.

python tests/data/tools/write_datumaro.py
"""

from __future__ import annotations

import logging
import shutil
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import datumaro as dm
from PIL import Image

HERE = Path(__file__).resolve().parent / f"datumaro-{version('datumaro')}"
FORMATS = ("datumaro", "imagenet_txt", "cvat")


def categories() -> dm.LabelCategories:
    labels = dm.LabelCategories()
    for name, parent in (("animal", ""), ("cat", "animal"), ("dog", "animal"), ("tree", ""), ("never", "")):
        labels.add(name, parent)
    exclusive, inclusive = (
        dm.components.annotation.GroupType.EXCLUSIVE,
        dm.components.annotation.GroupType.INCLUSIVE,
    )
    labels.add_label_group("pet", ["cat", "dog"], exclusive)
    labels.add_label_group("plant", ["never", "tree"], exclusive)
    labels.add_label_group("alive", ["animal", "tree"], inclusive)
    return labels


def items(folder: Path) -> list[dm.DatasetItem]:
    """Six images: two labels, one in a folder, a blank in the name, box and polygon, none at all."""
    column = {name: i for i, name in enumerate(("animal", "cat", "dog", "tree", "never"))}
    annotations = {
        ("train", "a.jpg"): [dm.Label(column["cat"]), dm.Label(column["dog"])],
        ("train", "sub/b.jpg"): [dm.Label(column["tree"], attributes={"occluded": True})],
        ("train", "c d.jpg"): [dm.Label(column["cat"])],
        ("val", "d.jpg"): [
            dm.Bbox(2, 1, 4, 6, label=column["dog"]),
            dm.Label(column["tree"]),
            dm.Caption("a tree and a dog"),
        ],
        ("val", "e.jpg"): [dm.Polygon([1, 1, 5, 1, 5, 7], label=column["cat"]), dm.Bbox(0, 0, 2, 2)],
        ("test", "f.jpg"): [],
    }
    made = []
    for number, ((subset, name), parts) in enumerate(annotations.items()):
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (40 * number, 255 - 40 * number, 90)).save(file, quality=50)
        media = dm.Image.from_file(path=str(file))
        made.append(dm.DatasetItem(name[:-4], subset=subset, media=media, annotations=parts))
    return made


def main() -> None:
    logging.disable(logging.WARNING)
    with TemporaryDirectory() as folder:
        data = dm.Dataset.from_iterable(
            items(Path(folder)),
            categories={dm.AnnotationType.label: categories()},
            media_type=dm.Image,
        )
        for form in FORMATS:
            shutil.rmtree(HERE / form, ignore_errors=True)
            data.export(str(HERE / form), form, save_media=True)


if __name__ == "__main__":
    main()
