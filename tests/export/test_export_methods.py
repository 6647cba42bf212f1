"""Every method and every family of backbones as a graph: the answers of the model, in batches of any size."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from everything import FAMILIES, NAMES, pictures
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from labelwise.export.engines import READERS, Answer, Engine, OnnxRuntime, OpenVINO, TorchProgram
from labelwise.export.graph import FILES, OPSET, exported_graph, write_graph
from labelwise.export.parity import BATCHES
from labelwise.registry import list_methods

MODELS = [*list_methods(), *FAMILIES]
RUNTIMES = {"onnxruntime": OnnxRuntime, "openvino": OpenVINO, "torch": TorchProgram}


class Reference:
    """The evaluator in the package onnx, which computes every operator in NumPy as its definition says."""

    name, has_maps = "onnx.reference", True

    def __init__(self, file: Path, has_maps: bool) -> None:
        self._run = ReferenceEvaluator(str(file))

    def __call__(self, images: Tensor, want_maps: bool = False) -> Answer:
        """Logits and maps of a batch."""
        logits, maps = self._run.run(None, {"images": images.numpy()})
        return logits, maps


@cache
def answered(folder: Path) -> list[tuple[str, int, np.ndarray, np.ndarray]]:
    """Logits and maps of a graph, by the evaluator and every runtime, for batches of each size."""
    engines: list[Engine] = [Reference(folder / FILES["onnx"], True)]
    engines += [RUNTIMES[name](folder / file, True) for kind, file in FILES.items() for name in READERS[kind]]
    found = []
    for engine in engines:
        for n in BATCHES:
            logits, maps = engine(pictures(n, seed=n), want_maps=True)
            assert maps is not None
            found.append((engine.name, n, logits, maps))
    return found


def place(name: str, graphs: Path) -> tuple[Path, slice]:
    """The folder of a model's graph, and its labels there."""
    folder, first = json.loads((graphs / "places.json").read_text())[name]
    assert not (graphs / folder / "error.txt").exists(), (graphs / folder / "error.txt").read_text()
    return graphs / folder, slice(first, first + len(NAMES))


@pytest.mark.parametrize("name", MODELS)
def test_graphs_answer_as_the_model_does(name: str, graphs: Path) -> None:
    """Probabilities within 2e-5, the same decisions at .5, and maps within 1e-5 on average."""
    folder, own = place(name, graphs)
    for engine, n, logits, maps in answered(folder):
        expected = np.load(folder / f"{n}.npz")
        p, q = (1 / (1 + np.exp(-np.float64(z[:, own]))) for z in (logits, expected["logits"]))
        np.testing.assert_allclose(p, q, rtol=0, atol=2e-5, err_msg=f"{engine}, batch of {n}")
        assert np.array_equal(p > 0.5, q > 0.5)
        assert np.abs(maps[:, own] - expected["maps"][:, own]).sum((2, 3)).mean() / 2 < 1e-5


class Classifier(torch.nn.Module):
    """One classifier per label, of more labels than images and the reverse."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = (torch.nn.Parameter(torch.randn(*size)) for size in ((5, 16), (5,)))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """`sum_d x_ld w_ld + b_l`."""
        return ((images * self.weight).sum(-1) + self.bias,)


class Peak(Classifier):
    """The largest value of each label, scaled as in a calibration."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """`w_l max_d x_ld + b_l`."""
        return (images.amax(2) * self.weight[:, 0] + self.bias,)


@pytest.mark.parametrize("form", [Classifier, Peak])
@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_openvino_adds_each_labels_own_bias(
    form: type[Classifier], kind: str, tmp_path: Path, seeded: torch.Generator
) -> None:
    module = form().eval()
    other = tmp_path / FILES["openvino" if kind == "onnx" else "onnx"]
    other.write_bytes(b"another's")
    write_graph(exported_graph(module, torch.zeros(3, 5, 16), "images"), kind, tmp_path)
    assert other.read_bytes() == b"another's"
    assert not (tmp_path / "between.onnx").exists()
    engine = OpenVINO(tmp_path / FILES[kind], False)
    for n in (*BATCHES, 32):
        features = torch.randn(n, 5, 16, generator=seeded)
        with torch.no_grad():
            (expected,) = module(features)
        np.testing.assert_allclose(engine(features)[0], expected.numpy(), atol=1e-4)


class Lengths(torch.nn.Module):
    """A row for each image, by Python's length."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Ones, as many as images."""
        return (images.new_ones(1, 2).expand(len(images), 2),)


def test_a_module_that_asks_for_a_length_keeps_the_batch_free() -> None:
    made = exported_graph(Lengths(), torch.zeros(3, 4), "images").module()
    assert made(torch.zeros(5, 4))[0].shape == (5, 2)


def test_models_differ_between_pictures(graphs: Path) -> None:
    """Or agreement would say nothing."""
    for name in MODELS:
        folder, own = place(name, graphs)
        logits = np.load(folder / "3.npz")["logits"][:, own]
        assert np.ptp(logits, axis=0).max() > 1e-4, name
        assert np.ptp(logits, axis=1).max() > 0.1, name


def test_an_onnx_graph_says_what_it_takes(graphs: Path) -> None:
    graph = onnx.load(graphs / "test_efficientnet" / "model.onnx")
    assert [output.name for output in graph.graph.output] == ["logits", "maps"]
    (given,) = graph.graph.input
    assert (given.name, given.type.tensor_type.elem_type) == ("images", onnx.TensorProto.UINT8)
    sizes = given.type.tensor_type.shape.dim
    assert sizes[0].dim_param == "batch"
    assert {output.type.tensor_type.shape.dim[0].dim_param for output in graph.graph.output} == {"batch"}
    assert [size.dim_value for size in sizes[1:]] == [3, 64, 64]
    assert [opset.version for opset in graph.opset_import if opset.domain == ""] == [OPSET]


def test_maps_are_given_where_they_are_wanted(graphs: Path) -> None:
    engine = OnnxRuntime(graphs / "test_efficientnet" / "model.onnx", True)
    assert engine(pictures(2))[1] is None
    assert (
        OnnxRuntime(graphs / "test_efficientnet" / "model.onnx", False)(pictures(2), want_maps=True)[1]
        is None
    )
