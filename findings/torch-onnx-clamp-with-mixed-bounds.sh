#!/usr/bin/env bash
# Package:  torch 2.14.1 with onnxscript 0.7.2 (torch.onnx.export, CPU, any system)
# Date:     2026-11-30
# Expected: x.clamp(0, 0.1) of floating point numbers is exported to ONNX, as x.clamp(0.0, 0.1) is.
# Happens:  with one whole and one fractional bound the export ends in a ConversionError, "Failed to decompose the FX
#           graph for ONNX compatibility". Two whole bounds, two fractional ones, and one bound alone are exported.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --no-cache-dir --no-compile --disable-pip-version-check torch==2.14.1 onnxscript==0.7.2
"$here/venv/bin/python" - <<'PY' 2>/dev/null
import torch


class Clamp(torch.nn.Module):
    def __init__(self, low: float | None, high: float | None) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(self.low, self.high)


def outcome(low: float | None, high: float | None) -> str:
    try:
        torch.onnx.export(Clamp(low, high), (torch.rand(3),), dynamo=True, verbose=False)
    except torch.onnx.OnnxExporterError as error:
        return type(error).__name__
    return "exported"


BOUNDS = ((0, 0.1), (0.0, 1), (0.0, 0.1), (0, 1), (0, None))
seen = [outcome(low, high) for low, high in BOUNDS]
for bounds, result in zip(BOUNDS, seen, strict=True):
    print(bounds, result)
if seen != ["ConversionError"] * 2 + ["exported"] * 3:
    raise SystemExit("changed")
PY
