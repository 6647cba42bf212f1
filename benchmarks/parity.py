"""Compares every export format with its run on the same photographs, as `labelwise export` does.

Run: python benchmarks/parity.py RUN... [--images 500] [--formats onnx openvino torch] [--csv results/parity.csv]

A line per run and format: the largest difference of a calibrated probability, the decisions that differ within 1e-5 of
a threshold (any other difference is `refused`), and the mean distance of the maps. The run predicts each photograph
once, and all formats are compared with that prediction.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from kept import keep
from torch import Tensor

from labelwise.errors import LabelwiseError
from labelwise.export.engines import Answer, Eager
from labelwise.export.exporting import Bench
from labelwise.export.graph import FILES
from labelwise.memory import keep_freed_memory
from labelwise.training.run import Run


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


def lines(path: Path, formats: list[str], images: int) -> list[dict[str, object]]:
    """The comparison of each format of a run."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        run = Run.open(path)
        bench = Bench(run, Path(folder), None, images, True)
        bench.eager = CachedEager(bench.eager)
        for kind in formats:
            line: dict[str, object] = {"method": run.config.method, "format": kind}
            try:
                engine_name, metrics = kind, {}
                artefact, engine = bench.make(kind, "fp32")
                engine_name, metrics = engine.name, bench.judge(artefact, engine).to_json()
                refused = ""
            except LabelwiseError as error:
                refused = error.given
            line |= {"engine": engine_name, "images": metrics.get("images", 0)}
            line |= {"max_probability_difference": metrics.get("max_probability_difference", "")}
            line |= {"decisions_on_the_threshold": metrics.get("decisions_on_the_threshold", "")}
            line |= {"mean_map_distance": metrics.get("mean_map_distance", ""), "refused": refused}
            line |= {"image_size": run.config.image_size, "precision": "fp32"}
            rows.append(line)
            print("  ".join(f"{k} {v}" for k, v in line.items()), flush=True)
    return rows


def main() -> None:
    """Prints the lines and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--formats", nargs="+", choices=FILES, default=list(FILES))
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
