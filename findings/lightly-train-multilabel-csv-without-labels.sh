#!/usr/bin/env bash
# Package:  lightly-train 0.18.0
# Date:     2026-11-29
# Expected: in a CSV for multi-label classification a row whose label cell is empty is an image that shows none of the
#           classes, a negative for all of them; it is read as such, refused, or its leaving out is said. The same for a
#           row whose file does not exist.
# Happens:  both rows are left out without a word, so a network never sees an image without labels, and figures on a
#           validation file are of fewer images than it lists. A file of such rows alone gives an empty list. A label
#           that is no class raises KeyError, so that other mistakes are told.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    lightly-train==0.18.0 albumentations==2.0.8 albucore==0.0.24 opencv-python-headless==4.14.0.94 torch==2.14.1 \
    torchvision==0.29.1 numpy==2.4.6 pillow==13.0.0
cd "$here"
"$here/venv/bin/python" - <<'PY'
import logging
import warnings
from pathlib import Path

from lightly_train._data.image_classification_dataset import ImageClassificationDatasetArgs
from PIL import Image

said = []


class Keep(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())


for logger in (logging.getLogger(), logging.getLogger("lightly_train")):
    logger.setLevel(logging.INFO)
    logger.addHandler(Keep(logging.INFO))
Path("photos").mkdir()
for name in ("both", "none", "cat"):
    Image.new("RGB", (8, 8)).save(f"photos/{name}.jpg")


def rows(*lines):
    Path("labels.csv").write_text("\n".join(["image_path,label", *lines, ""]))
    read = ImageClassificationDatasetArgs(
        dir_or_file=Path("labels.csv"),
        classes={0: "dog", 1: "cat"},
        ignore_classes=None,
        classification_task="multilabel",
    )
    return {Path(row["image_path"]).name: row["class_id"] for row in read.list_image_info()}


with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    four = rows('photos/both.jpg,"dog,cat"', "photos/none.jpg,", "photos/cat.jpg,cat", "photos/gone.jpg,dog")
    empty = rows("photos/none.jpg,")
    try:
        foreign = rows("photos/cat.jpg,bird")
    except KeyError as error:
        foreign = f"KeyError: {error}"
print("four rows:", four)
print("one row without labels:", empty)
print("a label that is no class:", foreign)
print("said:", said + [str(warning.message) for warning in warned])
if four != {"both.jpg": "0,1", "cat.jpg": "1"} or empty:
    raise SystemExit("changed: the row without labels, or that without a file, is read")
if said or warned:
    raise SystemExit("changed: something is said")
if foreign != "KeyError: 'bird'":
    raise SystemExit("changed: a label that is no class is told otherwise")
PY
