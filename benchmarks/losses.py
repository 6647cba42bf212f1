"""Forward and backward of the losses on 128 images: labelwise, labelwise compiled, and a plain implementation.

The plain asymmetric loss is the paper's formula step by step, with clamped logarithms; the plain BCE is PyTorch's own
function. Medians; with one thread, CPU seconds.

Run: python benchmarks/losses.py [--repeats 20] [--csv results/losses.csv]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from labelwise.losses import AsymmetricLoss, BinaryCrossEntropy
from labelwise.types import Targets
from measuring import keep, processor

IMAGES, LABELS = 128, (80, 9600)
FIELDS = ("loss", "form", "labels", "milliseconds", "ratio", "difference", "images", "device", "repeats",
          "threads", "torch", "processor")  # fmt: skip
Loss = Callable[[Tensor, Targets], Tensor]


def plain_asymmetric(z: Tensor, t: Targets) -> Tensor:
    """`-y (1 - p)^g+ log p - (1 - y) p^g- log(1 - p)` with weights that carry no gradient, mean over cells."""
    y, p = t.values, torch.sigmoid(z)
    positive, negative = p, 1 - p
    terms = y * torch.log(positive.clamp(min=1e-8)) + (1 - y) * torch.log(negative.clamp(min=1e-8))
    with torch.no_grad():
        p_t = positive * y + negative * (1 - y)
        weight = torch.pow(1 - p_t, 0.0 * y + 2.0 * (1 - y))
    return -(terms * weight).mean()


def plain_bce(z: Tensor, t: Targets) -> Tensor:
    """PyTorch's function."""
    return torch.nn.functional.binary_cross_entropy_with_logits(z, t.values)


def compiled(loss: Loss) -> Loss:
    """The loss through torch.compile, with targets as tensors."""
    function = torch.compile(lambda z, values, known: loss(z, Targets(values, known)), dynamic=False)
    return lambda z, t: function(z, t.values, t.known)


def milliseconds(loss: Loss, z: Tensor, t: Targets, repeats: int) -> float:
    """Median of forward and backward."""
    alone = torch.get_num_threads() == 1 and z.device.type == "cpu"
    clock = time.process_time if alone else time.perf_counter

    def step() -> None:
        z.grad = None
        loss(z, t).backward()
        if z.is_cuda:
            torch.cuda.synchronize()

    for _ in range(3):
        step()
    times = []
    for _ in range(repeats):
        started = clock()
        step()
        times.append(clock() - started)
    return 1000 * statistics.median(times)


def main() -> None:
    """Measures every form and writes the rows with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    works: dict[str, tuple[Loss, Loss]] = {
        "asl": (plain_asymmetric, AsymmetricLoss()),
        "bce": (plain_bce, BinaryCrossEntropy()),
    }
    rows = []
    for labels in LABELS:
        z = torch.randn(IMAGES, labels, device=device).requires_grad_()
        values = (torch.rand(IMAGES, labels, device=device) < 0.04).float()
        t = Targets(values, torch.ones_like(values, dtype=torch.bool))
        for name, (plain, ours) in works.items():
            base, expected = 0.0, plain(z, t).item()
            forms = {"plain": plain, "labelwise": ours, "labelwise, compiled": compiled(ours)}
            for form, loss in forms.items():
                taken = milliseconds(loss, z, t, options.repeats)
                base = base or taken
                error = abs(loss(z, t).item() - expected)
                times = f"{taken:9.3f} ms  {taken / base:5.2f} x  error {error:.1e}"
                print(f"{name}  {IMAGES} x {labels:5}  {form:20} {times}")
                where = (IMAGES, device, options.repeats, options.threads, torch.__version__, processor())
                row = (name, form, labels, round(taken, 4), round(taken / base, 3), f"{error:.1e}", *where)
                rows.append(dict(zip(FIELDS, row, strict=True)))
    keep(options.csv, rows, FIELDS)


if __name__ == "__main__":
    main()
