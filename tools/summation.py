"""Margins of the tests' comparisons to their tolerances, also with other orders of summation.

Run: python tools/summation.py [--tests tests/losses tests/metrics ...] [--csv results/summation.csv]

Another processor adds the terms of a float32 sum in another order: more lanes, other blocks, a fused multiply-add.
The tests run once with each instruction set that torch and oneDNN support on this machine, and once for each order
that simulates another processor: contracted dimensions reversed, in blocks, in float64, and with a random error of
`sqrt(n) u sum|a b|`, the expected error of n terms rounded to u. For every comparison the largest
`|difference| / tolerance` is recorded; above 1 it fails.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kept import keep

ROOT = Path(__file__).resolve().parents[1]
SUITES = (
    *("extractors", "losses", "methods", "evaluation", "metrics", "blending", "relations", "classifiers"),
    *(
        "backbones",
        "contracts",
        "continual",
        "decisions",
        "properties",
        "training",
        "reports",
        "test_model.py",
    ),
)
INSTRUCTIONS = {
    f"{cpu}/{onednn}": {"ATEN_CPU_CAPABILITY": cpu, "ONEDNN_MAX_CPU_ISA": onednn}
    for cpu, onednn in (
        ("default", "SSE41"), ("avx2", "AVX2"), ("avx512", "AVX2"), ("avx2", "AVX512_CORE"), ("avx512", "AVX512_CORE"),
    )
}  # fmt: skip
ORDERS = ("reversed", "blocks", "exact", "noise")
UNIT = 2.0**-24
TOLERANCES = {torch.float16: (1e-3, 1e-5), torch.bfloat16: (1.6e-2, 1e-5), torch.float32: (1.3e-6, 1e-5)}
"""Relative and absolute, those of `torch.testing.assert_close`."""
aten = torch.ops.aten


def blocks(n: int) -> Iterator[slice]:
    """At most nine slices of n terms, each of 7 or more."""
    size = max(7, n // 8)
    return (slice(i, i + size) for i in range(0, n, size))


def contracted(a: Tensor, b: Tensor, order: str) -> Tensor:
    """`a @ b` for `[..., n, k]` and `[..., k, m]`, added in another order."""
    if order == "reversed":
        return a.flip(-1) @ b.flip(-2)
    if order == "blocks":
        total = a.new_zeros(())
        for part in blocks(a.shape[-1]):
            total = total + a[..., part] @ b[..., part, :]
        return total.expand(*a.shape[:-1], b.shape[-1]).clone()
    exact = a.double() @ b.double()
    if order == "noise":
        exact = noisy(exact, a.double().abs() @ b.double().abs(), a.shape[-1])
    return exact.float()


def summed(x: Tensor, dims: list[int], keepdim: bool, order: str) -> Tensor:
    """`x.sum(dims)`, added in another order."""
    n = math.prod(x.shape[d] for d in dims)
    if order == "reversed":
        return x.flip(dims).sum(dims, keepdim=keepdim)
    if order == "blocks":
        kept = [d for d in range(x.ndim) if d not in dims]
        rows = x.permute(*kept, *dims).reshape(*[x.shape[d] for d in kept], n)
        total = rows.new_zeros(rows.shape[:-1])
        for part in blocks(n):
            total = total + rows[..., part].sum(-1)
        return total.reshape([1 if d in dims else x.shape[d] for d in range(x.ndim)]) if keepdim else total
    exact = x.double().sum(dims, keepdim=keepdim)
    if order == "noise":
        exact = noisy(exact, x.double().abs().sum(dims, keepdim=keepdim), n)
    return exact.float()


def noisy(exact: Tensor, size: Tensor, n: int) -> Tensor:
    """Adds an error of up to `sqrt(n) u size`; equal numbers get the same error, and small integers none."""
    if float(size.max() if size.numel() else 0) < 2**10 and torch.equal(
        exact * 2**12, (exact * 2**12).round()
    ):
        return exact  # such terms are summed without rounding in any order
    return exact + torch.sin(exact * 1e9 + 1) * math.sqrt(n) * UNIT * size


class OtherOrder(TorchDispatchMode):
    """Matrix products, convolutions, sums and means of float32 in another order, forwards and backwards."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.order = order

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [a for a in args if isinstance(a, Tensor)]
        known = OTHER.get(func)
        plain = all(type(t) in (Tensor, torch.nn.Parameter) and t.dtype == torch.float32 for t in tensors)
        if known is None or not tensors or not plain or any(t.device.type != "cpu" for t in tensors):
            return func(*args, **kwargs)
        result = known(self.order, *args, **kwargs)
        return func(*args, **kwargs) if result is None else result


def _addmm(order: str, bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return beta * bias + alpha * contracted(a, b, order)


def _sum(order: str, x: Tensor, dims: Any = None, keepdim: bool = False, **other: Any) -> Tensor | None:
    if other.get("dtype") not in (None, torch.float32) or not x.numel():
        return None
    dims = [d % max(1, x.ndim) for d in dims] if dims else list(range(x.ndim))
    return summed(x, dims, keepdim, order) if x.ndim else None


def _mean(order: str, x: Tensor, dims: Any = None, keepdim: bool = False, **other: Any) -> Tensor | None:
    total = _sum(order, x, dims, keepdim, **other)
    return None if total is None else total / (x.numel() / max(1, total.numel()))


def _convolution(order: str, x: Tensor, w: Tensor, bias: Tensor | None, *rest: Any) -> Tensor | None:
    groups, n = rest[-1], w[0].numel()
    if order in ("exact", "noise"):
        exact = aten.convolution(x.double(), w.double(), None if bias is None else bias.double(), *rest)
        if order == "noise":
            exact = noisy(exact, aten.convolution(x.double().abs(), w.double().abs(), None, *rest), n)
        return exact.float()
    if groups > 1 or rest[-3]:  # transposed
        return None
    if order == "reversed":
        return aten.convolution(x.flip(1), w.flip(1), bias, *rest)
    total = 0 if bias is None else bias.reshape(-1, *[1] * (x.ndim - 2))
    for part in blocks(x.shape[1]):
        total = total + aten.convolution(x[:, part], w[:, part], None, *rest)
    return total


OTHER: dict[Any, Callable[..., Tensor | None]] = {
    aten.mm.default: lambda order, a, b: contracted(a, b, order),
    aten.bmm.default: lambda order, a, b: contracted(a, b, order),
    aten.mv.default: lambda order, a, b: contracted(a, b[:, None], order)[:, 0],
    aten.dot.default: lambda order, a, b: contracted(a[None], b[:, None], order)[0, 0],
    aten.addmm.default: _addmm,
    aten.baddbmm.default: _addmm,
    aten.convolution.default: _convolution,
    aten.sum.default: _sum,
    aten.sum.dim_IntList: _sum,
    aten.mean.default: _mean,
    aten.mean.dim: _mean,
}


class Ratios:
    """A pytest plugin that records `|difference| / tolerance` of every comparison in one order of summation."""

    def __init__(self, order: str, file: Path) -> None:
        self.order, self.file = order, file
        self.test, self.inside = "", False
        self.worst: dict[tuple[str, str], float] = {}

    def note(self, ratio: float) -> None:
        """Records the ratio of a comparison that holds; others are failed tests, or are meant to fail."""
        if ratio > 1:
            return
        frame: FrameType = sys._getframe(2)
        while frame.f_back and not frame.f_code.co_filename.startswith(str(ROOT / "tests")):
            frame = frame.f_back
        place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        key = self.test, place
        self.worst[key] = max(self.worst.get(key, 0.0), ratio)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Runs the test in the other order."""
        self.test = item.nodeid
        if self.order not in ORDERS:
            return (yield)
        with OtherOrder(self.order):
            return (yield)

    def pytest_sessionfinish(self) -> None:
        """Writes the recorded ratios."""
        self.file.write_text(json.dumps([[*k, v] for k, v in self.worst.items()]))

    def watch(self) -> None:
        """Patches the comparison functions of the tests to record their ratios."""
        close, allclose = torch.testing.assert_close, torch.allclose
        numpy_close, numpy_all = np.testing.assert_allclose, np.allclose
        scalar = pytest.approx(1.0).__class__
        equal = scalar.__eq__

        def assert_close(actual: Any, expected: Any, *args: Any, **kw: Any) -> None:
            a, b = torch.as_tensor(actual), torch.as_tensor(expected)
            if a.is_floating_point() and b.is_floating_point() and not isinstance(actual, (list, dict)):
                rtol, atol = max(TOLERANCES.get(t.dtype, (1e-7, 1e-7)) for t in (a, b))
                rtol = rtol if kw.get("rtol") is None else kw["rtol"]
                atol = atol if kw.get("atol") is None else kw["atol"]
                self.note(ratio(a, b, rtol, atol))
            close(actual, expected, *args, **kw)

        def torch_allclose(a: Tensor, b: Tensor, rtol: float = 1e-5, atol: float = 1e-8, **kw: Any) -> bool:
            self.note(ratio(a, b, rtol, atol))
            return allclose(a, b, rtol, atol, **kw)

        def assert_allclose(
            a: Any, b: Any, rtol: float = 1e-7, atol: float = 0, *args: Any, **kw: Any
        ) -> None:
            self.note(ratio(a, b, rtol, atol))
            numpy_close(a, b, rtol, atol, *args, **kw)

        def numpy_allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, **kw: Any) -> bool:
            self.note(ratio(a, b, rtol, atol))
            return bool(numpy_all(a, b, rtol, atol, **kw))

        def approx_equal(approximate: Any, actual: Any) -> Any:
            try:
                error, bound = abs(float(actual) - float(approximate.expected)), float(approximate.tolerance)
                self.note(error / bound if bound else (math.inf if error else 0.0))
            except (TypeError, ValueError):
                pass  # not numbers
            return equal(approximate, actual)

        torch.testing.assert_close, torch.allclose = assert_close, torch_allclose
        np.testing.assert_allclose, np.allclose = assert_allclose, numpy_allclose
        scalar.__eq__ = approx_equal  # type: ignore[method-assign]


def ratio(a: Any, b: Any, rtol: float, atol: float) -> float:
    """The largest `|a - b| / (atol + rtol |b|)`; equal numbers count as 0, also infinities."""
    x, y = (np.asarray(v.detach().double() if isinstance(v, Tensor) else v, dtype=np.float64) for v in (a, b))
    x, y = np.broadcast_arrays(x, y)
    with np.errstate(all="ignore"):
        error, bound = np.abs(x - y), atol + rtol * np.abs(y)
        error = np.where((x == y) | np.isnan(x) & np.isnan(y), 0.0, error)
        ratios = np.where(error > 0, error / bound, 0.0)
    return float(np.nan_to_num(ratios, nan=0.0, posinf=1e9).max(initial=0.0))


def one(order: str, file: Path, tests: list[str]) -> int:
    """Runs the tests in this process in one order and returns pytest's exit code."""
    plugin = Ratios(order, file)
    plugin.watch()
    options = "-q -p no:cacheprovider --no-header --tb=line -rfE --disable-warnings"
    return int(pytest.main([*tests, *options.split()], [plugin]))


def main() -> None:
    """Runs the tests in every order and prints the comparisons closest to their tolerance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tests", nargs="*", default=[f"tests/{suite}" for suite in SUITES])
    parser.add_argument("--only", nargs="*", default=[*INSTRUCTIONS, *ORDERS])
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("ORDER", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.chdir(ROOT)
    if options.one:
        sys.exit(one(options.one[0], Path(options.one[1]), options.tests))
    rows = []
    for order in options.only:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "ratios.json"
            command = [sys.executable, __file__, "--one", order, str(file), "--tests", *options.tests]
            own = os.environ | INSTRUCTIONS.get(order, {})
            run = subprocess.run(command, env=own, capture_output=True, text=True)
            ratios = json.loads(file.read_text()) if file.exists() else []
        failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        ratios.sort(key=lambda f: -f[2])
        end = (run.stdout.strip().splitlines() or [run.stderr[-300:]])[-1]
        largest = (f"  {value:9.3g}  {place}  {test}" for test, place, value in ratios[:12])
        print("\n".join([f"{order}: exit {run.returncode}, {end}", *failed, *largest]), flush=True)
        rows += [
            {"order": order, "test": test, "line": place, "ratio": f"{value:.3g}"}
            for test, place, value in ratios
            if value > 0.1
        ]
    keep(options.csv, rows, ("order", "test", "line", "ratio"))


if __name__ == "__main__":
    main()
