#!/usr/bin/env bash
# Package:  onnxruntime 1.31.1 with onnx 1.19.1 (CPU, any system)
# Date:     2026-11-30
# Expected: Pad with zeros, then MaxPool without pads: a window of negative numbers and padded zeros has the maximum 0.
# Happens:  the padding becomes the pads of MaxPool, which stand for the smallest number, and the maximum is negative.
#           Without optimisation, or if the padded map is an output too, it is 0. HGNetV2 pads its first map in this way.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --no-cache-dir --disable-pip-version-check onnxruntime==1.31.1 onnx==1.19.1
"$here/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

negative = np.array([[[[-1.0, -2.0], [-3.0, -4.0]]]], np.float32)


def corner(opset: int, optimised: bool = True, also_padded: bool = False) -> float:
    outputs = [helper.make_tensor_value_info("pooled", TensorProto.FLOAT, [1, 1, 2, 2])]
    if also_padded:
        outputs.append(helper.make_tensor_value_info("padded", TensorProto.FLOAT, [1, 1, 3, 3]))
    graph = helper.make_graph(
        [
            helper.make_node("Pad", ["map", "sizes", "zero"], ["padded"]),
            helper.make_node("MaxPool", ["padded"], ["pooled"], kernel_shape=[2, 2]),
        ],
        "border",
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, 1, 2, 2])],
        outputs,
        [
            numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 0, 1, 1]), "sizes"),
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return float(session.run(["pooled"], {"map": negative})[0][0, 0, 1, 1])


print("optimised:", seen := corner(20))
print("not optimised:", plain := corner(20, optimised=False))
print("padded map is an output:", shown := corner(20, also_padded=True))
print("optimised, opset 22:", newer := corner(22))
if (seen, newer, plain, shown) != (-4.0, -4.0, 0.0, 0.0):
    raise SystemExit("changed")
PY
