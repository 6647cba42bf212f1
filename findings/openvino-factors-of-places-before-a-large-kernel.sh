#!/usr/bin/env bash
# Package:  openvino 2026.4.1 with onnx 1.19.1 (CPU, any system)
# Date:     2026-11-30
# Expected: a map of 7 × 7 places times a constant per place, then a convolution of 7 × 7 places: each place is scaled
#           before the sum over the kernel, as with a kernel of 5 × 5.
# Happens:  the constants are multiplied into the kernel, since their sizes agree, and the sums are wrong. An upper bound
#           between the two operations keeps them apart. CSATv2 pools to the size of its next kernel, which becomes such
#           a division.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --no-cache-dir --disable-pip-version-check openvino==2026.4.1 onnx==1.19.1
"$here/venv/bin/python" - <<'PY'
import numpy as np
import openvino as ov
from onnx import TensorProto, helper, numpy_helper

SIDE = 7
random = np.random.default_rng(0)
factors = random.uniform(0.5, 2, (SIDE, SIDE)).astype(np.float32)
image = random.normal(size=(1, 2, SIDE, SIDE)).astype(np.float32)


def largest_difference(side: int, bounded: bool = False) -> float:
    kernel, pad = random.normal(size=(1, 2, side, side)).astype(np.float32), side // 2
    nodes = [helper.make_node("Mul", ["image", "factors"], ["scaled"])]
    if bounded:
        nodes.append(helper.make_node("Clip", ["scaled", "", "largest"], ["bounded"]))
    nodes.append(helper.make_node("Conv", [nodes[-1].output[0], "kernel"], ["sums"], pads=[pad] * 4))
    constants = {"factors": factors, "kernel": kernel, "largest": np.array(np.finfo(np.float32).max)}
    graph = helper.make_graph(
        nodes,
        "scales",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["images", 2, SIDE, SIDE])],
        [helper.make_tensor_value_info("sums", TensorProto.FLOAT, ["images", 1, SIDE, SIDE])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    core = ov.Core()
    compiled = core.compile_model(
        core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    padded = np.pad(image * factors, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), (2, 3))
    expected = np.einsum("nchwij,ocij->nohw", windows, kernel)
    return float(np.abs(compiled(image)[0] - expected).max())


print("kernel 7 x 7:", equal := largest_difference(7))
print("kernel 5 x 5:", smaller := largest_difference(5))
print("kernel 7 x 7, bounded:", apart := largest_difference(7, True))
if not (equal > 0.1 and smaller < 1e-4 and apart < 1e-4):
    raise SystemExit("changed")
PY
