#!/usr/bin/env bash
# Package:  datumaro 1.13.12
# Date:     2026-11-29
# Expected: an export to voc_classification of an image with a label and a box of a cat counts the box as "a cat is in
#           the image", as the lists of Pascal VOC itself do, or leaves the image out of the list of cats.
# Happens:  an image with a label and a box of a cat is listed as -1, "no cat", a wrong negative to train on. An image
#           with boxes only is saved but stands in no list, not even train.txt, while one without any annotation stands
#           in train.txt. Nothing is said.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    datumaro==1.13.12 numpy==2.4.6 pandas==2.3.3 pillow==12.3.0
cd "$here"
"$here/venv/bin/python" - <<'PY'
import logging
import os

import numpy
from datumaro import Bbox, Dataset, DatasetItem, Image, Label

said = []


class Keep(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())


logging.getLogger().addHandler(Keep(logging.WARNING))


def item(name, *annotations):
    picture = Image.from_numpy(data=numpy.zeros((8, 8, 3), numpy.uint8))
    return DatasetItem(name, subset="train", media=picture, annotations=list(annotations))


cat, dog = 0, 1
box = Bbox(1, 1, 4, 4, label=cat)
items = [item("label_dog_box_cat", Label(dog), box), item("box_cat", box), item("empty"), item("label_cat", Label(cat))]
Dataset.from_iterable(items, categories=["cat", "dog"]).export("out", "voc_classification", save_media=True)

with open("out/ImageSets/Main/cat_train.txt") as file:
    cats = dict(line.split() for line in file)
with open("out/ImageSets/Main/train.txt") as file:
    train = sorted(file.read().split())
print("images saved:", sorted(os.listdir("out/JPEGImages")))
print("train.txt:", train)
print("cat_train.txt:", cats, "warnings:", said)
if cats != {"label_dog_box_cat": "-1", "label_cat": "1"}:
    raise SystemExit("changed: a box of a cat no longer makes a negative")
if train != ["empty", "label_cat", "label_dog_box_cat"] or said:
    raise SystemExit("changed: an image with boxes only stands in the list, or something is said")
PY
