#!/usr/bin/env bash
# Package:  executorch 1.5.1 with torch 2.13.0 (lowering to XNNPACK, any system)
# Date:     2026-11-30
# Expected: a network whose second linear layer lends its weight to a product, second(first(x)) and x @ second.weight.T,
#           is lowered like the same network with a weight of its own for the product.
# Happens:  the lowering ends in "AssertionError: Invalid partition, found dependency cycles". With a weight of its own,
#           or with XnnpackPartitioner(per_op_mode=True), it is lowered.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --no-cache-dir --no-compile --disable-pip-version-check executorch==1.5.1 torch==2.13.0
"$here/venv/bin/python" - <<'PY' 2>/dev/null
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower


class Scores(torch.nn.Module):
    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 3)
        self.weight = self.second.weight if shared else torch.nn.Parameter(torch.rand(3, 4))

    def forward(self, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.second(self.first(places.mean(1)).relu()), places @ self.weight.t()


def outcome(shared: bool, per_op_mode: bool = False) -> str:
    program = torch.export.export(Scores(shared).eval(), (torch.rand(1, 5, 4),))
    try:
        to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner(per_op_mode=per_op_mode)])
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "lowered"


print("a weight of its own:", own := outcome(False))
print("a weight of both:", both := outcome(True))
print("a weight of both, one operation a part:", single := outcome(True, True))
if own != "lowered" or single != "lowered" or not both.startswith("AssertionError"):
    raise SystemExit("changed")
PY
