"""Losses of known cells by loops in plain Python, each from its equation in docs/losses.md."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from labelwise.losses import TwoWayLoss
from labelwise.losses import functional as F
from labelwise.types import Targets

Pair = tuple[float, float]
LOGITS = [[-2.3, -0.4, 0.0, 1.7], [3.1, 0.2, -1.1, -4.0], [0.9, -0.7, 2.2, -0.1]]
STATES = [[0.0, 1.0, 0.25, 1.0], [1.0, 0.0, 0.0, 0.5], [0.0, 0.0, 1.0, 1.0]]
KNOWN = [[True, True, True, False], [True, False, True, True], [False, True, True, True]]
RATES = [0.1, 0.35, 0.02, 0.8]


def sigma(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def cross(z: float, y: float) -> float:
    """`-y log p - (1 - y) log(1 - p)`."""
    return -y * math.log(sigma(z)) - (1 - y) * math.log(1 - sigma(z))


def doubles(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def places() -> Iterator[tuple[int, int]]:
    yield from ((i, j) for i in range(len(LOGITS)) for j in range(len(LOGITS[0])))


def bce() -> Iterator[Pair]:
    cells = F.binary_cross_entropy(doubles(LOGITS), doubles(STATES))
    for i, j in places():
        yield cells[i, j].item(), cross(LOGITS[i][j], STATES[i][j])


def weighted_bce() -> Iterator[Pair]:
    cells = F.weighted_binary_cross_entropy(doubles(LOGITS), doubles(STATES), doubles([RATES])[0])
    for i, j in places():
        y, r = STATES[i][j], RATES[j]
        weight = y * math.exp(1 - r) + (1 - y) * math.exp(r)
        yield cells[i, j].item(), weight * cross(LOGITS[i][j], y)


def focal() -> Iterator[Pair]:
    for a, gamma in ((0.25, 2.0), (0.7, 0.5)):
        cells = F.focal(doubles(LOGITS), doubles(STATES), gamma, a)
        for i, j in places():
            z, y = LOGITS[i][j], STATES[i][j]
            miss = y * (1 - sigma(z)) + (1 - y) * sigma(z)
            yield cells[i, j].item(), (a * y + (1 - a) * (1 - y)) * miss**gamma * cross(z, y)


def asl() -> Iterator[Pair]:
    for low, high, m in ((2.0, 0.0, 0.0), (4.0, 1.0, 0.05), (4.0, 0.0, 0.3)):
        for detach in (True, False):
            cells = F.asymmetric(doubles(LOGITS), doubles(STATES), low, high, m, detach)
            for i, j in places():
                p, y = sigma(LOGITS[i][j]), STATES[i][j]
                p_m = max(p - m, 0)
                positive = -y * (1 - p) ** high * math.log(p)
                yield cells[i, j].item(), positive - (1 - y) * p_m**low * math.log(1 - p_m)


def two_way() -> Iterator[Pair]:
    t_p, t_n = 4.0, 1.0
    states = [[round(y) for y in row] for row in STATES]
    value = TwoWayLoss(t_p, t_n)(doubles(LOGITS), Targets(doubles(states), torch.tensor(KNOWN)))
    total = 0.0
    rows = [[(i, j) for j in range(4)] for i in range(3)]
    for lines in (rows, [[(i, j) for i in range(3)] for j in range(4)]):
        terms = []
        for line in lines:
            known = [(LOGITS[i][j], states[i][j]) for i, j in line if KNOWN[i][j]]
            present, absent = ([z for z, y in known if y == side] for side in (1, 0))
            if present:
                below = t_n * math.log(sum(math.exp(z / t_n) for z in absent)) if absent else -math.inf
                above = t_p * math.log(sum(math.exp(-z / t_p) for z in present))
                terms.append(math.log1p(math.exp(below + above)))
        total += sum(terms) / len(terms)
    yield value.item(), total


def reductions() -> Iterator[Pair]:
    cells, known = doubles(LOGITS), torch.tensor(KNOWN)
    known_values = [LOGITS[i][j] for i, j in places() if KNOWN[i][j]]
    yield F.reduce(cells, known, "mean_known").item(), sum(known_values) / len(known_values)
    yield F.reduce(cells, known, "label_sum").item(), sum(known_values) / len(LOGITS)
    yield F.reduce(cells, known, "sum").item(), sum(known_values)
    yield F.reduce(cells, known & False, "mean_known").item(), 0.0
