"""A table of a million rows: time to open, memory of the parent and of a worker, first batch, memory over batches.

Run: python benchmarks/rows.py --csv results/rows.csv

Every row has its own file (hard links to a few random pictures, 1,000 per folder). Each value comes from a new process;
memory is the increase after the libraries were loaded, in MiB.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from measuring import keep, resident, show

FIELDS = (
    "form", "rows", "labels", "open_seconds", "open_processor_seconds", "resident_MiB", "peak_MiB",
    "first_batch_seconds", "worker_MiB", "parent_growth_MiB", "worker_growth_MiB", "batches",
    "threads", "load", "processor",
)  # fmt: skip


def make_files(folder: Path, rows: int) -> pa.Array:
    """Creates `rows` files and returns their names relative to the folder."""
    rng = np.random.default_rng(0)
    own = [folder / f"own{i}.jpg" for i in range(50)]  # several, since systems limit the links to one file
    for path in own:
        coarse = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((256, 256), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        path.write_bytes(buffer.getvalue())
    names = [f"d{i // 1000:04}/image_{i:07}.jpg" for i in range(rows)]
    for i, name in enumerate(names):
        if i % 1000 == 0:
            (folder / name).parent.mkdir(exist_ok=True)
        os.link(own[i % 50], folder / name)
    return pa.array(names)


def write_tables(folder: Path, names: pa.Array, labels: int) -> list[str]:
    """SOURCEs of the same cells as a plain Parquet and as a CSV: 4 % positive, a tenth unknown."""
    rng = np.random.default_rng(1)
    columns = {
        "image": names,
        "split": pa.array(rng.choice(["train", "val", "test"], len(names), p=[0.8, 0.1, 0.1])),
    }
    for j in range(labels):
        cells = (rng.random(len(names), np.float32) < 0.04).astype(np.uint8)
        columns[f"label {j}"] = pa.array(cells, mask=rng.random(len(names), np.float32) < 0.1)
    table = pa.table(columns)
    stem = folder / f"{len(names)}x{labels}"
    parquet.write_table(table, f"{stem}.parquet")
    arrow_csv.write_csv(table, f"{stem}.csv")
    return [f"parquet:{stem}.parquet", f"csv:{stem}.csv"]


def private() -> float:
    """Memory that this process does not share with others, MiB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024


def measure(source: str, batches: int) -> dict[str, float]:
    """Opens one source, then reads training batches with one worker."""
    import pandas  # noqa: F401 - imported before the clock starts, like the others; Arrow imports it on first use
    import torch
    import torchvision  # noqa: F401

    from labelwise.data import read, train_loader
    from labelwise.data.transforms import TransformConfig, build_transform

    torch.set_num_threads(1)
    before, wall, cpu = resident(), time.perf_counter(), time.process_time()
    data = read(source)
    stats = {"open_seconds": time.perf_counter() - wall, "open_processor_seconds": time.process_time() - cpu}
    stats |= {"resident_MiB": resident() - before, "peak_MiB": resident("VmHWM") - before}
    train = data.split("train")
    transform = build_transform(TransformConfig(image_size=64), train=True)

    calls = 0

    def with_memory(image: torch.Tensor) -> torch.Tensor:
        """The transformed image; every 32nd encodes the worker's memory in a corner (measuring it is slow)."""
        nonlocal calls
        calls += 1
        size = int(private() * 16) if calls % 32 == 0 else 0
        result = transform(image).clone()
        result[0, 0, :3] = torch.tensor([size >> 16, size >> 8 & 255, size & 255], dtype=torch.uint8)
        return result

    wall, sizes, parents = time.perf_counter(), [], []
    for number, batch in enumerate(
        train_loader(train, with_memory, batch_size=32, seed=0, workers=1).epoch(0)
    ):
        if number == 0:
            stats["first_batch_seconds"] = time.perf_counter() - wall
        corner = batch.images[-1, 0, 0, :3].tolist()
        sizes.append((corner[0] * 65536 + corner[1] * 256 + corner[2]) / 16)
        parents.append(resident())
        if number == batches:
            break
    middle = len(sizes) // 2
    growth = {
        "parent_growth_MiB": parents[-1] - parents[middle],
        "worker_growth_MiB": sizes[-1] - sizes[middle],
    }
    return stats | {"worker_MiB": max(sizes)} | growth


def main() -> None:
    """Prints the rows and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", nargs="+", type=int, default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--labels", nargs="+", type=int, default=[20, 80])
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--csv", help="file to write")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.batches)))
        return
    table = []
    with tempfile.TemporaryDirectory() as name:
        names = make_files(Path(name), max(options.rows))
        for rows in options.rows:
            for labels in options.labels:
                for source in write_tables(Path(name), names[:rows], labels):
                    own = ["--measure", source, "--batches", str(options.batches)]
                    command = [sys.executable, __file__, *own]
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    stats = json.loads(done.stdout)
                    row = {"form": source.partition(":")[0], "rows": rows, "labels": labels}
                    row |= {key: round(value, 3) for key, value in stats.items()}
                    row |= {"batches": options.batches, "threads": 1, "load": round(os.getloadavg()[0], 1)}
                    table.append(row | {"processor": platform.machine()})
                    show(table[-1])
    keep(options.csv, table, FIELDS)


if __name__ == "__main__":
    main()
