"""What learning task by task computes, by loops in plain Python, each from its equation in docs/continual.md."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from slow_losses import Pair, cross, sigma
from slow_parts import STATES, B, D, L, dot, some, targets
from torch import nn

from labelwise.classifiers import PerLabelClassifier
from labelwise.continual.memories import ClassBalanced
from labelwise.continual.regularisers import ElasticWeights, FormerModel, former_answers
from labelwise.extractors import Pooled
from labelwise.model import LabelModel
from labelwise.runs.continual_settings import ContinualSettings
from labelwise.types import Batch, LabelFeatures, Targets


def former() -> Iterator[Pair]:
    new, old = some(B, L), some(B, 2, seed=1)
    for temperature in (1.0, 2.0):
        terms = [
            cross(new[i, j].item() / temperature, sigma(old[i, j].item() / temperature))
            for i in range(B)
            for j in range(2)
        ]
        yield former_answers(new, old, temperature).item(), temperature**2 * sum(terms) / len(terms)


def features() -> Iterator[Pair]:
    """Of a map whose columns are the labels' features: those of the new model are twice as long and moved by one."""

    class Scaled(nn.Module):
        def __init__(self, factor: float, shift: float) -> None:
            super().__init__()
            self.factor, self.shift = factor, shift

        def forward(self, x: torch.Tensor, want_maps: bool = False) -> LabelFeatures:
            return LabelFeatures(self.factor * x[:, :, 0].mT + self.shift)

    old, new = (
        LabelModel(nn.Identity(), Scaled(*how), PerLabelClassifier(L, D)).double() for how in ((1, 0), (2, 1))
    )
    labels, x = [0, 2], some(B, D, 1, L)
    held = FormerModel(old, labels, "features", ContinualSettings(feature_weight=3.0))
    values = [x[i, d, 0, j].item() for i in range(B) for j in labels for d in range(D)]
    slow = 3.0 * sum((2 * value + 1 - value) ** 2 for value in values) / sum(value**2 for value in values)
    yield held.penalty(new, Batch(x, targets(), torch.arange(B), is_map=True)).item(), slow


def elastic() -> Iterator[Pair]:
    """Of a linear layer over one place: d log p / d w = (y - p) x."""
    classifier = PerLabelClassifier(L, D)
    model = LabelModel(nn.Identity(), Pooled(D, L, normalise="none"), classifier).double()
    x, t = some(B, D, 1, 1), targets()
    images = [
        Batch(x[i : i + 1], Targets(t.values[i : i + 1], t.known[i : i + 1]), torch.tensor([i]), is_map=True)
        for i in range(B)
    ]
    held = ElasticWeights(3.0)
    held.remember(model, images)
    w, b = classifier.weight.tolist(), classifier.bias.tolist()
    total = 0.0
    with torch.no_grad():
        for p in (classifier.weight, classifier.bias):
            p += 0.25
    for j in range(L):
        for d in [*range(D), None]:
            slopes = []
            for i in range(B):
                v = x[i, :, 0, 0].tolist()
                y = STATES[i][j]
                slope = 0.0 if y is None else y - sigma(dot(w[j], v) + b[j])
                slopes.append(slope * (1.0 if d is None else v[d]))
            total += sum(s * s for s in slopes) / B * 0.25**2
    yield held.penalty(model).item(), 3.0 / 2 * total


def balanced() -> Iterator[Pair]:
    """A full memory and rows without its largest label: each takes the place of a row that has it."""
    rng = np.random.default_rng(0)
    memory = ClassBalanced(12, 3, seed=0)
    first = np.zeros((12, 3), bool)
    first[:, 0], first[:4, 1], first[9, 2] = True, True, True
    memory.offer(np.arange(12), first)
    marks = [list(row) for row in first.tolist()]
    held = dict(enumerate(marks))
    for number in range(12, 40):
        counts = [sum(mark[j] for mark in held.values()) for j in range(3)]
        most = counts.index(max(counts))
        mark = [bool(rng.random() < 0.5) for _ in range(3)]
        mark[most] = False
        mark[(most + 1) % 3] = True
        memory.offer(np.array([number]), np.array([mark]))
        gone = set(held) - set(memory.rows.tolist())
        yield float(len(gone)), 1.0
        yield float(all(held[row][most] for row in gone)), 1.0
        held = {row: made for row, made in held.items() if row not in gone} | {number: mark}
        yield float(set(held) == set(memory.rows.tolist())), 1.0
    # One that has it enters with probability m / n, here 6 of 13.
    entered, runs = 0, 8000
    for seed in range(runs):
        memory = ClassBalanced(6, 1, seed)
        memory.offer(np.arange(6), np.ones((6, 1), bool))
        memory.seen[:] = 12
        memory.offer(np.array([6]), np.ones((1, 1), bool))
        entered += int(6 in memory.rows)
    share, spread = entered / runs, math.sqrt(6 / 13 * 7 / 13 / runs)
    yield float(abs(share - 6 / 13) < 4 * spread), 1.0
