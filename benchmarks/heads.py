"""Cost of a label-feature head relative to a ResNet-101 at 448 px: medians, both measured in one run.

Run: python benchmarks/heads.py [--labels 80] [--repeats 5] [--csv FILE]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from labelwise.backbones import TimmBackbone
from labelwise.classifiers import PerLabelClassifier
from labelwise.extractors import Pooled, QueryAttention
from labelwise.memory import keep_freed_memory
from measuring import keep, show


class Head(nn.Module):
    """An extractor with its classifiers."""

    def __init__(self, extractor: nn.Module, labels: int) -> None:
        super().__init__()
        self.extractor = extractor
        self.classifier = PerLabelClassifier(labels, extractor.dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of a map."""
        return self.classifier(self.extractor(x).features)


def both(module: nn.Module, x: torch.Tensor, repeats: int, device: str) -> tuple[float, float, float]:
    """Median seconds of forward (no gradient, as in prediction), of forward + backward, and GFLOP of a forward."""

    def forward() -> None:
        with torch.no_grad():
            module(x)

    def step() -> None:
        module.zero_grad(set_to_none=True)
        module(x).square().mean().backward()

    counter = FlopCounterMode(display=False)
    with counter:
        module(x)
    seconds = median(step, repeats, device)
    module.eval()
    return median(forward, repeats, device), seconds, counter.get_total_flops() / 1e9


def median(work: Callable[[], None], repeats: int, device: str) -> float:
    """Median seconds of a function, after one warm-up."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def main() -> None:
    """Runs the benchmark and prints ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--labels", type=int, default=80)
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--backbone", default="resnet101")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    keep_freed_memory()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    backbone = TimmBackbone(args.backbone, "none", args.size).to(device)
    images = torch.randint(0, 256, (args.batch, 3, args.size, args.size), dtype=torch.uint8, device=device)
    with torch.no_grad():
        maps = backbone(images).detach()
    base = both(backbone, images, args.repeats, device)
    channels = backbone.out_channels
    maps.requires_grad_()  # the backbone needs the map's gradient, so it is part of the head's cost
    heads = {
        "baseline-gap": Pooled(channels, args.labels),
        "baseline-mlp": Pooled(channels, args.labels, hidden=512),
        "dlfl": QueryAttention(channels, args.labels),
        "dlfl, 4 heads": QueryAttention(channels, args.labels, heads=4),
        "dlfl, 2 steps": QueryAttention(channels, args.labels, steps=2),
        "dlfl, feed-forward of 64": QueryAttention(channels, args.labels, ffn=64),
        "dlfl, no feed-forward": QueryAttention(channels, args.labels, ffn=0),
    }
    rows = []
    print(f"{args.backbone} at {args.size} px, batch {args.batch}, {args.labels} labels, {device}, "
          f"{torch.get_num_threads()} threads: {base[0]:.3f} s forward, {base[1]:.3f} s with backward")  # fmt: skip
    for name, extractor in heads.items():
        forward, step, flops = both(Head(extractor, args.labels).to(device), maps, args.repeats, device)
        row = {
            "head": name,
            "forward_ratio": round(forward / base[0], 4),
            "step_ratio": round(step / base[1], 4),
            "flop_ratio": round(flops / base[2], 4),
        }
        show(row)
        rows.append({**row, "backbone": args.backbone, "size": args.size, "labels": args.labels,
                     "batch": args.batch, "device": device, "threads": torch.get_num_threads(),
                     "torch": torch.__version__, "machine": platform.machine()})  # fmt: skip
    keep(args.csv, rows)


if __name__ == "__main__":
    main()
