"""Speed from image file to training tensor on one core: labelwise, Pillow with torchvision, and a packed store.

Run: python benchmarks/input.py [--photographs DIR] --csv results/input.csv
     python benchmarks/input.py --accuracy RUN --csv results/input-accuracy.csv

Pictures are random, or photographs of DIR, enlarged to 640 x 480. With --accuracy: a run's test mAP by Pillow and by
labelwise.

CPU time of one thread, median of repeats over the same images in batches of 32. The difference is the mean absolute
difference, in grey levels, to Pillow's decoding and antialiased bicubic resize.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import PIL
import pyarrow as pa
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from labelwise.data import Dataset, eval_loader, read
from labelwise.data.decode import decode_image
from labelwise.data.pack import pack
from labelwise.data.splits import ensure_splits
from labelwise.data.transforms import TransformConfig, build_transform
from labelwise.inference import Predictor
from labelwise.metrics.functional import mean_average_precision
from labelwise.runs.run import Run
from labelwise.types import LabelSet
from measuring import keep

LARGE = (640, 480)
FIELDS = (
    "way", "pixels", "milliseconds_per_image", "images_per_second", "times_faster", "mean_absolute_difference",
    "images", "file_kB", "repeats", "threads", "clock", "load", "torchvision", "pillow", "processor",
)  # fmt: skip


def make_photographs(folder: Path, given: str | None, count: int) -> list[Path]:
    """Files of 640 x 480 pixels at quality 90, from photographs or from random noise of several scales."""
    rng = np.random.default_rng(0)
    sources = sorted(Path(given).glob("*.jpg"))[:count] if given else [None] * count
    files = []
    for i, source in enumerate(sources):
        if source is None:
            layers = [rng.integers(0, 256, (3 * s, 4 * s, 3), dtype=np.uint8) for s in (2, 8, 32)]
            parts = [
                np.asarray(Image.fromarray(x).resize(LARGE, Image.Resampling.BICUBIC), float) for x in layers
            ]
            image = Image.fromarray((0.6 * parts[0] + 0.3 * parts[1] + 0.1 * parts[2]).astype(np.uint8))
        else:
            image = Image.open(source).convert("RGB").resize(LARGE, Image.Resampling.BICUBIC)
        files.append(folder / f"{i:05}.jpg")
        image.save(files[-1], quality=90)
    return files


def by_pillow(files: list[Path], size: int) -> Iterator[Tensor]:
    """Batches as in most training scripts."""
    for start in range(0, len(files), 32):
        images = []
        for path in files[start : start + 32]:
            with Image.open(path) as image:
                resized = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
            images.append(F.pil_to_tensor(resized))
        yield torch.stack(images)


def by_loader(data: Dataset, size: int) -> Iterator[Tensor]:
    """Batches of the library's own loader, in this process."""
    transform = build_transform(TransformConfig(image_size=size), train=False)
    for batch in eval_loader(data, transform, batch_size=32, workers=0):
        yield batch.images


def seconds(make: Callable[[], Iterator[Tensor]], repeats: int) -> float:
    """Median CPU time of one pass, after one warm-up pass."""
    times = []
    for _ in range(repeats + 1):
        start = time.process_time()
        for _batch in make():
            pass
        times.append(time.process_time() - start)
    return median(times[1:])


def rows(folder: Path, files: list[Path], size: int, repeats: int) -> Iterator[dict]:
    """A row per method; ratios are relative to Pillow with torchvision in the same run."""
    cells = np.zeros((len(files), 1), np.uint8)
    data = Dataset(LabelSet(("any",)), pa.array([f.name for f in files]), folder, cells, cells == 0)
    pack(data, folder / f"raw{size}", size, "raw", workers=1)
    pack(data, folder / f"jpeg{size}", size, "jpeg", workers=1)
    raw, jpeg = (read(f"packed:{folder / f'{form}{size}'}") for form in ("raw", "jpeg"))
    ways: dict[str, Callable[[], Iterator[Tensor]]] = {
        "Pillow + torchvision": lambda: by_pillow(files, size),
        "labelwise, files": lambda: by_loader(data, size),
        "labelwise, packed jpeg": lambda: by_loader(jpeg, size),
        "labelwise, packed raw": lambda: by_loader(raw, size),
    }
    expected = torch.cat(list(by_pillow(files[:64], size))).int()
    base = 0.0
    for way, make in ways.items():
        each = seconds(make, repeats) / len(files)
        base = base or each
        images_of_way = torch.cat(list(islice(make(), 2)))[: len(expected)].int()
        values = (
            way, size, round(1e3 * each, 3), round(1 / each, 1), round(base / each, 2),
            round((images_of_way - expected).abs().float().mean().item(), 4), len(files),
            round(sum(f.stat().st_size for f in files) / len(files) / 1e3, 1), repeats, torch.get_num_threads(),
            "process_time", round(os.getloadavg()[0], 1), torchvision.__version__, PIL.__version__, platform.machine(),
        )  # fmt: skip
        yield dict(zip(FIELDS, values, strict=True))


def accuracy(path: str, share: float = 2.0) -> list[dict]:
    """Test mAP of a run with input by Pillow and by labelwise, on enlarged photographs that labelwise halves."""
    run = Run.open(Path(path))
    predictor = Predictor(run)
    data = ensure_splits(read(run.config.data.source), seed=run.config.seed).split("test")
    height, width = predictor.transform.config.size
    logits_by_way: dict[str, list[np.ndarray]] = {"Pillow + torchvision": [], "labelwise": []}
    for i in range(len(data)):
        with Image.open(data.encoded(i)) as image:
            large = image.convert("RGB").resize((round(share * image.width), round(share * image.height)))
        file = io.BytesIO()
        large.save(file, "JPEG", quality=90)
        with Image.open(file) as image:
            resized = F.pil_to_tensor(image.resize((width, height), Image.Resampling.BICUBIC))
        small = decode_image(file.getvalue(), shrink_to=predictor.transform.shrink_to)
        for way, tensor in zip(logits_by_way, (resized, predictor.transform(small)), strict=True):
            logits_by_way[way].append(predictor.engine(tensor[None])[0])
    conditions = {"images": len(data), "enlarged": share, "pixels": width, "run": run.config.method}
    return [
        {
            "way": way,
            "mAP": round(mean_average_precision(np.concatenate(z), data.values, data.known), 6),
            **conditions,
        }
        for way, z in logits_by_way.items()
    ]


def main() -> None:
    """Prints the rows and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photographs", help="folder of JPEG files to enlarge to 640 x 480")
    parser.add_argument("--sizes", nargs="+", type=int, default=[224, 448])
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--csv", help="file to write")
    parser.add_argument("--accuracy", metavar="RUN", help="a run on squashed images")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.accuracy:
        table = accuracy(options.accuracy)
        print("\n".join(map(str, table)))
        keep(options.csv, table)
        return
    table = []
    with tempfile.TemporaryDirectory() as name:
        files = make_photographs(Path(name), options.photographs, options.images)
        for size in options.sizes:
            for row in rows(Path(name), files, size, options.repeats):
                table.append(row)
                speed = f"{row['milliseconds_per_image']:8.3f} ms  {row['times_faster']:6.2f} x"
                difference = f"difference {row['mean_absolute_difference']}"
                print(f"{row['way']:24} {size:4} px {speed}  {difference}", flush=True)
    keep(options.csv, table, FIELDS)


if __name__ == "__main__":
    main()
