#!/usr/bin/env bash
# Package:  pycocotools 2.0.11
# Date:     2026-11-29
# Expected: getCatIds(catNms=["dog", "cat"]) gives the id of dog and then that of cat, so that zip() pairs the names
#           with their ids; a name that is not there is an error, or leads to no images.
# Happens:  the ids come in the order of the file, so zip() swaps the two labels without a word. A name that is not
#           there is left out of the answer; where it is the only one, the answer is empty, and getImgIds(catIds=[])
#           takes that for "no filter" and gives every image.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check pycocotools==2.0.11
"$here/venv/bin/python" - <<'PY'
import contextlib
import io

from pycocotools.coco import COCO

coco = COCO()
coco.dataset = {
    "images": [{"id": 1}, {"id": 2}, {"id": 3}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1},
        {"id": 2, "image_id": 2, "category_id": 2},
    ],
}
with contextlib.redirect_stdout(io.StringIO()):
    coco.createIndex()
asked = ["dog", "cat"]
pairs = dict(zip(asked, coco.getCatIds(catNms=asked), strict=True))
print("names with their ids by zip():", pairs, "in the file:", {cat["name"]: cat["id"] for cat in coco.cats.values()})
missing = coco.getCatIds(catNms=["dgo"])
images = coco.getImgIds(catIds=missing)
print("ids of the misspelt 'dgo':", missing, "images with it:", images, "images with dog:", coco.getImgIds(catIds=[2]))
if pairs != {"dog": 1, "cat": 2}:
    raise SystemExit("changed: the ids come in the order of the names asked for")
if missing != [] or images != [1, 2, 3]:
    raise SystemExit("changed: a name that is not there no longer leads to every image")
PY
