#!/usr/bin/env bash
# Package:  webdataset 1.0.2
# Date:     2026-11-29
# Expected: decode() turns a member 2.json that holds null into None, as it turns one that holds [] into an empty list
#           and one that holds false into False.
# Happens:  a decoder that returns None counts as one that does not know the member, so the bytes b"null" stay as they
#           are. They are four bytes, they are true, and len() and a loop over them work: an image whose labels are
#           unknown seems to have the four labels 110, 117, 108 and 108.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check webdataset==1.0.2
cd "$here"
"$here/venv/bin/python" - <<'PY'
import io
import json
import tarfile

import webdataset

labels = {"1": ["cat"], "2": [], "3": False, "4": None}
with tarfile.open("images.tar", "w") as tar:
    for key, value in labels.items():
        content = json.dumps(value).encode()
        member = tarfile.TarInfo(f"{key}.json")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))

samples = webdataset.WebDataset("images.tar", shardshuffle=False).decode()
read = {sample["__key__"]: sample["json"] for sample in samples}
for key, value in labels.items():
    print(f"{json.dumps(value)} reads as {read[key]!r}")
print("labels of the last:", list(read["4"] or []))
if {key: read[key] for key in "123"} != {key: labels[key] for key in "123"}:
    raise SystemExit("changed: other values of JSON do not read as they were written")
if read["4"] != b"null":
    raise SystemExit("changed: null no longer reads as bytes")
PY
