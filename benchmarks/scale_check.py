"""Duplicate search and check of a million rows: CPU time and peak memory.

Run: python benchmarks/scale_check.py --csv results/scale-check.csv
     python benchmarks/scale_check.py --only near-random store --rows 100000

`pairs-*` finds all pairs of 64-bit hashes within 10 bits; `near-*` is all of `near_duplicates` with cached hashes and
thumbnails. `check` is `labelwise data check`, and `train` is the opening of the data by training (reading, splits that
keep copies together, images that splits share), on a table of small, distinct image files with cached fingerprints.
`store` searches a packed store of 2 GB for copies and checks it.

Every case runs in a separate process. Seconds are CPU time of all its threads; memory is resident, including mapped
files, in MiB: `before_MiB` after loading the libraries and the input, `peak_MiB` the maximum from then on. After the
measurement of `train`, the model libraries are imported, as in training, and count for the peak.
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
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from PIL import Image

from measuring import keep, resident, show
from rows import write_tables

if TYPE_CHECKING:
    from labelwise.data.cache import PrintCache

FIELDS = (
    "case", "rows", "labels", "processor_seconds", "seconds", "before_MiB", "peak_MiB", "grown_MiB", "found",
    "threads", "load", "commit", "numpy", "processor",
)  # fmt: skip
CASES = (
    "pairs-random", "pairs-tens", "near-random", "near-tens", "near-thousands", "near-flat", "near-unlike", "check",
    "train", "store",
)  # fmt: skip
Work = Callable[[], int]


def flipped(hashes: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """The hashes with up to `most` random bits flipped, half of that on average."""
    for _ in range(most):
        bit = np.uint64(1) << rng.integers(0, 64, len(hashes)).astype(np.uint64)
        hashes = np.where(rng.random(len(hashes)) < 0.5, hashes ^ bit, hashes)
    return hashes


def random_hashes(kind: str, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes, and the number of each row's picture.

    `random` has one picture per row. `tens` and `thousands` repeat each about 10 or 20,000 times, with hashes that
    differ by 3 or 4 bits on average. A fifth of `flat` has hashes within about 5 bits of one hash, as pictures of one
    colour have, and a tenth of `unlike` has hashes within about 4 bits of one of 20, but different thumbnails.
    """
    rng = np.random.default_rng(0)
    hashes, picture = rng.integers(0, 2**64, rows, dtype=np.uint64), np.arange(rows)
    if kind == "flat":
        hashes[: rows // 5] = flipped(np.full(rows // 5, 1 << 63, np.uint64), 10, rng)
    elif kind == "unlike":
        hashes[: rows // 10] = flipped(hashes[rng.integers(0, 20, rows // 10)], 8, rng)
    elif kind != "random":
        picture = rng.integers(0, max(1, rows // (20_000 if kind == "thousands" else 10)), rows)
        hashes = flipped(hashes[picture], 8 if kind == "thousands" else 6, rng)
    return hashes, picture


def thumbs_of(kind: str, picture: np.ndarray, rows: int) -> np.ndarray:
    """Thumbnails of some rows: coarse colours of their picture with noise; a fifth of `flat` is uniform grey."""
    rng = np.random.default_rng(int(picture[0]) + 1)
    factor = np.arange(48, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0xD1B54A32D192ED03)
    mixed = (picture[:, None].astype(np.uint64) + np.uint64(1)) * factor
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) >> np.uint64(56)
    coarse = mixed.astype(np.int16).reshape(-1, 4, 4, 3).repeat(4, 1).repeat(4, 2)
    if kind == "flat":
        grey = rng.integers(0, 256, (len(picture), 1, 1, 1), dtype=np.int16)
        coarse = np.where((picture < rows // 5)[:, None, None, None], grey, coarse)
    noise = rng.integers(-3, 4, (len(picture), 16, 16, 3), dtype=np.int16)
    return np.clip(coarse + noise, 0, 255).astype(np.uint8)


def fill(cache: PrintCache, keys: np.ndarray, kind: str) -> np.ndarray:
    """Caches fingerprints under these keys and returns the hashes."""
    hashes, picture = random_hashes(kind, len(keys))
    for start in range(0, len(keys), 8192):
        part = slice(start, start + 8192)
        cache.add(keys[part], hashes[part], thumbs_of(kind, picture[part], len(keys)))
    return hashes


def make_table(folder: Path, rows: int, labels: int) -> str:
    """The SOURCE of a table with distinct image files of about 900 bytes, 1,000 per folder."""
    rng = np.random.default_rng(0)
    own = []
    for _ in range(50):
        buffer = io.BytesIO()
        coarse = Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8))
        coarse.resize((32, 32), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        own.append(buffer.getvalue())
    names = [f"d{i // 1000:04}/image_{i:07}.jpg" for i in range(rows)]
    for i, name in enumerate(names):
        if i % 1000 == 0:
            (folder / name).parent.mkdir()
        (folder / name).write_bytes(own[i % 50] + i.to_bytes(8, "big"))
    return write_tables(folder, pa.array(names), labels)[0]


def make_store(folder: Path, megabytes: int) -> str:
    """The SOURCE of a packed store of raw pixels, 2 MB per image, with each image four times."""
    from labelwise.data import Dataset
    from labelwise.data.pack import pack
    from labelwise.types import LabelSet

    rng = np.random.default_rng(0)
    rows = megabytes // 2
    for i in range(rows // 4):
        coarse = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
        coarse.resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    cells = np.ones((rows, 1), np.uint8)
    names = pa.array([f"{i % (rows // 4)}.png" for i in range(rows)])
    data = Dataset(LabelSet(("a",)), names, folder, cells, cells.astype(bool))
    pack(data, folder / "store", size=836, form="raw")
    return f"packed:{folder / 'store'}"


def prepare(case: str, folder: Path, rows: int, labels: int) -> None:
    """Writes the input of a case and fills the cache."""
    from labelwise.data import read
    from labelwise.data.cache import PrintCache, image_keys

    if case.startswith("near-"):
        keys = np.arange(2 * rows, dtype=np.uint64).reshape(-1, 2) + np.uint64(1)
        np.save(folder / "hashes.npy", fill(PrintCache(), keys, case.removeprefix("near-")))
    elif case in ("check", "train"):
        source = make_table(folder, rows, labels)
        (folder / "source").write_text(source)
        fill(PrintCache(), image_keys(read(source)), "tens")
    elif case == "store":
        (folder / "source").write_text(make_store(folder, rows))


def work_of(case: str, folder: Path, rows: int) -> Work:
    """The measured function of a case."""
    from labelwise.data import duplicates, read
    from labelwise.data.cache import PrintCache, StoredThumbs
    from labelwise.data.check import check

    if case.startswith("pairs-"):
        hashes, _ = random_hashes(case.removeprefix("pairs-"), rows)
        return lambda: len(duplicates.close_pairs(hashes, 10))
    if case.startswith("near-"):
        thumbs = StoredThumbs(PrintCache(), np.arange(rows))
        prints = duplicates.Fingerprints(np.load(folder / "hashes.npy"), thumbs, np.ones(rows, bool), ())
        return lambda: len(duplicates.near_duplicates(prints))
    source = (folder / "source").read_text()
    if case == "check":
        return lambda: len(check(source).near or ())
    if case == "store":
        data = read(source)

        def twice() -> int:
            copies = duplicates.repeated_groups(duplicates.dataset_content_codes(data))
            assert check(source, near=False).unreadable == []
            return len(copies)

        return twice

    from labelwise.runs.config import make_config
    from labelwise.training.opening import TrainingData, open_data

    mark = "&" if "?" in source else "?"
    config, kept = make_config({"data": {"source": f"{source}{mark}ignore=split"}}), list[TrainingData]()

    def opened() -> int:
        kept.append(open_data(config))  # stays in memory while the libraries are loaded
        return len(kept[0].dataset.splits())

    return opened


def measure(case: str, folder: Path, rows: int) -> dict[str, float]:
    """Runs one case in this process."""
    import scipy.sparse.csgraph  # noqa: F401 - imported before the clock starts, like the others

    work = work_of(case, folder, rows)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, wall, cpu = resident(), time.perf_counter(), time.process_time()
    count = work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if case == "train":
        import labelwise.training.course  # noqa: F401
    return {
        "processor_seconds": cpu,
        "seconds": wall,
        "before_MiB": before,
        "peak_MiB": resident("VmHWM"),
        "grown_MiB": resident("VmHWM") - before,
        "found": count,
    }


def main() -> None:
    """Prints the rows and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--labels", type=int, default=80)
    parser.add_argument("--megabytes", type=int, default=2100, help="size of the packed store")
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--csv", help="file to write")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        case, folder, rows = options.measure
        print(json.dumps(measure(case, Path(folder), int(rows))))
        return
    from labelwise.evaluation.origin import code_version

    table = []
    for case in options.only:
        with tempfile.TemporaryDirectory() as name:
            os.environ["LABELWISE_CACHE"] = str(Path(name) / "cache")
            rows = options.megabytes if case == "store" else options.rows
            prepare(case, Path(name), rows, options.labels)
            command = [sys.executable, __file__, "--measure", case, name, str(rows)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        figures = json.loads(done.stdout)
        row = {"case": case, "rows": rows // 2 if case == "store" else rows}
        row |= {"labels": options.labels if case in ("check", "train") else ""}
        row |= {key: round(value, 1) for key, value in figures.items()}
        row |= {"threads": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "commit": code_version()}
        table.append(row | {"numpy": np.__version__, "processor": platform.machine()})
        show(table[-1])
        keep(options.csv, table, FIELDS)


if __name__ == "__main__":
    main()
