"""Exports models to each format for phones and compares their answers with PyTorch's on photographs.

Run: python tools/phones.py IMAGES [--backbones NAME...] [--methods ID...] [--formats executorch litert coreml]
         [--images 8] [--weights NAME=WEIGHTS...] [--csv results/phones.csv]

Heads have random weights, and backbones too unless --weights names some: the figures are about the conversion, not
about accuracy. Images are the first of a folder, 224 px, squashed. A line per format, method and backbone: the version
of the tool, the size of the file, the largest difference of a probability, whether all decisions at .5 are equal, and
the median time of an image in the tool's runtime for Python on this machine, beside PyTorch's. Core ML computes nothing
here.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from kept import keep, show
from labelwise.data.transforms import TransformConfig, build_transform
from labelwise.engines.runtimes import Engine
from labelwise.errors import LabelwiseError
from labelwise.export.artefact import FOR_PHONES
from labelwise.export.engines import Eager, installed_runtimes
from labelwise.export.graph import program_for_phones, write_graph
from labelwise.export.phones import CONVERTERS
from labelwise.methods import create_model
from labelwise.model import LabelModel

SIDE, LABELS = 224, tuple(f"label {i}" for i in range(20))


def model_of(method: str, backbone: str, weights: str) -> LabelModel:
    """A model whose labels differ: the weights of its head that are one per label are drawn anew."""
    torch.manual_seed(0)
    model = create_model(method, backbone, LABELS, image_size=SIDE, weights=weights).eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if len(LABELS) in p.shape and not key.startswith("backbone."):
                p.normal_(std=0.2)
            elif not p.any():  # a converter may leave out a branch whose scale or bias starts at zero
                p.uniform_(-0.5, 0.5)
    return model


def photographs(folder: Path, count: int) -> torch.Tensor:
    """The first images of a folder `[N, 3, H, W]` uint8."""
    transform = build_transform(TransformConfig(image_size=(SIDE, SIDE), resize="squash"), train=False)
    files = sorted(p for p in folder.iterdir() if p.suffix in (".jpg", ".jpeg", ".png"))[:count]
    return torch.stack([torch.as_tensor(transform(transform.decode(file))) for file in files])


def milliseconds(engine: Engine, images: torch.Tensor) -> float:
    """Median time of one image, after one untimed."""
    engine(images[:1], want_maps=True)
    times = []
    for image in images:
        start = time.perf_counter()
        engine(image[None], want_maps=True)
        times.append(1e3 * (time.perf_counter() - start))
    return median(times)


def compared(engine: Engine, eager: Eager, images: torch.Tensor) -> dict[str, Any]:
    """Differences of the answers, and the times."""
    (logits, maps), (expected, expected_maps) = engine(images, True), eager(images, True)
    p, q = (1 / (1 + np.exp(-z.astype(np.float64))) for z in (logits, expected))
    assert maps is not None
    assert expected_maps is not None
    return {
        "engine": engine.name,
        "max_probability_difference": float(np.abs(p - q).max()),
        "decisions_equal": bool(((p >= 0.5) == (q >= 0.5)).all()),
        "mean_map_distance": float(np.abs(maps - expected_maps).sum((2, 3)).mean() / 2),
        "spread_of_probabilities": float(np.ptp(q, axis=0).max()),
        "ms_per_image": round(milliseconds(engine, images), 2),
        "ms_per_image_torch": round(milliseconds(eager, images), 2),
    }


def size_of(path: Path) -> int:
    """Bytes of a file or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


FIELDS = (
    *("format", "method", "backbone", "weights", "converter", "megabytes", "seconds_to_convert", "engine"),
    *("max_probability_difference", "decisions_equal", "mean_map_distance", "spread_of_probabilities"),
    *("ms_per_image", "ms_per_image_torch", "images", "image_size", "torch", "refused"),
)


def row(kind: str, eager: Eager, images: torch.Tensor) -> dict[str, Any]:
    """The line of a format."""
    package = CONVERTERS[kind][0]
    line: dict[str, Any] = {"converter": f"{package} {version(package)}", "torch": torch.__version__}
    folder, start = Path(tempfile.mkdtemp()), time.perf_counter()
    try:
        exported = program_for_phones(eager.model, kind, (SIDE, SIDE), maps=True)
        file = folder / write_graph(exported, kind, folder)
        line["seconds_to_convert"] = round(time.perf_counter() - start, 1)
        line["megabytes"] = round(size_of(file) / 1e6, 2)
        for _, opened in installed_runtimes(kind, file, True):
            line |= compared(opened(), eager, images)
    except LabelwiseError as error:
        line["refused"] = error.given
    finally:
        shutil.rmtree(folder)
    return line


def main() -> None:
    """Prints the lines and writes them as CSV with --csv, after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="IMAGES")
    parser.add_argument(
        "--backbones", nargs="+", default=["tf_efficientnet_lite0", "mobilenetv2_100", "resnet18"]
    )
    parser.add_argument("--methods", nargs="+", default=["dlfl", "csra", "ssgrl", "baseline-mlp"])
    parser.add_argument("--formats", nargs="+", choices=FOR_PHONES, default=list(FOR_PHONES))
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--weights", nargs="*", default=[], metavar="NAME=WEIGHTS")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    weights = dict(pair.split("=", 1) for pair in args.weights)
    torch.set_num_threads(1)
    images = photographs(args.folder, args.images)
    rows: list[dict[str, Any]] = []
    for backbone in args.backbones:
        for method in args.methods:
            named = weights.get(backbone, "none")
            eager = Eager(model_of(method, backbone, named), "cpu")
            for kind in args.formats:
                line = {"format": kind, "method": method, "backbone": backbone, "weights": named}
                line |= {"images": len(images), "image_size": SIDE, **row(kind, eager, images)}
                show(line)
                rows.append(line)
                keep(args.csv, rows, FIELDS)


if __name__ == "__main__":
    main()
