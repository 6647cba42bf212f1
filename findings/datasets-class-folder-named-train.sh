#!/usr/bin/env bash
# Package:  datasets 5.2.0
# Date:     2026-11-29
# Expected: an image folder with one folder for each class loads every image, with the folder's name as label, whatever
#           the classes are called ("train" is a class of COCO and Pascal VOC); or loading says what it leaves out.
# Happens:  one class folder whose name has the word train, test, dev, eval or validation in it is taken for a split.
#           The images of all other classes are left out and the label is gone, without a word. "train_station" and
#           "model train" do it too.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check datasets==5.2.0 pillow==13.0.0
cd "$here"
HF_HOME="$here/cache" HF_DATASETS_DISABLE_PROGRESS_BARS=1 HF_HUB_OFFLINE=1 "$here/venv/bin/python" - <<'PY'
import os
import warnings

from datasets import load_dataset
from PIL import Image


def load(folder, *classes):
    for name in classes:
        os.makedirs(os.path.join(folder, name))
        for i in range(2):
            Image.new("RGB", (8, 8)).save(os.path.join(folder, name, f"{i}.png"))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        loaded = load_dataset("imagefolder", data_dir=folder)
    images = sum(len(part) for part in loaded.values())
    labelled = all("label" in part.column_names for part in loaded.values())
    print(f"{classes}: {images} of {2 * len(classes)} images, with labels: {labelled}, warnings: {len(said)}")
    return images, labelled


if load("one", "bus", "car", "bicycle") != (6, True):
    raise SystemExit("changed: classes without such a word do not load whole")
for number, name in enumerate(("train", "train_station", "model train")):
    if load(f"other{number}", "bus", "car", name) != (2, False):
        raise SystemExit("changed: a class folder with the word train no longer hides the others")
PY
