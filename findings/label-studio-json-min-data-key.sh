#!/usr/bin/env bash
# Package:  label-studio-sdk 2.1.2
# Date:     2026-11-29
# Expected: in a JSON_MIN export, the field named like a control tag ("tags") holds what the person chose and nothing
#           else. A person who looks at an image and chooses nothing leaves the field out, or empty.
# Happens:  the record starts as a copy of the task's data. Where the data has a key of that name (a guess of an older
#           model, say), the old value stays in place when nothing is chosen, and reads as the person's choice. Where
#           something is chosen the old value is lost. The CSV export of the same version keeps the two apart.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check label-studio-sdk==2.1.2
cd "$here"
"$here/venv/bin/python" - <<'PY'
import csv
import json

from label_studio_sdk.converter import Converter

CONFIG = """
<View>
  <Image name="image" value="$image"/>
  <Choices name="tags" toName="image" choice="multiple"><Choice value="cat"/><Choice value="dog"/></Choices>
</View>
"""


def chosen(*labels):
    return {"from_name": "tags", "to_name": "image", "type": "choices", "value": {"choices": list(labels)}}


tasks = [
    {"id": 1, "data": {"image": "1.jpg", "tags": "dog"}, "annotations": [{"id": 11, "result": [chosen("cat")]}]},
    {"id": 2, "data": {"image": "2.jpg", "tags": "dog"}, "annotations": [{"id": 12, "result": []}]},
]
with open("tasks.json", "w") as file:
    json.dump(tasks, file)

converter = Converter(config=CONFIG, project_dir=".", download_resources=False)
converter.convert_to_json_min("tasks.json", "small", is_dir=False)
with open("small/result.json") as file:
    small = {record["id"]: record.get("tags") for record in json.load(file)}
converter.convert_to_csv("tasks.json", "table", is_dir=False, sep=",", header=True)
with open("table/result.csv", newline="") as file:
    table = {int(row["id"]): (row["tags"], row["_data_tags"]) for row in csv.DictReader(file)}

for number, by_person in ((1, "cat"), (2, "nothing")):
    print(f"task {number}: chosen: {by_person}; JSON_MIN: {small[number]!r}; CSV (tags, _data_tags): {table[number]}")
if small != {1: "cat", 2: "dog"}:
    raise SystemExit("changed: JSON_MIN no longer shows a value of the data as a choice")
if table != {1: ("cat", "dog"), 2: ("", "dog")}:
    raise SystemExit("changed: the CSV export no longer keeps the two apart")
PY
