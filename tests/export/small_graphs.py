"""Small ONNX graphs for tests of lower precision: bytes over 255, convolutions, the mean over places, a linear head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

BACKBONE = "model.backbone"


def scoped(
    kind: str, inputs: list[str], output: str, scope: str = BACKBONE, **attributes: Any
) -> onnx.NodeProto:
    """A node of a part of the model, named after its output."""
    made = helper.make_node(kind, inputs, [output], name=f"node_{output}", **attributes)
    made.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=str(["", "model", scope]))
    return made


def save_graph(
    file: Path,
    rng: np.random.Generator,
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, np.ndarray],
) -> Path:
    """A graph with three convolutions that change nothing, then `nodes` from `shares3` on, and a head of 3 labels.

    `weights` are those of `nodes`, which also have `low` 0 and `high` 6; the last one has 5 channels.
    """
    held: dict[str, np.ndarray] = {
        "full": np.array(255, np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
        **{f"same{i}": np.eye(3, dtype=np.float32)[:, :, None, None] for i in range(3)},
        **weights,
        "head": rng.normal(size=(5, 3)).astype(np.float32),
        "places": np.array([2, 3], np.int64),
    }
    every = [
        scoped("Cast", ["images"], "floats", to=TensorProto.FLOAT),
        scoped("Div", ["floats", "full"], "shares"),
        *(scoped("Conv", [f"shares{i or ''}", f"same{i}"], f"shares{i + 1}") for i in range(3)),
        *nodes,
        scoped("ReduceMean", [nodes[-1].output[0], "places"], "mean", "model.extractor", keepdims=0),
        scoped("MatMul", ["mean", "head"], "logits", "model.classifier"),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 3, 4, 4])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    initialisers = [numpy_helper.from_array(value, name) for name, value in held.items()]
    made = helper.make_graph(every, "small", [images], [logits], initialisers)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file)
    return file


def pictures(count: int, seed: int) -> Tensor:
    """Random images of the graphs' size, uint8 `[count, 3, 4, 4]`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 4, 4), generator=generator, dtype=torch.uint8)
