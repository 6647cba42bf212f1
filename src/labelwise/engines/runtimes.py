"""Graphs in runtimes that need no PyTorch; see `engine` for what they answer."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.cores import usable_cores
from labelwise.engines.engine import DECIDED as DECIDED
from labelwise.engines.engine import INPUT as INPUT
from labelwise.engines.engine import OUTPUTS as OUTPUTS
from labelwise.engines.engine import Answer as Answer
from labelwise.engines.engine import Deciding as Deciding
from labelwise.engines.engine import Described as Described
from labelwise.engines.engine import Describing as Describing
from labelwise.engines.engine import Engine as Engine
from labelwise.engines.engine import GraphEngine as GraphEngine
from labelwise.engines.engine import Images as Images
from labelwise.engines.engine import as_array as as_array
from labelwise.errors import LabelwiseError

PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "gpu": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
"""ONNX Runtime's providers of a device: the device itself, then those for operators that it lacks."""


class DeviceEngine(GraphEngine):
    """A graph on a device in a precision, with as many threads as torch.

    Args:
        file, has_maps, has_features: see `GraphEngine`.
        precision: `bf16` to use it in OpenVINO if the processor supports it, or fp32; `int8` if the graph's backbone is
            quantised.
        device: `cpu` or `gpu`; `tensorrt` for ONNX Runtime.

    Raises:
        LabelwiseError: the runtime is not installed, or cannot use the device.
    """

    def __init__(
        self,
        file: Path,
        has_maps: bool,
        has_features: bool = False,
        precision: str = "fp32",
        device: str = "cpu",
    ) -> None:
        self._precision, self._device = precision, device
        super().__init__(file, has_maps, has_features)


class OnnxRuntime(DeviceEngine):
    """`model.onnx` in ONNX Runtime."""

    def _open(self, file: Path) -> tuple[str, int]:
        if find_spec("onnxruntime") is None:
            raise LabelwiseError(
                "an ONNX export without the package onnxruntime",
                "that package",
                "run: pip install onnxruntime",
            )
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads(), 1
        options.log_severity_level = 3
        installed = ort.get_available_providers()
        providers = [provider for provider in PROVIDERS[self._device] if provider in installed]
        # Without TF32, which rounds factors to 10 bits.
        settings = [{"use_tf32": "0"} if provider.startswith("CUDA") else {} for provider in providers]
        self._session = ort.InferenceSession(file, options, providers, settings)
        self._names = [output.name for output in self._session.get_outputs()]
        if self._session.get_providers()[0] != PROVIDERS[self._device][0]:
            raise LabelwiseError(
                f"ONNX Runtime without {PROVIDERS[self._device][0]}",
                "a build with it, its libraries and its device",
                "run: pip install onnxruntime-gpu",
            )
        name = _engine_name(f"ONNX Runtime {ort.__version__}", self._precision, self._device)
        return name, len(self._names)

    def _outputs(self, images: Images, count: int) -> Sequence[np.ndarray]:
        # The graph computes all of its outputs; only these are copied.
        return self._session.run(self._names[:count], {INPUT: as_array(images)})


class OpenVINO(DeviceEngine):
    """`model.xml`, with `model.bin` next to it, or `model.onnx` in OpenVINO."""

    def _open(self, file: Path) -> tuple[str, int]:
        self._run, name = compiled(file, self._precision, self._device)
        version, _, in_use = name.partition(", ")
        precision = in_use or ("int8" if self._precision == "int8" else "fp32")
        return _engine_name(version, precision, self._device), len(self._run.outputs)

    def _outputs(self, images: Images, count: int) -> Sequence[np.ndarray]:
        outputs = self._run({INPUT: as_array(images)})
        return [np.array(outputs[index]) for index in range(count)]


RUNTIMES: Mapping[str, Callable[..., Engine]] = {"onnx": OnnxRuntime, "openvino": OpenVINO}
"""Engines by the kind of their graph."""


@cache
def openvino_core() -> tuple[Any, str]:
    """OpenVINO's runtime, one for the whole process, and its version.

    Each runtime replaces the process's signal stack and restores it at its end. Two runtimes would restore each
    other's freed stack, and the next signal would kill the process.

    Raises:
        LabelwiseError: OpenVINO is not installed.
    """
    if find_spec("openvino") is None:
        raise LabelwiseError(
            "OpenVINO, which is not installed",
            "the package openvino",
            "run: pip install 'labelwise[openvino]'",
        )
    import openvino as ov

    return ov.Core(), ov.__version__.split("-")[0]


def compiled(graph: Path, precision: str = "fp32", device: str = "cpu") -> tuple[Any, str]:
    """A graph compiled by OpenVINO with torch's number of threads, and the engine's name.

    Args:
        graph: an `.xml` or `.onnx` file.
        precision: `bf16` to compute in it if the processor can; the name then says so. For `fp32` a hint is needed,
            since OpenVINO would otherwise use bf16 wherever it can and differ from PyTorch.
        device: `cpu` or `gpu`.

    Raises:
        LabelwiseError: OpenVINO is not installed, or finds no such device.
    """
    core, version = openvino_core()
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    plugin = device.upper()
    if plugin == "CPU":
        settings["INFERENCE_NUM_THREADS"] = threads()
    elif not any(name.split(".")[0] == plugin for name in core.available_devices):
        raise LabelwiseError(
            f"OpenVINO without a device {plugin}",
            f"one of {', '.join(core.available_devices)}",
            "name another",
        )
    model = core.compile_model(str(graph), plugin, settings)
    in_bf16 = model.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "bf16"
    return model, f"OpenVINO {version}{', bf16' if in_bf16 else ''}"


def threads() -> int:
    """The number of threads that torch uses, or would use if it were loaded."""
    if torch := sys.modules.get("torch"):
        return int(torch.get_num_threads())
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return int(limit) if limit.isdecimal() and int(limit) else usable_cores()


def _engine_name(runtime: str, precision: str, device: str = "cpu") -> str:
    return f"{runtime} ({device})" if precision == "fp32" else f"{runtime} ({device}, {precision})"
