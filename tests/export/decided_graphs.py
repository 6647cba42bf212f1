"""python decided_graphs.py FOLDER: a graph that decides, in each format and runtime, against `Decisions`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from labelwise.decisions import Decisions
from labelwise.export.decide import Decide
from labelwise.export.engines import installed_runtimes
from labelwise.export.graph import FILES, exported_graph, write_graph
from onnx_operators import share_operators

LABELS = 9


class Net(nn.Module):
    """One linear layer, whose logits lie on both sides of the thresholds."""

    def __init__(self, decisions: Decisions) -> None:
        super().__init__()
        self.linear, self.decide = nn.Linear(3 * 8 * 8, LABELS), Decide(decisions)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits, probabilities and selected labels."""
        logits = 20 * self.linear(images.flatten(1).float() / 64 - 2)
        return (logits, *self.decide(logits))


def main(folder: Path) -> None:
    """Prints a line for each runtime; fails where one decides otherwise."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    share_operators()
    rng = np.random.default_rng(0)
    scale, bias = np.exp(rng.normal(size=LABELS)), rng.normal(size=LABELS)
    groups = {"exclusive": ((0, 3, 4), (1, 2)), "exactly_one": ((5, 7),)}
    decisions = Decisions(rng.random(LABELS), scale, bias, **groups, never=(5,))
    example = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    exported = exported_graph(Net(decisions).eval(), example, "images")
    for kind in FILES:
        write_graph(exported, kind, folder)
        for package, opened in installed_runtimes(kind, folder / FILES[kind], False):
            engine = opened()
            assert engine.has_decisions
            counts = np.zeros(LABELS)
            for size in (1, 2, 3, 8, 200):
                images = torch.randint(0, 256, (size, 3, 8, 8), dtype=torch.uint8)
                logits, p, selected = engine.decide(images)
                expected = decisions.probabilities(logits)
                assert np.abs(p - expected).max() < 1e-6
                assert selected.dtype == bool
                assert (selected == decisions.select(expected)).all(), (kind, package, size)
                np.testing.assert_array_equal(logits, engine(images)[0])
                counts += selected.sum(0)
            assert (counts[[1, 2, 3, 6, 8]] > 0).all()
            assert counts[0] + counts[3] + counts[4] <= 214
            print(f"{kind} {package}: {counts.astype(int).tolist()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
