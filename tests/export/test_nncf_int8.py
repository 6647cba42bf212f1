"""int8 for OpenVINO by NNCF: the quantised operations, the answers, and the export."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from small_graphs import pictures, save_graph, scoped

from labelwise.errors import LabelwiseError
from labelwise.export import nncf_int8
from labelwise.export.engines import OpenVINO

pytest.importorskip("nncf")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four convolutions, the last two with biases and one of them depthwise, and a linear head."""
    rng = np.random.default_rng(0)
    weights = {
        "deep": np.array([8, 1, 0.1], np.float32)[:, None, None, None],
        "kernel": rng.normal(size=(5, 3, 1, 1)).astype(np.float32),
        "bias": rng.normal(size=5).astype(np.float32),
    }
    nodes = [
        scoped("Conv", ["shares3", "deep"], "apart", group=3),
        scoped("Clip", ["apart", "low", "high"], "clipped"),
        scoped("Conv", ["clipped", "kernel", "bias"], "map"),
    ]
    return save_graph(tmp_path_factory.mktemp("graph") / "model.onnx", rng, nodes, weights)


@pytest.fixture(scope="module")
def int8(graph: Path) -> Path:
    target = graph.with_name("model.xml")
    nncf_int8.quantise_openvino(graph, target, iter([pictures(8, 1), pictures(8, 2)]))
    return target


def test_the_backbone_is_quantised_and_nothing_else(int8: Path) -> None:
    """Of the weights, those of the last two convolutions; of the activations, their inputs."""
    weights: dict[str, str] = {}
    activations: set[str] = set()
    for operation in ov.Core().read_model(int8).get_ops():
        if operation.get_type_name() in ("Convolution", "GroupConvolution", "MatMul"):
            name = operation.get_friendly_name().removesuffix("/WithoutBiases")
            source = operation.input_value(1).get_node()
            while source.get_type_name() != "Constant":
                source = source.input_value(0).get_node()
            weights[name] = source.get_element_type().get_type_name()
        if operation.get_type_name() == "FakeQuantize":
            activations |= {i.get_node().get_friendly_name() for i in operation.output(0).get_target_inputs()}
    assert {name for name, kind in weights.items() if kind == "i8"} == {"node_apart", "node_map"}
    assert [kind for name, kind in weights.items() if name.endswith("logits")] == ["f32"]
    assert activations == {"node_apart", "node_map/WithoutBiases"}


def test_the_answers_are_close_in_every_batch(graph: Path, int8: Path) -> None:
    images = pictures(32, 3)
    plain, whole = OpenVINO(graph, False), OpenVINO(int8, False)
    expected = plain(images)[0]
    apart = np.abs(whole(images)[0] - expected).max()
    assert 0 < apart < 0.02 * np.ptp(expected)
    for size in (1, 2, 3, 8):
        np.testing.assert_allclose(whole(images[:size])[0], whole(images)[0][:size], atol=1e-5)


def test_black_images_say_nothing_of_the_range(graph: Path, int8: Path) -> None:
    nncf_int8.quantise_openvino(
        graph, graph.with_name("dark.xml"), iter([torch.zeros(8, 3, 4, 4, dtype=torch.uint8)])
    )
    images = pictures(32, 3)
    expected, dark = (
        OpenVINO(graph, False)(images)[0],
        OpenVINO(graph.with_name("dark.xml"), False)(images)[0],
    )
    assert np.abs(dark - expected).max() > 5 * np.abs(OpenVINO(int8, False)(images)[0] - expected).max()


def test_too_few_layers_and_faults_are_refused(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(*_: object, **options: object) -> None:
        raise RuntimeError("no such operation\nmore")

    monkeypatch.setattr("nncf.quantize", faulty)
    with pytest.raises(
        LabelwiseError, match=r"NNCF cannot quantise \(RuntimeError: no such operation\); expected"
    ):
        nncf_int8.quantise_openvino(graph, tmp_path / "x.xml", iter([pictures(1, 0)]))
    monkeypatch.setattr(nncf_int8, "backbone_nodes", lambda graph: [])
    with pytest.raises(LabelwiseError, match="too few weights in its backbone; expected four layers or more"):
        nncf_int8.quantise_openvino(graph, tmp_path / "x.xml", iter([pictures(1, 0)]))
    assert list(tmp_path.iterdir()) == []


def test_no_usage_statistics_and_no_word(tmp_path: Path) -> None:
    """In a process without pytest, in which NNCF would send them; the environment is as before."""
    script = (
        "import os; from labelwise.export import nncf_int8; nncf = nncf_int8._nncf(); "
        "from nncf.telemetry.wrapper import telemetry; print(type(telemetry).__name__, os.environ.get('NNCF_CI'))"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("NNCF_CI", "NNCF_DEV")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=True,
    )
    assert done.stdout.split() == ["MagicMock", "None"]
