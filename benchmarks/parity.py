"""Compares every export format with its run on the same photographs, in every installed runtime.

Run: python benchmarks/parity.py RUN... [--images 64] [--formats onnx tagger openvino torch] [--csv results/parity.csv]

A line per run, format and runtime: the largest difference of a calibrated probability, the decisions that differ within
1e-5 of a threshold (any other difference is `refused`), and the mean distance of the maps. Batches have 1, 2, 3 and 8
images, over and over. The run predicts each batch once, and all formats are compared with that prediction.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import torch
from kept import keep
from torch import Tensor

from labelwise.errors import LabelwiseError
from labelwise.export.bench import Bench
from labelwise.export.engines import Answer, Eager, Engine, installed_runtimes
from labelwise.export.graph import FILES
from labelwise.export.parity import BATCHES, compare
from labelwise.export.tagger import tagger_runtimes, write_tagger_graph
from labelwise.memory import keep_freed_memory
from labelwise.runs.run import Run

TAGGER = "tagger"


class CachedEager(Eager):
    """The run, with its outputs cached by batch."""

    def __init__(self, run: Eager) -> None:
        super().__init__(run.model, "cpu")
        self._answers: dict[bytes, Answer] = {}

    def __call__(self, images: Tensor, want_maps: bool = False) -> Answer:
        """Logits and maps of a batch."""
        key = images.numpy().tobytes()
        if key not in self._answers:
            self._answers[key] = super().__call__(images, True)
        return self._answers[key]


def in_batches(photos: list[tuple[str, Tensor]]) -> Iterator[tuple[list[str], Tensor]]:
    """Named images in batches of 1, 2, 3 and 8, over and over; each image once."""
    start = 0
    for size in cycle(BATCHES):
        part = photos[start : start + size]
        if not part:
            return
        ids, images = zip(*part, strict=True)
        yield list(ids), torch.stack(images)
        start += size


def opened(bench: Bench, kind: str) -> list[tuple[str, Callable[[], Engine]]]:
    """The runtimes that read a format of the run."""
    if kind == TAGGER:
        folder = bench.part / TAGGER
        folder.mkdir(parents=True)
        file = write_tagger_graph(bench.run, bench.eager, folder)
        return tagger_runtimes(file, bench.decisions)
    bench.make(kind, "fp32")
    return list(installed_runtimes(kind, bench.part / f"{kind}-fp32" / FILES[kind], True))


def lines(path: Path, formats: list[str], images: int) -> list[dict[str, object]]:
    """The comparison of each format of a run in each runtime."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        run = Run.open(path)
        bench = Bench(run, Path(folder), None, images, True)
        bench.eager = CachedEager(bench.eager)
        for kind in formats:
            for package, start in opened(bench, kind):
                line: dict[str, object] = {"method": run.config.method, "format": kind}
                engine_name, metrics, refused = package, {}, ""
                try:
                    engine = start()
                    engine_name = engine.name
                    batches = in_batches(bench.photos)
                    parity = compare(bench.eager, engine, batches, bench.decisions, run.labels.names)
                    metrics = parity.to_json()
                except LabelwiseError as error:
                    refused = error.given
                line |= {"engine": engine_name, "images": metrics.get("images", 0)}
                line |= {"batches": " ".join(map(str, BATCHES))}
                line |= {"max_probability_difference": metrics.get("max_probability_difference", "")}
                line |= {"decisions_on_the_threshold": metrics.get("decisions_on_the_threshold", "")}
                line |= {"mean_map_distance": metrics.get("mean_map_distance", ""), "refused": refused}
                line |= {"image_size": run.config.image_size, "precision": "fp32"}
                rows.append(line)
                print("  ".join(f"{k} {v}" for k, v in line.items()), flush=True)
            for done in bench.part.glob("*"):
                shutil.rmtree(done)
    return rows


def main() -> None:
    """Prints the lines and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    formats = ["onnx", TAGGER, *(kind for kind in FILES if kind != "onnx")]
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--formats", nargs="+", choices=formats, default=formats)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    keep_freed_memory()
    rows = []
    for path in args.runs:
        rows += lines(path, args.formats, args.images)
        if args.csv:
            keep(args.csv, rows)


if __name__ == "__main__":
    main()
