"""Speed of engines on this machine: images per second of one model with each, and the ratio to PyTorch.

Run: python benchmarks/inference.py --csv results/inference.csv
     python benchmarks/inference.py --run runs/mine --csv results/precision.csv

The weights are random, since time does not depend on them. Each engine must first reproduce the model's probabilities.
With one thread, CPU time is measured, which other load affects less than wall time.

With --run, the run's own graphs are timed, including those of low precision, each with its size, its mAP and largest
loss of a label on the run's validation images, and whether an export would be refused for them. --test N adds the
mAP on N test images, which decides nothing.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median

import torch

from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.export.accuracy import measure_accuracy
from labelwise.export.bench import Bench, Remembered
from labelwise.export.engines import Eager, Engine, OnnxRuntime, OpenVINO, TorchProgram, seconds_per_image
from labelwise.export.exporting import AUTO, wanted
from labelwise.export.graph import FILES, program, write_graph
from labelwise.export.parity import compare
from labelwise.export.photographs import batches, readable
from labelwise.methods import create_model
from labelwise.runs.run import WEIGHTS, Run
from labelwise.types import LabelSet
from measuring import keep

LABELS = 20
FIELDS = (
    "method", "backbone", "image_size", "batch", "engine", "milliseconds_per_image", "images_per_second",
    "times_faster", "max_probability_difference", "labels", "repeats", "threads", "clock", "torch", "processor",
)  # fmt: skip
KEPT = ("mAP", "mAP_of_the_run", "decisions_equal", "max_probability_difference")
RUN_FIELDS = (
    "data", "split", "images", "method", "backbone", "image_size", "engine", "megabytes", "milliseconds_per_image",
    "times_faster", *KEPT, "largest_loss_of_a_label", "label", "not_judged", "passes", "batch", "repeats", "threads",
    "clock", "torch", "processor",
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


def run_engines(bench: Bench, formats: list[str]) -> Iterator[tuple[Engine, float]]:
    """The run, and each graph of it that is available on this machine, with their megabytes."""
    yield bench.eager, (bench.run.path / WEIGHTS).stat().st_size / 1e6
    for kind, precision in wanted(AUTO, AUTO):
        if kind not in formats:
            continue
        try:
            engine = bench.make(kind, precision)[1]
        except LabelwiseError as error:
            print(f"{kind} in {precision}: {error}", flush=True)
            continue
        files = (bench.part / f"{kind}-{precision}").iterdir()
        yield engine, sum(file.stat().st_size for file in files) / 1e6


def in_turn(engines: list[Engine], images: torch.Tensor, repeats: int) -> list[float]:
    """Median seconds per image of each engine, a batch of each in turn, so that other load falls on all alike."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times: list[list[float]] = [[] for _ in engines]
    for engine in engines:
        engine(images)
    for _ in range(repeats):
        for engine, spent in zip(engines, times, strict=True):
            start = clock()
            engine(images)
            spent.append(clock() - start)
    return [median(spent) / len(images) for spent in times]


def run_rows(run: Run, options: argparse.Namespace) -> Iterator[dict]:
    """A row per engine of a run and split, with its accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(run, Path(folder), None, max(options.batches), False)
        images = torch.stack([image for _, image in bench.photos])
        engines, sizes = zip(*run_engines(bench, options.formats), strict=True)
        seconds = in_turn(list(engines), images, options.repeats)
        reference = Remembered(bench.eager.model)
        for split, count in (("val", options.images), ("test", options.test)):
            rows = bench.source.split(split)
            held = list(batches(islice(readable(run, rows), count))) if count else []
            for engine, megabytes, each in zip(engines if held else (), sizes, seconds, strict=bool(held)):
                accuracy = measure_accuracy(reference, engine, held, rows, bench.decisions)
                judged = {name: ap for name, ap in accuracy.labels.items() if name not in accuracy.not_judged}
                label = max(judged, key=lambda name: judged[name].loss, default="")
                values = (
                    run.config.data.source.partition(":")[0], split, accuracy.images, run.config.method,
                    run.config.backbone.name, run.config.image_size, engine.name, round(megabytes, 2),
                    round(each * 1e3, 2), round(seconds[0] / each, 2), *(accuracy.to_json()[name] for name in KEPT),
                    judged[label].loss if label else "", label, " ".join(accuracy.not_judged), accuracy.passes,
                    len(images), options.repeats, options.threads,
                    "process_time" if options.threads == 1 else "perf_counter", torch.__version__, processor(),
                )  # fmt: skip
                yield dict(zip(RUN_FIELDS, values, strict=True))


def processor() -> str:
    """The processor, with what it computes integers and short floats in, where the system says so."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return platform.machine()
    held = [name for name in ("avx2", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16") if name in words]
    return " ".join([platform.machine(), *held])


def of_run(options: argparse.Namespace) -> None:
    """Prints and writes the rows of a run."""
    table = []
    for row in run_rows(Run.open(options.run), options):
        table.append(row)
        speed = f"{row['milliseconds_per_image']:9.2f} ms  {row['times_faster']:6.2f} x  mAP {row['mAP']:.4f}"
        print(f"{row['split']:5} {row['engine']:34}", speed, "" if row["passes"] else "refused", flush=True)
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
    parser.add_argument("--images", type=int, default=500, help="val images to evaluate them on")
    parser.add_argument("--test", type=int, default=0, help="test images to evaluate them on (default none)")
    parser.add_argument("--formats", nargs="+", choices=FILES, default=list(FILES), help="graphs of --run")
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
    keep(options.csv, table, FIELDS)


if __name__ == "__main__":
    main()
