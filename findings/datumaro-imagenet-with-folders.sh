#!/usr/bin/env bash
# Package:  datumaro 1.13.12
# Date:     2026-11-29
# Expected: a dataset that is exported to the ImageNet folder form and read again has the same classes. An item may have
#           an id with a folder in it ("day1/a"): reading an image folder makes such ids.
# Happens:  the folder of the id goes below the folder of the class, and reading takes both for the class. Two images of
#           the class "ox" come back as one of the class "ox/day1" and one of "ox/day2". The class "ox" is still there,
#           without images. Nothing is said.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    datumaro==1.13.12 numpy==2.4.6 pandas==2.3.3 pillow==12.3.0
cd "$here"
"$here/venv/bin/python" - <<'PY'
import numpy
from datumaro import AnnotationType, Dataset, DatasetItem, Image, Label


def classes(dataset):
    names = [label.name for label in dataset.categories()[AnnotationType.label]]
    return names, sorted((item.id, [names[note.label] for note in item.annotations]) for item in dataset)


items = [
    DatasetItem(name, media=Image.from_numpy(data=numpy.zeros((8, 8, 3), numpy.uint8)), annotations=[Label(0)])
    for name in ("day1/a", "day2/a")
]
made = Dataset.from_iterable(items, categories=["ox"])
made.export("out", "imagenet", save_media=True)
before, after = classes(made), classes(Dataset.import_from("out", "imagenet"))
print("before: classes", before[0], "images", before[1])
print("after:  classes", after[0], "images", after[1])
found = sorted(labels for _, labels in after[1])
if before[0] != ["ox"] or sorted(after[0]) != ["ox", "ox/day1", "ox/day2"] or found != [["ox/day1"], ["ox/day2"]]:
    raise SystemExit("changed: the folder of the id no longer becomes part of the class")
PY
