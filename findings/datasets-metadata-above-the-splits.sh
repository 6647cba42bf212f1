#!/usr/bin/env bash
# Package:  datasets 5.2.0
# Date:     2026-11-29
# Expected: a metadata.jsonl at the top of an image folder, whose file_name entries are relative to it ("train/0.png"),
#           gives its labels to the images below it, as it does for a folder without splits; or loading says that the
#           file is not used.
# Happens:  with folders train and test below it the file is not read, and nothing is said. The names of the splits
#           become the class names instead, and only the later split gets a label: every image of train has label None,
#           every image of test has label 0, which is the class "test".
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check datasets==5.2.0 pillow==13.0.0
cd "$here"
HF_HOME="$here/cache" HF_DATASETS_DISABLE_PROGRESS_BARS=1 HF_HUB_OFFLINE=1 "$here/venv/bin/python" - <<'PY'
import json
import os
import warnings

from datasets import load_dataset
from PIL import Image


def make(folder, *parts):
    lines = []
    for part in parts:
        os.makedirs(os.path.join(folder, part))
        for i in range(2):
            Image.new("RGB", (8, 8)).save(os.path.join(folder, part, f"{i}.png"))
            lines.append(json.dumps({"file_name": f"{part}/{i}.png", "labels": ["cat", "dog"][: i + 1]}) + "\n")
    with open(os.path.join(folder, "metadata.jsonl"), "w") as file:
        file.writelines(lines)


make("whole", "pictures")
make("split", "train", "test")
whole = load_dataset("imagefolder", data_dir="whole")["train"]
print("one folder: ", whole.column_names, whole["labels"][:])
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    split = load_dataset("imagefolder", data_dir="split")
print("two splits: ", split["train"].column_names, split["train"].features["label"].names, len(said), "warnings")
print("  train:", split["train"]["label"][:], " test:", split["test"]["label"][:])
if whole["labels"][:] != [["cat"], ["cat", "dog"]]:
    raise SystemExit("changed: the file is not read for a folder without splits")
if "labels" in split["train"].column_names or "labels" in split["test"].column_names:
    raise SystemExit("changed: the file above the splits is read")
if split["train"]["label"][:] != [None, None] or split["test"]["label"][:] != [0, 0]:
    raise SystemExit("changed: the names of the splits are no longer used in this way")
PY
