"""python compiled.py: graphs that every method makes while it trains, by epoch, as JSON.

A process of its own, for models are traced through their bytecode, and the type checker of the tests stands in the way.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from labelwise.losses.unknown import Facts, UnknownLoss
from labelwise.methods import create_method
from labelwise.registry import STRATEGIES, list_methods
from labelwise.taught import TeacherBatch
from labelwise.terms.teacher import TeacherTerm
from labelwise.types import Batch, Targets

LABELS, ROWS, EPOCHS = tuple("abcde"), 8, 3


class Patches(nn.Module):
    """The least backbone: one convolution."""

    out_channels, stride = 12, 16

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Conv2d(3, self.out_channels, self.stride, self.stride)

    def forward(self, images: Tensor) -> Tensor:
        """The map of uint8 images."""
        return self.net(images.float() / 255)


def graphs(name: str, terms: dict[str, dict[str, float]], strategy: str, teacher: int = 0) -> list[int]:
    """Graphs made in each epoch; a teacher has label features of the given width."""
    torch._dynamo.reset()
    counter = CompileCounter()
    method = create_method(name, LABELS, Patches(), terms=terms).train()
    if strategy:
        method.unknown = UnknownLoss(method.criterion, STRATEGIES[strategy](Facts(ROWS, len(LABELS))))
    if teacher:
        method.terms["teacher"] = TeacherTerm(int(method.model.extractor.dim), teacher)  # type: ignore[arg-type]
    method.compile_parts(backend=counter)
    draw = torch.Generator().manual_seed(0)
    counts = []
    for epoch in range(EPOCHS):
        before = counter.frame_count
        method.clock = epoch, EPOCHS
        if method.unknown is not None:
            method.unknown.start_epoch(*method.clock)
        for index in torch.randperm(ROWS, generator=draw).split(4):
            images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=draw)
            values = torch.rand(4, len(LABELS), generator=draw).round()
            known = torch.rand(4, len(LABELS), generator=draw) < 0.7
            batch = Batch(images, Targets(values, known), index)
            if teacher:
                features = torch.rand(4, len(LABELS), teacher, generator=draw)
                seen = torch.rand(4, generator=draw) < 0.9
                batch.taught = TeacherBatch(values - 0.5, features, values * seen[:, None], seen)
            method(batch)["loss"].backward()
        counts.append(counter.frame_count - before)
    return counts


if __name__ == "__main__":
    term = {"discriminative": {"weight": 0.1}}
    ways = {"plain": ({}, ""), "term": (term, ""), "strategy": (term, "ll-r")}
    chosen: dict[str, dict[str, Any]] = {
        "dlfl": {**ways, "taught": ({}, "", 20)},
        "ssgrl": ways,
    }  # every way for two, the fullest for all
    print(
        json.dumps(
            {
                f"{name}, {way}": graphs(name, *options)
                for name in list_methods()
                for way, options in chosen.get(name, {"strategy": ways["strategy"]}).items()
            }
        )
    )
