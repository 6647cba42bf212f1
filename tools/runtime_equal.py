"""Equality of labelwise-runtime with labelwise: pixels to the bit, and answers of an export.

Run: python tools/runtime_equal.py EXPORT PHOTOS --runtime RUNTIME/bin/labelwise-runtime [--photos 500]
         [--csv results/runtime.csv]

Pixels: torch's decoder and resize beside those of the runtime, on photographs and on the odd files of the tests, for
three settings of the transform. Answers: `labelwise-runtime predict --json` beside the export with torch's pixels.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch  # noqa: F401 - the main package then decodes and resizes with torch

from kept import keep
from labelwise.data.fixed import FixedTransform
from labelwise.data.pixels import UnreadableImage
from labelwise.data.transforms import ImageTransform, build_transform
from labelwise.export import Preprocessing
from labelwise.inference import load
from odd_files import odd_files

HALF = (0.5,) * 3
SETTINGS = {
    "squash 224": Preprocessing((224, 224), "squash", HALF, HALF),
    "crop 448": Preprocessing((448, 448), "crop", HALF, HALF),
    "squash 160 and 224": Preprocessing((160, 160), "squash", HALF, HALF, larger=(224, 224)),
}


def outcome(transform: Any, content: bytes) -> tuple[bytes, str]:
    """The bytes of the pixels, or the error."""
    try:
        return np.ascontiguousarray(transform(transform.decode(content))).tobytes(), ""
    except UnreadableImage as error:
        return b"", str(error)


def main() -> None:
    """Compares and writes a row for each set of files and setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("export")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    photos = sorted(given.folder.glob("*.jpg"))[: given.photos]
    sets = {"photographs": [p.read_bytes() for p in photos], "odd files": list(odd_files().values())}
    rows = []
    for what, files in sets.items():
        for name, prepared in SETTINGS.items():
            ours, theirs = FixedTransform(prepared), build_transform(prepared.transform(), train=False)
            pairs = [(outcome(ours, content), outcome(theirs, content)) for content in files]
            rows.append(
                {
                    "compared": f"pixels, {name}",
                    "files": f"{len(files)} {what}",
                    "unreadable": sum(bool(error) for (_, error), _ in pairs),
                    "equal": sum(one == other for one, other in pairs),
                    "largest_difference": 0 if all(one == other for one, other in pairs) else "see equal",
                }
            )
            print(rows[-1], flush=True)
    predictor = load(given.export)
    assert isinstance(predictor.transform, ImageTransform)
    with tempfile.TemporaryDirectory() as folder:
        odd = [Path(folder, name) for name in odd_files()]
        for path, content in odd_files().items():
            Path(folder, path).write_bytes(content)
        for what, paths in (("photographs", photos), ("odd files", odd)):
            listed = Path(folder, "list.txt")
            listed.write_text("\n".join(map(str, paths)), encoding="utf-8")
            command = [given.runtime, "predict", given.export, f"@{listed}", "--json"]
            lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
            answers = [json.loads(line) for line in lines]
            expected = [p.to_json() for p in predictor.predict(list(map(str, paths)))]
            worst, same = 0.0, 0
            for one, other in zip(answers, expected, strict=True):
                ours, theirs = ({x["name"]: x for x in a.get("labels", [])} for a in (one, other))
                worst = max([worst, *(abs(ours[n]["score"] - theirs[n]["score"]) for n in theirs)])
                chosen = [{n for n in side if side[n]["selected"]} for side in (ours, theirs)]
                same += chosen[0] == chosen[1] and one.get("error") == other.get("error")
            rows.append(
                {
                    "compared": "answers: probabilities, decisions, errors",
                    "files": f"{len(answers)} {what}",
                    "unreadable": sum("error" in answer for answer in expected),
                    "equal": same,
                    "largest_difference": f"{worst:.1e}",
                }
            )
            print(rows[-1], flush=True)
    keep(given.csv, rows)


if __name__ == "__main__":
    main()
