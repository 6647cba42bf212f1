"""Small methods and batches of partly known labels, shared by the tests of terms that fill the unknown."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from labelwise.composition import Method
from labelwise.methods import create_method
from labelwise.types import Batch, Targets

LABELS, CHANNELS = 5, 6


class Identity(nn.Module):
    """A backbone whose images are maps already, with one parameter."""

    out_channels, stride = CHANNELS, 1

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def build(clock: tuple[int, int] = (6, 10), name: str = "dlfl", **terms: dict[str, Any]) -> Method:
    """A method at an epoch of its training, without dropout."""
    torch.manual_seed(0)
    extractor = (
        {"dim": 8, "ffn": 0, "map_dropout": 0.0, "dropout": 0.0, "normalise": "rms"} if name == "dlfl" else {}
    )
    labels = [f"label {i}" for i in range(LABELS)]
    loss = {"name": "bce"}
    method = create_method(name, labels, Identity(), extractor=extractor, loss=loss, terms=terms)
    method.clock = clock
    return method


def a_batch(rows: int = 6, known: float = 0.5, seed: int = 0, positive: float = 0.5) -> Batch:
    """Random maps and labels."""
    g = torch.Generator().manual_seed(seed)
    images = torch.randn(rows, CHANNELS, 3, 4, generator=g)
    values = (torch.rand(rows, LABELS, generator=g) < positive).float()
    told = torch.rand(rows, LABELS, generator=g) < known
    return Batch(images, Targets(values, told), torch.arange(rows))


def begin(method: Method, batches: int = 3) -> Method:
    """The method after the refresh of its epoch."""
    method.start_epoch(lambda: [a_batch(seed=seed) for seed in range(1, 1 + batches)])
    return method


def entropy(logits: Tensor, values: Tensor, known: Tensor) -> float:
    """Mean binary cross-entropy over known cells, by loops over cells."""
    found = []
    cells = (t.detach().flatten().double() for t in (logits, values, known))
    for z, y, k in zip(*cells, strict=True):
        if k:
            p = torch.sigmoid(z)
            found.append(float(-y * p.log() - (1 - y) * (1 - p).log()))
    return sum(found) / max(1, len(found))
