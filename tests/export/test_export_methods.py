"""Every method and every family of backbones as a graph: the answers of the model, in batches of any size."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from everything import FAMILIES, NAMES, SIDE, every_model, pictures
from torch.onnx._internal.exporter import _registration

from labelwise.decisions import Decisions
from labelwise.export.engines import Eager, Engine, OnnxRuntime, OpenVINO, TorchProgram
from labelwise.export.graph import OPSET, program, write_graph
from labelwise.export.parity import compare
from labelwise.model import LabelModel
from labelwise.registry import list_methods
from labelwise.types import LabelSet

OPENVINO = ("csra", "dlfl", "c-tran", "test_vit")
TORCH = ("dlfl", "mcar")


@pytest.fixture(scope="module")
def models() -> dict[str, LabelModel]:
    """All of them, built once."""
    return every_model()


@pytest.fixture(scope="module", autouse=True)
def _one_registry() -> Iterator[None]:
    """The exporter makes its table of operators anew for each model, a third of the time of these small ones."""
    made = staticmethod(functools.cache(_registration.ONNXRegistry.from_torchlib))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_registration.ONNXRegistry, "from_torchlib", made)
        yield


def agree(model: LabelModel, engine: Engine) -> None:
    """The same probabilities, decisions and maps for batches of one, three and four."""
    batches = [([str(i) for i in range(n)], pictures(n, seed=n)) for n in (1, 3, 4)]
    found = compare(Eager(model, "cpu"), engine, batches, Decisions.plain(LabelSet(NAMES)), NAMES)
    assert found.images == 8
    assert found.probability < 2e-5
    assert found.maps is not None
    assert found.maps < 1e-5


@pytest.mark.parametrize("name", [*list_methods(), *FAMILIES])
def test_graphs_answer_as_the_model_does(name: str, models: dict[str, LabelModel], tmp_path: Path) -> None:
    exported = program(models[name], (SIDE, SIDE), maps=True)
    write_graph(exported, "onnx", tmp_path)
    agree(models[name], OnnxRuntime(tmp_path / "model.onnx", True))
    if name in OPENVINO:
        write_graph(exported, "openvino", tmp_path)
        agree(models[name], OpenVINO(tmp_path / "model.xml", True))
    if name in TORCH:
        write_graph(exported, "torch", tmp_path)
        agree(models[name], TorchProgram(tmp_path / "model.pt2", True))


def test_without_maps_there_is_one_output(models: dict[str, LabelModel], tmp_path: Path) -> None:
    import onnx

    write_graph(program(models["csra"], (SIDE, SIDE), maps=False), "onnx", tmp_path)
    graph = onnx.load(tmp_path / "model.onnx")
    assert [output.name for output in graph.graph.output] == ["logits"]
    assert graph.graph.input[0].name == "images"
    assert graph.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert [opset.version for opset in graph.opset_import if opset.domain == ""] == [OPSET]
    logits, maps = OnnxRuntime(tmp_path / "model.onnx", False)(pictures(2), want_maps=True)
    assert maps is None
    with torch.no_grad():
        expected = models["csra"](pictures(2)).logits.numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-5)
