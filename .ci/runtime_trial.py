"""Predicts a picture with an export in the environment of labelwise-runtime alone."""

import subprocess
import sys
from pathlib import Path

import labelwise_runtime as lwr
from PIL import Image

export = sys.argv[1]
Image.new("RGB", (40, 30), (220, 30, 30)).save("red.png")
(p,) = lwr.load(export).predict("red.png")
assert p.error is None
assert p.selected, p.scores
assert not {"torch", "labelwise", "scipy", "pyarrow"} & set(sys.modules)
program = Path(sys.executable).with_name("labelwise-runtime")
printed = subprocess.run([program, "predict", export, "red.png"], check=True, capture_output=True, text=True)
assert printed.stdout.startswith("red.png: "), printed.stdout
assert p.selected[0] in printed.stdout, printed.stdout
print(printed.stdout, end="")
