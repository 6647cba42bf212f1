"""Writing, opening and searching a collection of synthetic label features, in each of the stores.

Run: python benchmarks/collection_search.py [--features 1000000] [--csv results/collection-search.csv]
     python benchmarks/collection_search.py --out ADDRESS --features 100000 --csv results/collection-stores.csv --add

ADDRESS is a new folder, pgvector:DSN or qdrant:URL.

Features of 20 labels, as many of each, in parts of 4,096 images as `labelwise embed` writes them. A label's features
are its centre plus 128 directions with variances 1/k, of unit length; centre and spectrum are near those of `dlfl`
on VOC, whose variance is a little more concentrated. Writing and searching run in processes of their own, whose
largest memory is reported. A query is a new feature of a random label; recall is the share of the 20 nearest by exact
comparison that the index finds. `ms_cpu` is processor time of all threads per query, which other work on the machine
changes less than the time of a query. Data are made before they are timed.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from labelwise.collection import Collection
from labelwise.collection.backends import created, server
from labelwise.collection.schema import Identity, feature_schema, image_schema
from labelwise.collection.store import engine
from measuring import conditions, keep, show

LABELS, DIM, RANK, PART = 20, 512, 128, 4096
CENTRE = 0.87
KINDS = {"label": "", "and another label": "not label 3", "and a score": "not label 3 > 0.1"}
NAMES = tuple(f"label {i}" for i in range(LABELS))


class Source:
    """Random features of each label, the same for the same seed."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        centres = rng.standard_normal((LABELS, DIM))
        self.centres = (CENTRE * centres / np.linalg.norm(centres, axis=1, keepdims=True)).astype(np.float32)
        spectrum = 1 / np.arange(1, RANK + 1)
        spectrum *= (1 - CENTRE**2) / spectrum.sum()
        axes = [np.linalg.qr(rng.standard_normal((DIM, RANK)))[0].T for _ in range(LABELS)]
        self.axes = [(np.sqrt(spectrum)[:, None] * axis).astype(np.float32) for axis in axes]

    def draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """`[n, D]` float16 features of `[n]` labels."""
        x = self.centres[labels]
        for label in np.unique(labels):
            own = labels == label
            x[own] += rng.standard_normal((own.sum(), RANK), dtype=np.float32) @ self.axes[label]
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)


def vectors(values: np.ndarray) -> pa.Array:
    """`[n, d]` as a column."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(values)), values.shape[1])


def identity(whole: int) -> Identity:
    """The record of the synthetic collection."""
    return Identity("synthetic", "0", "0", NAMES, NAMES, False, DIM, whole, False)


def part_of(source: Source, first: int, count: int, record: Identity) -> tuple[pa.Table, pa.Table]:
    """Tables of `count` images, each with one label."""
    rng = np.random.default_rng([first, 1])
    labels = np.sort(rng.integers(LABELS, size=count))
    number = np.arange(first, first + count)
    scores = rng.random((count, LABELS)).astype(np.float16)
    names = [[NAMES[j]] + ([NAMES[(j + 1) % LABELS]] if i % 3 == 0 else []) for i, j in enumerate(labels)]
    base = {
        "image": number,
        "path": [f"/photographs/{i:09}.jpg" for i in number],
        "width": rng.integers(300, 5000, count, np.int32),
        "height": rng.integers(300, 5000, count, np.int32),
        "digest": [f"{i:064x}" for i in number],
        "labels": names,
        "scores": vectors(scores),
    }
    whole = np.resize(source.draw(labels, rng), (count, record.whole_dim))
    images = {**base, "error": pa.nulls(count, pa.string()), "whole": vectors(whole)}
    own = {
        "label": [NAMES[j] for j in labels],
        "score": rng.random(count, dtype=np.float32),
        "selected": np.ones(count, bool),
        "box": vectors(rng.random((count, 4), dtype=np.float32)),
        "feature": vectors(source.draw(labels, rng)),
    }
    return pa.table(images, image_schema(record)), pa.table({**base, **own}, feature_schema(record))


def write(out: str, features: int, whole: int) -> dict[str, Any]:
    """Writes the collection; returns rates and memory."""
    source, record, seconds = Source(), identity(whole), 0.0
    with created(out, record) as tables:
        for first in range(0, features, PART):
            rows = part_of(source, first, min(PART, features - first), record)
            started = time.perf_counter()
            tables.add(*rows)
            seconds += time.perf_counter() - started
        started = time.perf_counter()
        tables.finish()
        indexing = time.perf_counter() - started
    files = [f for f in Path(out).rglob("*") if f.is_file()]
    return {
        "features_per_second": round(features / seconds),
        "index_seconds": round(indexing, 1),
        "write_peak_gb": peak(),
        "gb_on_disk": round(sum(f.stat().st_size for f in files) / 1e9, 2) if files else "",
    }


def search(out: str, queries: int, where: str, exact: int) -> dict[str, Any]:
    """Searches the collection; returns times, recall and memory."""
    source, rng = Source(), np.random.default_rng(99)
    labels = rng.integers(LABELS, size=queries)
    asked = source.draw(labels, rng).astype(np.float32)
    if not server(out):
        engine()  # imports the library
    started = time.perf_counter()
    collection = Collection.open(out)
    opened = time.perf_counter() - started

    def found(i: int, exactly: bool) -> tuple[float, set[int]]:
        begun = time.perf_counter()
        rows = collection.nearest(NAMES[labels[i]], asked[i], where, 20, exactly)
        return time.perf_counter() - begun, set(rows["image"].to_pylist())

    first, _ = found(0, False)
    cpu = time.process_time()
    answers = [found(i, False) for i in range(queries)]
    cpu = time.process_time() - cpu
    memory = peak()
    truth = [found(i, True) for i in range(min(exact, queries))]
    pairs = zip(answers[:exact], truth, strict=True)
    shares = [len(a & b) / len(b) for (_, a), (_, b) in pairs if b]  # no row fits some searches
    times, exactly = (1000 * np.array([s for s, _ in given]) for given in (answers, truth))
    return {
        "open_ms": round(1000 * opened, 1),
        "first_ms": round(1000 * first, 1),
        "p50_ms": round(float(np.percentile(times, 50)), 1),
        "p99_ms": round(float(np.percentile(times, 99)), 1),
        "ms_cpu": round(1000 * cpu / queries, 1),
        "recall_at_20": round(float(np.mean(shares)), 4),
        "exact_p50_ms": round(float(np.percentile(exactly, 50)), 1),
        "queries": queries,
        "exact_queries": len(truth),
        "search_peak_gb": memory,
    }


def peak() -> float:
    """Largest resident memory of this process in GB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)


def main() -> None:
    """Runs both phases in processes of their own and writes one row per kind of search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--features", type=int, default=1_000_000)
    parser.add_argument("--whole", type=int, default=1280, help="width of the whole-image feature")
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--exact", type=int, default=100, help="queries that are compared with exact search")
    parser.add_argument("--out", help="keep the collection here, and use a folder that is there")
    parser.add_argument("--indexed", type=int, help="features of a label from which PostgreSQL has an index")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--add", action="store_true", help="keep the rows of the file")
    parser.add_argument("--phase", help=argparse.SUPPRESS)
    parser.add_argument("--where", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.indexed is not None:
        from labelwise.collection import pgvector_store

        pgvector_store.INDEXED = args.indexed
    if args.phase == "write":
        return print(json.dumps(write(args.out, args.features, args.whole)))
    if args.phase == "search":
        return print(json.dumps(search(args.out, args.queries, args.where, args.exact)))
    with tempfile.TemporaryDirectory() as scratch:
        out = args.out or str(Path(scratch) / "collection")
        own = [sys.executable, __file__, *sys.argv[1:], "--out", out]

        def run(phase: str, *more: str) -> dict[str, Any]:
            done = subprocess.run([*own, "--phase", phase, *more], check=True, stdout=subprocess.PIPE)
            return json.loads(done.stdout)

        written = run("write") if not Path(out).exists() else {}
        show(written)
        lines = []
        for kind, condition in KINDS.items():
            lines.append(
                {
                    "store": server(out) or "lancedb",
                    "index_from": args.indexed,
                    "search": kind,
                    "features": args.features,
                    "labels": LABELS,
                    "dimension": DIM,
                    "whole_dimension": args.whole,
                    **written,
                    **run("search", "--where", condition),
                    **conditions(),
                }
            )
            show(lines[-1])
    if args.add and args.csv.is_file():
        lines = list(csv.DictReader(args.csv.open(newline="", encoding="utf-8"))) + lines
    keep(args.csv, lines)


if __name__ == "__main__":
    main()
