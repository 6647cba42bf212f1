#!/usr/bin/env bash
# Package:  openvino 2026.4.1 (CPU plugin, x86-64)
# Date:     2026-11-30
# Expected: y = sum(x, last dimension) + b of x [batch, 5, 16] and b [5] adds b[j] to y[i, j] in a batch of any size.
# Happens:  a batch of one is right. In larger batches y[i, j] gets a constant of row i, in fp32 too. The same with a
#           mean or a maximum, with a product, and with a kept dimension. With x as [batch, 5, 1, 16], reduced over its
#           last two dimensions, and as a matrix product, every batch is right.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 numpy
"$here/venv/bin/python" - <<'PY'
import numpy as np
import openvino as ov
from openvino import opset13 as op

random = np.random.default_rng(0)
bias = random.normal(size=5).astype(np.float32)


def largest_error(wide: bool, n: int) -> float:
    shape = (5, 1, 16) if wide else (5, 16)
    x = op.parameter([-1, *shape], np.float32)
    axes = op.constant(np.array([2, 3] if wide else [2]))
    model = ov.Model([op.add(op.reduce_sum(x, axes, False), op.constant(bias))], [x])
    run = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    given = random.normal(size=(n, *shape)).astype(np.float32)
    expected = given.reshape(n, 5, 16).sum(2) + bias
    return float(np.abs(run([given])[0] - expected).max())


for n in (1, 2, 3, 8):
    print(f"batch of {n}: largest error {largest_error(False, n):.1e}, over two dimensions {largest_error(True, n):.1e}")
if largest_error(False, 2) < 1e-3:
    raise SystemExit("changed: the constant of each column is added")
PY
