"""Every method and every family of backbones as a graph: the answers of the model, in batches of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from everything import ALSO, FAMILIES, pictures

from labelwise.export.engines import Engine, OnnxRuntime, OpenVINO, TorchProgram
from labelwise.export.graph import FILES, OPSET
from labelwise.registry import list_methods

MODELS = [*list_methods(), *FAMILIES]
ENGINES = {"onnx": OnnxRuntime, "openvino": OpenVINO, "torch": TorchProgram}


def agree(engine: Engine, folder: Path) -> None:
    """Probabilities within 2e-5 and maps within 1e-5 on average."""
    for n in (1, 3, 4):
        logits, maps = engine(pictures(n, seed=n), want_maps=True)
        expected = np.load(folder / f"{n}.npz")
        p, q = (1 / (1 + np.exp(-np.float64(z))) for z in (logits, expected["logits"]))
        np.testing.assert_allclose(p, q, rtol=0, atol=2e-5)
        assert maps is not None
        assert np.abs(maps - expected["maps"]).sum((2, 3)).mean() / 2 < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_graphs_answer_as_the_model_does(name: str, exports: Path) -> None:
    folder = exports / name
    assert not (folder / "error.txt").exists(), (folder / "error.txt").read_text()
    kinds = ["onnx", *(kind for kind, names in ALSO.items() if name in names)]
    assert {file.name for file in folder.iterdir()} >= {FILES[kind] for kind in kinds}
    for kind in kinds:
        agree(ENGINES[kind](folder / FILES[kind], True), folder)


def test_models_differ_between_pictures(exports: Path) -> None:
    """Or agreement would say nothing."""
    for name in MODELS:
        logits = np.load(exports / name / "4.npz")["logits"]
        assert np.ptp(logits, axis=0).max() > 1e-4, name
        assert np.ptp(logits, axis=1).max() > 0.1, name


def test_an_onnx_graph_says_what_it_takes(exports: Path) -> None:
    graph = onnx.load(exports / "csra" / "model.onnx")
    assert [output.name for output in graph.graph.output] == ["logits", "maps"]
    (given,) = graph.graph.input
    assert (given.name, given.type.tensor_type.elem_type) == ("images", onnx.TensorProto.UINT8)
    sizes = given.type.tensor_type.shape.dim
    assert sizes[0].dim_param
    assert [size.dim_value for size in sizes[1:]] == [3, 64, 64]
    assert [opset.version for opset in graph.opset_import if opset.domain == ""] == [OPSET]


def test_maps_are_given_where_they_are_wanted(exports: Path) -> None:
    engine = OnnxRuntime(exports / "csra" / "model.onnx", True)
    assert engine(pictures(2))[1] is None
    assert OnnxRuntime(exports / "csra" / "model.onnx", False)(pictures(2), want_maps=True)[1] is None
