"""Writes and searches the synthetic collection of `collection_search.py` in one of the stores.

    python benchmarks/collection_stores.py ADDRESS [--features 100000] [--indexed N] [--csv FILE]

ADDRESS is a new folder, pgvector:DSN or qdrant:URL. `--indexed` sets the number of features of a label from which
PostgreSQL has an index. Rows are added to FILE. For each search the exact one is the truth of its recall.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from pathlib import Path

import numpy as np
from collection_search import KINDS, LABELS, NAMES, PART, Source, identity, part_of

from labelwise.collection import Collection
from labelwise.collection.backends import created, server


def main() -> None:
    """Runs the comparison of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address")
    parser.add_argument("--features", type=int, default=100_000)
    parser.add_argument("--whole", type=int, default=1280)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--indexed", type=int)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    kind = server(args.address) or "lancedb"
    if args.indexed is not None:
        from labelwise.collection import pgvector_store

        pgvector_store.INDEXED = args.indexed
    source, record, seconds = Source(), identity(args.whole), 0.0
    with created(args.address, record) as store:
        for first in range(0, args.features, PART):
            rows = part_of(source, first, min(PART, args.features - first), record)
            started = time.perf_counter()
            store.add(*rows)
            seconds += time.perf_counter() - started
        started = time.perf_counter()
        store.finish()
        indexing = time.perf_counter() - started
    written = {
        "store": kind,
        "features": args.features,
        "labels": LABELS,
        "index_from": "" if args.indexed is None else args.indexed,
        "features_per_second": round(args.features / seconds),
        "index_seconds": round(indexing, 1),
    }
    rng = np.random.default_rng(99)
    labels = rng.integers(LABELS, size=args.queries)
    asked = source.draw(labels, rng).astype(np.float32)
    collection, lines = Collection.open(args.address), []
    for search, where in KINDS.items():
        found: dict[bool, tuple[list[float], list[set[int]]]] = {False: ([], []), True: ([], [])}
        for exact, (times, images) in found.items():
            for label, vector in zip(labels, asked, strict=True):
                started = time.perf_counter()
                rows = collection.nearest(NAMES[label], vector, where or None, 20, exact)
                times.append(1000 * (time.perf_counter() - started))
                images.append(set(rows["image"].to_pylist()))
        pairs = zip(found[False][1], found[True][1], strict=True)
        line = {
            **written,
            "search": search,
            "p50_ms": round(float(np.percentile(found[False][0], 50)), 1),
            "p99_ms": round(float(np.percentile(found[False][0], 99)), 1),
            "recall_at_20": round(float(np.mean([len(a & b) / len(b) if b else 1.0 for a, b in pairs])), 4),
            "exact_p50_ms": round(float(np.percentile(found[True][0], 50)), 1),
            "queries": args.queries,
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
        }
        print("  ".join(f"{k} {v}" for k, v in line.items()), flush=True)
        lines.append(line)
    if args.csv:
        new = not args.csv.exists()
        with open(args.csv, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(lines[0]))
            if new:
                writer.writeheader()
            writer.writerows(lines)


if __name__ == "__main__":
    main()
