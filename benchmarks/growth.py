"""Growth of time and memory with labels, rows and image size: a series per workload, and its slope on log-log axes.

Each point is measured in a separate process with one thread: CPU seconds, which other load affects less than wall
time, and the largest resident set minus that before. The slope is that of the least-squares line; fixed costs lower it
at the small end, so the steepest step between neighbours is reported too. Linux only.

Run: python benchmarks/growth.py [--short] [--only TEXT] [--csv results/growth.csv]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from labelwise.classifiers import PerLabelClassifier
from labelwise.extractors import Pooled, QueryAttention, ResidualAttention, SemanticDecoupling
from labelwise.losses import functional as L
from labelwise.methods import create_model
from labelwise.metrics import RankingStream
from labelwise.metrics import functional as F
from labelwise.relations import LabelVectors
from measuring import keep, processor, resident

CHANNELS, SIDE = 2048, 14
LABELS, ROWS, SIZES = (20, 80, 320, 1280, 9600), (1_000, 10_000, 100_000, 1_000_000), (112, 224, 448, 896)
FIELDS = ("work", "against", "n", "cpu_seconds", "megabytes", "slope", "steepest_step", "memory_slope",
          "repeats", "threads", "torch", "processor")  # fmt: skip
Work = Callable[[], object]


def head(name: str, labels: int) -> Work:
    """Forward and backward of a head on two feature maps of a ResNet at 448 px."""
    kinds: dict[str, Callable[[], nn.Module]] = {
        "dlfl": lambda: QueryAttention(CHANNELS, labels, map_dropout=0),
        "baseline-mlp": lambda: Pooled(CHANNELS, labels, hidden=512),
        "csra": lambda: ResidualAttention(CHANNELS, labels),
        "ssgrl, no graph": lambda: SemanticDecoupling(CHANNELS, labels, LabelVectors(labels, 300)),
    }
    extractor = kinds[name]()
    classify = None if name == "csra" else PerLabelClassifier(labels, extractor.dim)
    x = torch.rand(2, CHANNELS, SIDE, SIDE, requires_grad=True)

    def step() -> None:
        out = extractor(x)
        (out.logits if classify is None else classify(out.features)).square().mean().backward()

    return step


def loss(name: str, labels: int) -> Work:
    """Forward and backward of a loss on 128 images."""
    z = torch.randn(128, labels, requires_grad=True)
    y, known = (torch.rand(128, labels) < 0.04).float(), torch.ones(128, labels, dtype=torch.bool)
    cells = {"asl": L.asymmetric, "bce": L.binary_cross_entropy}[name]
    return lambda: L.reduce(cells(z, y), known).backward()


def metric(name: str, images: int, labels: int) -> Work:
    """A metric of float32 scores."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((images, labels), dtype=np.float32)
    targets = (rng.random((images, labels), dtype=np.float32) < 0.04).view(np.uint8)

    def streamed() -> None:
        with RankingStream() as stream:
            for first in range(0, images, 1024):
                stream.update(scores[first : first + 1024], targets[first : first + 1024])
            stream.mean_average_precision()

    kinds: dict[str, Work] = {
        "mAP": lambda: F.mean_average_precision(scores, targets),
        "mAP in a stream": streamed,
        "CP..OF1": lambda: F.threshold_metrics(scores, targets, threshold=0.0),
    }
    return kinds[name]


def image(size: int) -> Work:
    """Forward of a whole model on one image."""
    model = create_model("dlfl", "tf_efficientnet_lite0", [str(j) for j in range(20)], image_size=size).eval()
    x = torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8)
    return torch.inference_mode()(lambda: model(x))


def works() -> list[tuple[str, str, tuple[int, ...], Callable[[int], Work]]]:
    """Name, growing quantity, its values, and the function that creates the workload."""
    heads = ("dlfl", "baseline-mlp", "csra", "ssgrl, no graph")
    return [
        *((f"head {name}", "labels", LABELS, partial(head, name)) for name in heads),
        *((f"loss {name}", "labels", LABELS, partial(loss, name)) for name in ("asl", "bce")),
        *((name, "labels", LABELS, partial(metric, name, 5000)) for name in ("mAP", "CP..OF1")),
        *((n, "rows", ROWS, lambda m, n=n: metric(n, m, 20)) for n in ("mAP", "mAP in a stream", "CP..OF1")),
        ("image through dlfl", "pixels", SIZES, image),
    ]


def measure(make: Callable[[int], Work], n: int, repeats: int) -> tuple[float, float]:
    """Median CPU seconds and peak megabytes, in a separate process."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe()

    def child() -> None:
        torch.manual_seed(0)
        work = make(n)
        before = resident("VmRSS")
        work()
        times = []
        while len(times) < repeats or (sum(times) < 0.2 and len(times) < 200):
            started = time.process_time()
            work()
            times.append(time.process_time() - started)
        sender.send((statistics.median(times), resident("VmHWM") - before))
        os._exit(0)

    process = context.Process(target=child)
    process.start()
    sender.close()  # so that a crash of the child raises EOFError
    try:
        return receiver.recv()
    except EOFError:
        sys.exit(f"a measurement at {n} ended without a result")
    finally:
        process.join()


def slopes(n: list[int], y: list[float]) -> tuple[float, float]:
    """Slope of the line through log y against log n, and the steepest step between neighbours."""
    x, v = np.log(n), np.log(np.maximum(y, 1e-9))
    steps = [float((d - b) / (c - a)) for (a, b), (c, d) in pairwise(zip(x, v, strict=True))]
    return float(np.polyfit(x, v, 1)[0]), max(steps)


def series(name: str, against: str, values: tuple[int, ...], make: Callable, repeats: int) -> list[dict]:
    """The rows of one workload."""
    measurements = [measure(make, n, repeats) for n in values]
    n = [value**2 if against == "pixels" else value for value in values]
    slope, step = slopes(n, [seconds for seconds, _ in measurements])
    memory = slopes(n, [max(megabytes, 1) for _, megabytes in measurements])[0]
    print(f"{name:20} against {against:7} slope {slope:5.2f}, steepest step {step:5.2f}, memory {memory:5.2f};",
          "  ".join(f"{a:,}: {s:.4g} s {m:.0f} MB" for a, (s, m) in zip(n, measurements, strict=True)),
          flush=True)  # fmt: skip
    rounded = [round(x, 3) for x in (slope, step, memory)]
    where = [repeats, torch.get_num_threads(), torch.__version__, processor()]
    rows = [
        [name, against, a, f"{s:.5g}", round(m, 1), *rounded, *where]
        for a, (s, m) in zip(n, measurements, strict=True)
    ]
    return [dict(zip(FIELDS, row, strict=True)) for row in rows]


def main() -> None:
    """Measures every workload and writes the rows with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--short", action="store_true", help="all but the largest of each series, once")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls per point (default 3)")
    parser.add_argument("--csv", type=Path, help="file to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, against, values, make in works():
        if options.only in name:
            values, repeats = (values[:-1], 1) if options.short else (values, options.repeats)
            rows += series(name, against, values, make, repeats)
    keep(options.csv, rows, FIELDS)


if __name__ == "__main__":
    main()
