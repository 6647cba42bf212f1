#!/usr/bin/env bash
# Package:  coremltools 9.0 with torch 2.13.0 (conversion only, any system)
# Date:     2026-11-30
# Expected: x @ w of x [1, 5, 3] and a vector w [3] is a matrix product in PyTorch and in torch.export, so it converts
#           to an ML program like the same product with w as a column.
# Happens:  the conversion ends in "IndexError: list index out of range", while the product with a column converts.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 coremltools==9.0 'numpy<2.5'
"$here/venv/bin/python" - <<'PY' 2>/dev/null
import coremltools as ct
import torch


class Scores(torch.nn.Module):
    def __init__(self, column: bool) -> None:
        super().__init__()
        self.column, self.weights = column, torch.nn.Parameter(torch.ones(3))

    def forward(self, places: torch.Tensor) -> torch.Tensor:
        return (places @ self.weights[:, None])[..., 0] if self.column else places @ self.weights


def outcome(column: bool) -> str:
    program = torch.export.export(Scores(column).eval(), (torch.rand(1, 5, 3),)).run_decompositions({})
    try:
        ct.convert(program, convert_to="mlprogram", skip_model_load=True)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "converted"


print("product with a column:", with_column := outcome(True))
print("product with a vector:", with_vector := outcome(False))
if with_column != "converted" or not with_vector.startswith("IndexError"):
    raise SystemExit("changed")
PY
