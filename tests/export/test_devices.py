"""Graphs on a GPU, with a made-up list of providers and devices: the choice, its proof, and the way back to the CPU."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import labelwise as lw
import tiny_runs
from labelwise.engines import runtimes
from labelwise.errors import LabelwiseError
from labelwise.export import Artefact
from labelwise.export.artefact import seal
from labelwise.export.devices import OnDevice, opened_on
from labelwise.export.opening import open_graph

CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"
REAL = ort.InferenceSession
EXPORT = Path(__file__).parent / "version1"


class Session:
    """A session that says that it runs on the first provider, and answers with a fault of a given size."""

    starts, fault, asked = True, 0.0, list[Any]()

    def __init__(
        self, file: Path, options: Any, providers: list[str], settings: list[dict[str, str]]
    ) -> None:
        type(self).asked = [providers, settings]
        self._session = REAL(file, options, providers=[CPU])
        self._providers = providers if self.starts else [CPU]

    def get_providers(self) -> list[str]:
        return self._providers

    def get_outputs(self) -> list[Any]:
        return self._session.get_outputs()

    def run(self, names: list[str], given: dict[str, np.ndarray]) -> list[np.ndarray]:
        outputs = self._session.run(names, given)
        if self._providers[0] != CPU:
            outputs[0] = outputs[0] + np.float32(self.fault)
        return outputs


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch) -> type[Session]:
    """ONNX Runtime with all providers, which the test can change."""

    class Here(Session):
        pass

    monkeypatch.setattr(ort, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(ort, "InferenceSession", Here)
    return Here


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    tiny_runs.photographs(tmp_path, 3, 0, 0)
    return [str(tmp_path / f"train{i}.jpg") for i in range(3)]


def answers(predictor: lw.Predictor, photos: list[str]) -> list[list[float]]:
    return [[p.scores[name] for name in predictor.labels.names] for p in predictor.predict(photos)]


@pytest.mark.parametrize(
    ("device", "providers_asked", "shown"),
    [
        ("gpu", [CUDA, CPU], "(gpu)"),
        ("cuda", [CUDA, CPU], "(gpu)"),
        ("tensorrt", [TENSORRT, CUDA, CPU], "(tensorrt)"),
    ],
)
def test_a_gpu_is_used_once_it_agrees_with_the_cpu(
    device: str,
    providers_asked: list[str],
    shown: str,
    providers: type[Session],
    photos: list[str],
) -> None:
    lines: list[str] = []
    predictor = lw.load(EXPORT, device)
    predictor.prepare(3, lines.append)
    assert answers(predictor, photos) == answers(lw.load(EXPORT), photos)
    assert predictor.engine.name.endswith(shown)
    (line,) = lines
    assert f"{shown}: the first batch is as on the CPU, probabilities within 0.0e+00" in line
    predictor = lw.load(EXPORT, device)
    predictor.prepare(3, lines.append)
    assert providers.asked == [
        providers_asked,
        [{"use_tf32": "0"} if p == CUDA else {} for p in providers_asked],
    ]


def test_a_gpu_with_other_answers_is_left(providers: type[Session], photos: list[str]) -> None:
    providers.fault = 0.01
    lines: list[str] = []
    predictor = lw.load(EXPORT, "gpu")
    predictor.prepare(3, lines.append)
    assert predictor.engine.name.endswith("(gpu)")
    assert answers(predictor, photos) == answers(lw.load(EXPORT), photos)
    assert predictor.engine.name.endswith("(cpu)")
    (line,) = lines
    assert "(gpu), on whose first batch a probability differs by 0.00" in line
    assert line.endswith("(cpu) answers instead")


def test_a_device_that_cannot_be_used_leaves_the_cpu(
    photos: list[str], monkeypatch: pytest.MonkeyPatch, providers: type[Session]
) -> None:
    def line_of(device: str) -> str:
        lines: list[str] = []
        predictor = lw.load(EXPORT, device)
        predictor.prepare(3, lines.append)
        assert answers(predictor, photos) == answers(lw.load(EXPORT), photos)
        (line,) = lines
        return line

    providers.starts = False
    assert line_of("gpu").startswith(f"ONNX Runtime without {CUDA}; ONNX Runtime ")
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CPU])
    assert line_of("tensorrt").startswith(f"ONNX Runtime without {TENSORRT}; ")
    with pytest.raises(LabelwiseError, match="an export of kind torch on device gpu"):
        opened_on(replace(Artefact.open(EXPORT), kind="torch"), "gpu")
    with pytest.raises(LabelwiseError, match="device 'tpu'; expected cpu, gpu, tensorrt"):
        lw.load(EXPORT, "tpu")


def test_blank_images_prove_nothing(providers: type[Session]) -> None:
    """A server warms up with them."""
    artefact = Artefact.open(EXPORT)
    providers.fault = 0.01
    engine = OnDevice(artefact, "gpu", open_graph(artefact))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 3, *artefact.preprocessing.input_size), dtype=np.uint8)
    expected = engine(images * 0)[0]
    assert engine.name.endswith("(gpu)")
    np.testing.assert_array_equal(expected, open_graph(artefact)(images * 0)[0])
    engine(images)
    assert engine.name.endswith("(cpu)")


class Core:
    """OpenVINO with a GPU that is its CPU."""

    def __init__(self, devices: list[str]) -> None:
        self._core, self.available_devices = runtimes.openvino_core()[0], devices
        self.asked = list[tuple[str, dict[str, Any]]]()

    def compile_model(self, graph: str, plugin: str, settings: dict[str, Any]) -> Any:
        self.asked.append((plugin, settings))
        return self._core.compile_model(graph, "CPU", settings)


def test_openvino_uses_a_gpu_that_it_finds(
    tmp_path: Path, photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(EXPORT, tmp_path / "openvino")
    text = (folder / "artefact.json").read_text().replace('"kind": "onnx"', '"kind": "openvino"')
    (folder / "artefact.json").write_text(text)
    seal(folder)
    expected, version = answers(lw.load(folder), photos), runtimes.openvino_core()[1]
    for devices, shown in ((["CPU", "GPU.0", "GPU.1"], "gpu"), (["CPU", "NPU"], "cpu")):
        core, lines = Core(devices), list[str]()
        monkeypatch.setattr(runtimes, "openvino_core", lambda core=core: (core, version))
        predictor = lw.load(folder, "gpu")
        predictor.prepare(3, lines.append)
        assert answers(predictor, photos) == expected
        assert predictor.engine.name == f"OpenVINO {version} ({shown})"
        assert [plugin for plugin, _ in core.asked] == ["CPU", *["GPU"] * (shown == "gpu")]
        assert all(settings["INFERENCE_PRECISION_HINT"] == "f32" for _, settings in core.asked)
        (line,) = lines
        fell_back = line.startswith("OpenVINO without a device GPU; OpenVINO")
        assert fell_back == (shown == "cpu"), line


def test_the_command_says_what_answers(photos: list[str], run_folder: Path) -> None:
    done = tiny_runs.command("predict", EXPORT, *photos, "--device", "tensorrt")
    assert done.code == 0, done.err
    assert "note: ONNX Runtime without TensorrtExecutionProvider; ONNX Runtime" in done.err
    done = tiny_runs.command("predict", run_folder, *photos, "--device", "cpu")
    assert "note: PyTorch on cpu" in done.err
    assert (
        "device 'tensorrt' for a run"
        in tiny_runs.command("predict", run_folder, *photos, "--device", "tensorrt").message
    )
    assert (
        "--device gpu with --engine ray"
        in tiny_runs.command(
            "predict", run_folder, *photos, "--engine", "ray", "--out", "x", "--device", "gpu"
        ).message
    )
