"""Compares every export format with its run on the same photographs, in every installed runtime.

Run: python tools/parity.py RUN... [--images 64] [--formats onnx tagger openvino torch] [--csv results/parity.csv]

The formats executorch and litert need their tools (see .ci/phones), and web Node.js and the package onnxruntime-web.

A line per run, format and runtime: the largest difference of a calibrated probability, the decisions that differ within
1e-5 of a threshold (any other difference is `refused`), and the mean distance of the maps. Batches have 1, 2, 3 and 8
images, over and over. The run predicts each batch once, and all formats are compared with that prediction.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor

from kept import keep, show
from labelwise.errors import LabelwiseError
from labelwise.export.bench import Bench, Remembered
from labelwise.export.engines import Engine, installed_runtimes
from labelwise.export.exporting import WEB
from labelwise.export.graph import FILES, graph_file
from labelwise.export.node import Node
from labelwise.export.parity import BATCHES, compare
from labelwise.export.tagger import tagger_runtimes, write_tagger_graph
from labelwise.export.web import write_web
from labelwise.export.web_runtime import copy_runtime
from labelwise.memory import keep_freed_memory
from labelwise.runs.run import Run

TAGGER = "tagger"


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
    if kind == WEB:
        package = os.environ.get("LABELWISE_ORT_WEB")
        copy_runtime(bench.part / "runtime", Path(package) if package else None)
        artefact, _ = bench.make("onnx", "fp32")
        artefact.save()
        write_web(artefact, bench.eager, bench.part / "runtime")
        return [("onnxruntime-web", lambda: Node(artefact.path, True))]
    bench.make(kind, "fp32")
    return list(installed_runtimes(kind, bench.part / f"{kind}-fp32" / graph_file(kind), True))


def lines(path: Path, formats: list[str], images: int) -> list[dict[str, object]]:
    """The comparison of each format of a run in each runtime."""
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        run = Run.open(path)
        bench = Bench(run, Path(folder), None, images, True)
        reference = Remembered(bench.eager.model)

        def compared(start: Callable[[], Engine]) -> tuple[str, dict[str, object]]:
            engine = start()
            try:
                batches = in_batches(bench.photos)
                parity = compare(reference, engine, batches, bench.decisions, run.labels.names)
            finally:
                if isinstance(engine, Node):
                    engine.close()
            return engine.name, parity.to_json()

        def add(kind: str, engine: str, found: dict[str, object], refused: str) -> None:
            line: dict[str, object] = {"method": run.config.method, "format": kind, "engine": engine}
            line |= {"images": found.get("images", 0), "batches": " ".join(map(str, BATCHES))}
            for key in ("max_probability_difference", "decisions_on_the_threshold", "mean_map_distance"):
                line[key] = found.get(key, "")
            line |= {"refused": refused, "image_size": run.config.image_size, "precision": "fp32"}
            rows.append(line)
            show(line)

        for kind in formats:
            engine = ""
            try:
                for engine, start in opened(bench, kind):  # noqa: B007 - named if it fails
                    add(kind, *compared(start), "")
            except LabelwiseError as error:
                add(kind, engine, {}, error.given)
    return rows


def main() -> None:
    """Prints the lines and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    formats = ["onnx", TAGGER, *(kind for kind in FILES if kind != "onnx")]
    more = ["executorch", "litert", WEB]
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--formats", nargs="+", choices=[*formats, *more], default=formats)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    keep_freed_memory()
    rows = []
    for path in args.runs:
        rows += lines(path, args.formats, args.images)
        keep(args.csv, rows)


if __name__ == "__main__":
    main()
