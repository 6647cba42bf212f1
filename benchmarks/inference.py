"""Speed of engines on this machine: images per second of one model with each, and the ratio to PyTorch.

python benchmarks/inference.py --csv results/inference.csv
python benchmarks/inference.py --run runs/mine --csv results/precision.csv

The weights are random, since time does not depend on them. Each engine must first reproduce the model's probabilities.
With one thread, CPU time is measured, which other load affects less than wall time.

With --run, the run's own graphs are timed, including those of low precision, each with its mAP on the run's validation
images and whether an export would be refused for it.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from kept import keep

from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.export.engines import (
    Eager,
    Engine,
    OnnxRuntime,
    OpenVINO,
    TorchProgram,
    seconds_per_image,
)
from labelwise.export.exporting import AUTO, Bench, wanted
from labelwise.export.graph import FILES, program, write_graph
from labelwise.export.parity import compare
from labelwise.methods import create_model
from labelwise.runs.run import Run
from labelwise.types import LabelSet

LABELS = 20
FIELDS = (
    "method", "backbone", "image_size", "batch", "engine", "milliseconds_per_image", "images_per_second",
    "times_faster", "max_probability_difference", "labels", "repeats", "threads", "clock", "torch", "processor",
)  # fmt: skip
KEPT = ("mAP", "mAP_of_the_run", "decisions_equal", "max_probability_difference", "mean_map_distance")
RUN_FIELDS = (
    "data", "images", "method", "backbone", "image_size", "engine", "milliseconds_per_image", "times_faster", *KEPT,
    "passes", "batch", "repeats", "threads", "clock", "torch", "processor",
)  # fmt: skip


def engines(method: str, backbone: str, size: int, folder: Path) -> Iterator[Engine]:
    """The PyTorch model, then each graph of it, without maps."""
    torch.manual_seed(0)
    names = [str(j) for j in range(LABELS)]
    model = create_model(method, backbone, names, image_size=size).eval()
    with torch.no_grad():  # nonzero biases, so that an engine that drops them is detected
        for p in model.parameters():
            if p.shape == (LABELS,):
                p.normal_()
    yield Eager(model, "cpu")
    exported = program(model, (size, size), maps=False)
    for kind, kind_of in (("torch", TorchProgram), ("onnx", OnnxRuntime), ("openvino", OpenVINO)):
        write_graph(exported, kind, folder)
        yield kind_of(folder / FILES[kind], False)


def rows(method: str, backbone: str, size: int, batches: list[int], repeats: int) -> Iterator[dict]:
    """A row per batch size and engine; the ratio is PyTorch's time to the engine's."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    images = torch.randint(0, 256, (max(batches), 3, size, size), dtype=torch.uint8)
    names = [str(j) for j in range(LABELS)]
    plain = Decisions.plain(LabelSet(tuple(names)))
    with tempfile.TemporaryDirectory() as folder:
        eager, *graphs = engines(method, backbone, size, Path(folder))
        parity = {
            e.name: compare(eager, e, [(names, images)], plain, names).probability for e in (eager, *graphs)
        }
        for batch in batches:
            base = seconds_per_image(eager, images[:batch], repeats, clock)
            for engine in (eager, *graphs):
                seconds = (
                    base if engine is eager else seconds_per_image(engine, images[:batch], repeats, clock)
                )
                values = (
                    method, backbone, size, batch, engine.name, round(seconds * 1e3, 2), round(1 / seconds, 2),
                    round(base / seconds, 2), f"{parity[engine.name]:.1e}", LABELS, repeats,
                    torch.get_num_threads(), clock.__name__, torch.__version__, platform.machine(),
                )  # fmt: skip
                yield dict(zip(FIELDS, values, strict=True))


def run_engines(bench: Bench) -> Iterator[Engine]:
    """The run, and each graph of it that is available on this machine."""
    yield bench.eager
    for kind, precision in wanted(AUTO, AUTO):
        try:
            yield bench.make(kind, precision)[1]
        except LabelwiseError as error:
            print(f"{kind} in {precision}: {error}", flush=True)


def run_rows(run: Run, batch: int, repeats: int, judged: int) -> Iterator[dict]:
    """A row per engine of a run, with its accuracy."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(run, Path(folder), None, judged, False)
        images = torch.stack([image for _, image in bench.photos[:batch]])
        base = seconds_per_image(bench.eager, images, repeats, clock)
        for engine in run_engines(bench):
            seconds = base if engine is bench.eager else seconds_per_image(engine, images, repeats, clock)
            accuracy = bench.accuracy(engine)
            values = (
                run.config.data.source.partition(":")[0] + ", val", accuracy.images, run.config.method,
                run.config.backbone.name, run.config.image_size, engine.name, round(seconds * 1e3, 2),
                round(base / seconds, 2), *(accuracy.to_json()[name] for name in KEPT), accuracy.passes, len(images),
                repeats, torch.get_num_threads(), clock.__name__, torch.__version__, platform.machine(),
            )  # fmt: skip
            yield dict(zip(RUN_FIELDS, values, strict=True))


def of_run(options: argparse.Namespace) -> None:
    """Prints and writes the rows of a run."""
    table = []
    for row in run_rows(Run.open(options.run), max(options.batches), options.repeats, options.images):
        table.append(row)
        speed = f"{row['milliseconds_per_image']:9.2f} ms  {row['times_faster']:6.2f} x  mAP {row['mAP']:.4f}"
        print(f"{row['engine']:34}", speed, "" if row["passes"] else "refused", flush=True)
    if options.csv:
        keep(options.csv, table, RUN_FIELDS)


def main() -> None:
    """Prints the rows and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--method", default="dlfl")
    parser.add_argument("--backbone", nargs="+", default=["tf_efficientnet_lite0", "resnet50"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[224, 448])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--repeats", type=int, default=5, help="timed calls per row (default 5)")
    parser.add_argument("--threads", type=int, default=1, help="threads of every engine (default 1)")
    parser.add_argument("--csv", help="file to write")
    parser.add_argument("--run", help="a finished run: time and evaluate its own graphs")
    parser.add_argument(
        "--images", type=int, default=500, help="validation images to evaluate them on (default 500)"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.run:
        of_run(options)
        return
    table = []
    for backbone in options.backbone:
        for size in options.sizes:
            for row in rows(options.method, backbone, size, options.batches, options.repeats):
                table.append(row)
                columns = (row[k] for k in ("backbone", "image_size", "batch", "engine"))
                speed = f"{row['milliseconds_per_image']:9.2f} ms  {row['times_faster']:6.2f} x"
                print("{:22} {:4} {:3}  {:28}".format(*columns), speed, flush=True)
    if options.csv:
        keep(options.csv, table, FIELDS)


if __name__ == "__main__":
    main()
