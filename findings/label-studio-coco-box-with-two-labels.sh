#!/usr/bin/env bash
# Package:  label-studio-sdk 2.1.2
# Date:     2026-11-29
# Expected: RectangleLabels with choice="multiple" lets a person give one box two labels. The COCO export gives such a
#           box two entries, as the YOLO export of the same version does, or says that it cannot.
# Happens:  COCO keeps the label that stands first in the list and drops the others without a word. The dropped label
#           still stands in the categories, so it looks like a label that is simply never used. JSON_MIN and YOLO keep
#           both.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check label-studio-sdk==2.1.2
cd "$here"
"$here/venv/bin/python" - <<'PY'
import glob
import json
import logging
import os

from label_studio_sdk.converter import Converter
from PIL import Image

CONFIG = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="box" toName="image" choice="multiple">
    <Label value="cat"/><Label value="wet"/>
  </RectangleLabels>
</View>
"""
said = []


class Keep(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())


logging.getLogger().addHandler(Keep(logging.WARNING))
Image.new("RGB", (100, 100)).save("1.png")
value = {"x": 10, "y": 10, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["cat", "wet"]}
box = {"from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": value}
box |= {"original_width": 100, "original_height": 100}
with open("tasks.json", "w") as file:
    data = {"image": os.path.abspath("1.png")}
    json.dump([{"id": 1, "data": data, "annotations": [{"id": 1, "result": [box]}]}], file)

converter = Converter(config=CONFIG, project_dir=".", download_resources=False)
converter.convert_to_json_min("tasks.json", "small", is_dir=False)
converter.convert_to_coco("tasks.json", "coco", is_dir=False)
converter.convert_to_yolo("tasks.json", "yolo", is_dir=False)

with open("small/result.json") as file:
    small = json.load(file)[0]["box"][0]["rectanglelabels"]
with open("coco/result.json") as file:
    coco = json.load(file)
names = {category["id"]: category["name"] for category in coco["categories"]}
in_coco = [names[entry["category_id"]] for entry in coco["annotations"]]
with open("yolo/classes.txt") as file:
    classes = file.read().split()
with open(glob.glob("yolo/labels/*.txt")[0]) as file:
    in_yolo = [classes[int(line.split()[0])] for line in file]

print("labels of the box: JSON_MIN", small, "COCO", in_coco, "YOLO", in_yolo)
print("categories of COCO:", sorted(names.values()), "classes of YOLO:", classes, "warnings:", said)
if small != ["cat", "wet"] or in_coco != ["cat"] or in_yolo != ["cat", "wet"] or said:
    raise SystemExit("changed: the second label of a box is no longer dropped without a word")
PY
