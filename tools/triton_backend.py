"""Triton's backend `onnxruntime` by ONNX Runtime in Python, for a Triton server that has only its Python backend.

The file is BACKENDS/onnxruntime/model.py of `tritonserver --backend-directory BACKENDS`, see triton_server.py. Triton
reads the same repository as with its own backend: configuration, batches and answers are its work, not this file's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as triton


class TritonPythonModel:
    """A model `VERSION/model.onnx` on the CPU, with one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the graph."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        file = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session = ort.InferenceSession(file, options, ["CPUExecutionProvider"])
        config = json.loads(args["model_config"])
        self.input = config["input"][0]["name"]
        self.outputs = [output["name"] for output in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests that Triton put into one batch."""
        images = [triton.get_input_tensor_by_name(request, self.input).as_numpy() for request in requests]
        print(f"batch of {[len(part) for part in images]}", flush=True)
        answers = self.session.run(self.outputs, {self.input: np.concatenate(images)})
        ends = np.cumsum([len(part) for part in images])[:-1]
        parts = [np.split(answer, ends) for answer in answers]
        return [
            triton.InferenceResponse(
                [
                    triton.Tensor(name, np.ascontiguousarray(part[i]))
                    for name, part in zip(self.outputs, parts, strict=True)
                    if name in request.requested_output_names()
                ]
            )
            for i, request in enumerate(requests)
        ]
