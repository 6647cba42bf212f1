#!/usr/bin/env bash
# Package:  label-studio-sdk 2.1.2 and pycocotools 2.0.11, where the two meet
# Date:     2026-11-29
# Expected: a COCO export of Label Studio serves as ground truth: detections equal to its boxes have an average
#           precision of 1.
# Happens:  the export numbers its annotations from 0. pycocotools notes the id of the box that a detection matches and
#           takes 0 for "no match", so the first box of every export counts as never found, and its detection as wrong.
#           With two images the average precision of perfect detections is 0.25. Ids that start from 1 give 1.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    label-studio-sdk==2.1.2 pycocotools==2.0.11
cd "$here"
"$here/venv/bin/python" - <<'PY'
import contextlib
import io
import json
import os

from label_studio_sdk.converter import Converter
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

CONFIG = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="box" toName="image"><Label value="cat"/></RectangleLabels>
</View>
"""
tasks = []
for number in (1, 2):
    path = os.path.abspath(f"{number}.png")
    Image.new("RGB", (100, 100)).save(path)
    value = {"x": 10, "y": 10, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["cat"]}
    box = {"from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": value}
    box |= {"original_width": 100, "original_height": 100}
    tasks.append({"id": number, "data": {"image": path}, "annotations": [{"id": number, "result": [box]}]})
with open("tasks.json", "w") as file:
    json.dump(tasks, file)
Converter(config=CONFIG, project_dir=".", download_resources=False).convert_to_coco("tasks.json", "out", is_dir=False)


def precision(first):
    with open("out/result.json") as file:
        content = json.load(file)
    for entry in content["annotations"]:
        entry["id"] += first
    found = [
        {"image_id": entry["image_id"], "category_id": entry["category_id"], "bbox": entry["bbox"], "score": 0.9}
        for entry in content["annotations"]
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
        judged = COCOeval(truth, truth.loadRes(found), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    ids = [entry["id"] for entry in content["annotations"]]
    print("ids of the annotations:", ids, "average precision of the same boxes:", round(float(judged.stats[0]), 4))
    return ids, round(float(judged.stats[0]), 2)


if precision(0) != ([0, 1], 0.25):
    raise SystemExit("changed: the first box of an export counts")
if precision(1) != ([1, 2], 1.0):
    raise SystemExit("changed: ids from 1 no longer give 1")
PY
