"""Speed of the exact metrics compared with scikit-learn and torchmetrics: medians and ratios.

Run: python benchmarks/metrics.py                       labelwise only
     python benchmarks/metrics.py --peers --csv out.csv with the other libraries (minutes at the larger size)
     python benchmarks/metrics.py --stream 9600         125,000 images through a file, with the peak memory
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch

from labelwise.metrics import RankingStream
from labelwise.metrics import functional as F
from measuring import keep

SIZES = ((40_000, 80), (125_000, 480))
POSITIVES = 2.937 / 80
FIELDS = ("work", "images", "labels", "who", "seconds", "ratio", "repeats", "threads")
Work = dict[str, dict[str, Callable[[], object]]]


def data(images: int, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores float32 and targets uint8 `[N, L]` with COCO's share of positives, ranked fairly well."""
    rng = np.random.default_rng(0)
    targets = rng.random((images, labels), dtype=np.float32) < POSITIVES
    scores = rng.standard_normal((images, labels), dtype=np.float32)
    scores += 3 * targets
    return scores, targets.astype(np.uint8)


def ours(scores: np.ndarray, targets: np.ndarray) -> Work:
    """The timed functions of this library, per workload."""
    return {
        "mAP": {"labelwise": lambda: F.mean_average_precision(scores, targets)},
        "CP..OF1": {"labelwise": lambda: F.threshold_metrics(scores, targets, threshold=0.0)},
        "CP..OF1 top 3": {"labelwise": lambda: F.threshold_metrics(scores, targets, threshold=0.0, top_k=3)},
    }


def peers(scores: np.ndarray, targets: np.ndarray) -> Work:
    """The timed functions of other libraries, per workload."""
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support
    from torchmetrics.functional.classification import multilabel_average_precision, multilabel_f1_score

    labels = scores.shape[1]
    s, y = torch.from_numpy(scores), torch.from_numpy(targets).long()
    sk, tm = f"scikit-learn {version('scikit-learn')}", f"torchmetrics {version('torchmetrics')}"
    return {
        "mAP": {
            sk: lambda: average_precision_score(targets, scores, average="macro"),
            tm: lambda: multilabel_average_precision(s, y, num_labels=labels, thresholds=None),
        },
        "CP..OF1": {
            sk: lambda: precision_recall_fscore_support(targets, scores >= 0, average=None, zero_division=0),
            tm: lambda: multilabel_f1_score(s.sigmoid(), y, num_labels=labels),
        },
    }


def median(work: Callable[[], object], repeats: int) -> float:
    """Median seconds after one untimed call."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def rows(images: int, labels: int, repeats: int, with_peers: bool) -> list[dict[str, object]]:
    """One row per workload and library; the ratio is relative to this library's time."""
    scores, targets = data(images, labels)
    others = peers(scores, targets) if with_peers else {}
    table = []
    for work, mine in ours(scores, targets).items():
        base = 0.0
        for who, call in {**mine, **others.get(work, {})}.items():
            seconds = median(call, repeats)
            base = base or seconds
            values = (work, images, labels, who, seconds, seconds / base, repeats, torch.get_num_threads())
            table.append(dict(zip(FIELDS, values, strict=True)))
            times = f"{seconds * 1e3:10.1f} ms  {seconds / base:8.1f} x"
            print(f"{work:14} {images} x {labels}  {who:20} {times}")
    return table


def streamed(images: int, labels: int, batch: int = 500) -> list[dict[str, object]]:
    """mAP of scores that are never all in memory; the peak is that of the whole process."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rng, seconds = np.random.default_rng(0), 0.0
    with RankingStream() as stream:
        for _ in range(images // batch):
            targets = rng.random((batch, labels), dtype=np.float32) < POSITIVES
            scores = rng.standard_normal((batch, labels), dtype=np.float32) + targets
            start = time.perf_counter()
            stream.update(scores, targets.astype(np.uint8))
            seconds += time.perf_counter() - start
        start = time.perf_counter()
        mean_ap = stream.mean_average_precision()
        seconds += time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"stream {images} x {labels}: mAP {mean_ap:.6f}, {seconds:.1f} s, {before >> 10} to {peak >> 10} MiB"
    )
    values = ("mAP, streamed", images, labels, "labelwise", seconds, 1.0, 1, torch.get_num_threads())
    return [{**dict(zip(FIELDS, values, strict=True)), "peak_MiB": peak >> 10}]


def main() -> None:
    """Prints the rows and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peers", action="store_true", help="time scikit-learn and torchmetrics too")
    parser.add_argument("--stream", type=int, metavar="LABELS", help="only that in a stream")
    parser.add_argument("--small", action="store_true", help="only 40,000 x 80")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls per row (default 5)")
    parser.add_argument("--threads", type=int, help="threads of every library that uses torch's setting")
    parser.add_argument("--csv", help="file to write")
    options = parser.parse_args()
    if options.repeats < 1 or (options.threads is not None and options.threads < 1):
        sys.exit("--repeats and --threads: expected at least 1; give larger numbers")
    if options.threads:
        torch.set_num_threads(options.threads)
    print(f"threads {torch.get_num_threads()}, numpy {np.__version__}, torch {torch.__version__}")
    if options.stream:
        table = streamed(125_000, options.stream)
    else:
        sizes = SIZES[:1] if options.small else SIZES
        table = [row for size in sizes for row in rows(*size, options.repeats, options.peers)]
    keep(options.csv, table)


if __name__ == "__main__":
    main()
