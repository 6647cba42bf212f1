"""Parts of methods by loops in plain Python, each from its equation on the method's page."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from slow_losses import Pair, doubles
from torch import Tensor, nn

from labelwise.blending import PrototypeBank, blend_instances, blend_prototypes
from labelwise.extractors import Pooled
from labelwise.losses.contrast import pair_contrast
from labelwise.model import LabelModel
from labelwise.relations.cooccurrence import conditional, ml_gcn_adjacency
from labelwise.terms.contrast import ContrastTerm
from labelwise.terms.term import HeadSizes, Step
from labelwise.types import LabelPriors, Output, Targets

B, L, D = 5, 3, 4
MODEL = LabelModel(nn.Identity(), nn.Identity(), None)
# 1 known present, 0 known absent, None unknown.
STATES = [[1, None, 0], [None, 1, None], [1, 0, None], [0, None, 1], [None, 1, 1]]


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def targets() -> Targets:
    return Targets(
        doubles([[float(y or 0) for y in row] for row in STATES]),
        torch.tensor([[y is not None for y in row] for row in STATES]),
    )


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: list[float], b: list[float]) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def cells(actual: Tensor, expected: list) -> Iterator[Pair]:
    """Number by number."""
    yield from zip(
        actual.flatten().tolist(), torch.tensor(expected, dtype=torch.float64).flatten().tolist(), strict=True
    )


def step_of(features: Tensor, epoch: int = 0, epochs: int = 1) -> Step:
    """A step of these features, with the logits that their first numbers are."""
    output = Output(features[..., 0], features, None, features)
    return Step(MODEL, targets(), output, nn.Identity(), torch.arange(B), epoch, epochs)


def instances() -> Iterator[Pair]:
    f, alpha = some(B, L, D), 0.3
    rows, t = blend_instances(f, targets(), torch.tensor(alpha, dtype=torch.float64))
    for i in range(B):
        for j in range(L):
            m = B - 1 - i
            own, other = f[i, j].tolist(), f[m, j].tolist()
            filled = STATES[i][j] is None and STATES[m][j] == 1
            mixed = [alpha * a + (1 - alpha) * b for a, b in zip(own, other, strict=True)] if filled else own
            yield from cells(rows[i, j], mixed)
            yield float(t.known[i, j]), float(filled or STATES[i][j] is not None)
            if t.known[i, j]:
                yield t.values[i, j].item(), 1 - alpha if filled else float(STATES[i][j] or 0)


def prototypes() -> Iterator[Pair]:
    """One prototype per label, so that only the label is random: exactly one unknown cell of an image changes."""
    f, p, beta = some(B, L, D), some(L, 1, D, seed=1), 0.3
    torch.manual_seed(0)
    rows, t = blend_prototypes(f, targets(), p, torch.ones(L, 1), torch.tensor(beta, dtype=torch.float64))
    for i in range(B):
        filled = [j for j in range(L) if t.known[i, j] and STATES[i][j] is None]
        yield float(len(filled)), 1.0
        for j in range(L):
            own, made = f[i, j].tolist(), p[j, 0].tolist()
            mixed = [beta * a + (1 - beta) * b for a, b in zip(own, made, strict=True)]
            yield from cells(rows[i, j], mixed if j in filled else own)
        yield t.values[i, filled[0]].item(), 1 - beta


def quarters() -> Iterator[Pair]:
    h, w = 4, 6
    f, maps, mass = some(B, L, D), some(B, L, h, w, seed=1).exp(), some(B, h, w, seed=2).exp()
    bank = PrototypeBank(L, D).double()
    bank.refresh(0, [(targets(), Output(f[..., 0], f, maps, f, {}, mass))])
    held: dict[tuple[int, int], list[list[float]]] = {}
    for i in range(B):
        for j in range(L):
            if STATES[i][j] == 1:
                at = max(
                    ((y, x) for y in range(h) for x in range(w)),
                    key=lambda at, i=i, j=j: (maps[i, j, at[0], at[1]] * mass[i, at[0], at[1]]).item(),  # type: ignore[misc]
                )
                quarter = 2 * (at[0] >= h // 2) + (at[1] >= w // 2)
                held.setdefault((j, quarter), []).append(f[i, j].tolist())
    for j in range(L):
        every = [row for (label, _), rows in held.items() if label == j for row in rows]
        for q in range(4):
            rows = held.get((j, q), every)  # an empty quarter takes the label's mean
            yield from cells(bank.prototypes[j, q], [sum(c) / len(rows) for c in zip(*rows, strict=True)])


def contrast() -> Iterator[Pair]:
    """All present, so that the first list is long and the others are whole; then some of each."""
    f = some(B, L, D)
    total, number = 0.0, 0
    for j in range(L):
        for a in range(B):
            for b in range(a + 1, B):
                pair = {STATES[a][j], STATES[b][j]}
                if None not in pair:
                    c = cosine(f[a, j].tolist(), f[b, j].tolist())
                    total += 1 - c if pair == {1} else 1 + c
                    number += 1
    yield pair_contrast(f, targets()).item(), total / number


def contrast_weight() -> Iterator[Pair]:
    f, t = some(B, L, D), targets()
    term = ContrastTerm(HeadSizes(L, D, D), 0.05, rise=3).train()
    step = step_of(f)
    for number in range(5):
        weight = 0.05 * min(1, (number + 1) / 3)
        yield term(step)["contrast"].item(), weight * pair_contrast(f, t).item()


contrast_weight.close = 1e-7  # type: ignore[attr-defined]


def known_conditional() -> Iterator[Pair]:
    """Counts are fp32, and whole numbers."""
    states = [[1, None, 0], [1, 1, None], [None, 1, 1], [0, 1, 0], [1, 0, 1], [1, 1, 1]]
    table = torch.tensor([[math.nan if y is None else float(y) for y in row] for row in states])
    for kappa in (0.0, 10.0):
        m = conditional(LabelPriors.count(Targets.of(table)), kappa)
        for i in range(3):
            for j in range(3):
                of_j = [row[j] for row in states if row[j] is not None]
                with_i = [row[j] for row in states if row[i] == 1 and row[j] is not None]
                rate = sum(y or 0 for y in of_j) / len(of_j)
                share = (sum(y or 0 for y in with_i) + kappa * rate) / (len(with_i) + kappa)
                yield m[i, j].item(), 1.0 if i == j else share


known_conditional.close = 1e-6  # type: ignore[attr-defined]


def adjacency() -> Iterator[Pair]:
    m = [[1.0, 0.9, 0.5, 0.1], [0.1, 1.0, 0.6, 0.4], [0.4, 0.0, 1.0, 0.41], [0.7, 0.2, 0.3, 1.0]]
    for inclusive in (False, True):
        adjacent = ml_gcn_adjacency(doubles(m), 0.4, 0.25, inclusive)
        edge = [
            [float(i != j and (m[i][j] > 0.4 or (inclusive and m[i][j] == 0.4))) for j in range(4)]
            for i in range(4)
        ]
        columns = [sum(edge[i][j] for i in range(4)) for j in range(4)]
        a = [[float(i == j) + 0.25 * edge[i][j] / (columns[j] + 1e-6) for j in range(4)] for i in range(4)]
        degree = [sum(row) for row in a]
        for i in range(4):
            for j in range(4):
                yield adjacent[i, j].item(), a[j][i] / math.sqrt(degree[i] * degree[j])


def centres() -> Iterator[Pair]:
    """Each centre is the mean of the cells that it is the nearest to; fewer cells than centres are the centres."""
    spread = doubles([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    cells_of = torch.cat([spread[i] + 0.1 * some(4 + i, 2, seed=i) for i in range(3)])
    number = len(cells_of)
    f = torch.stack([cells_of, some(number, 2, seed=9)], 1)
    present = torch.zeros(number, 2)
    present[:, 0], present[:2, 1] = 1, 1
    bank = PrototypeBank(2, 2, "kmeans", centres=3, samples=number).double()
    bank.refresh(0, [(Targets.of(present), Output(f[..., 0], f, None, f))])
    made = bank.prototypes[0].tolist()
    held: dict[int, list[list[float]]] = {}
    for cell in cells_of.tolist():
        near = min(range(3), key=lambda q: sum((a - b) ** 2 for a, b in zip(cell, made[q], strict=True)))
        held.setdefault(near, []).append(cell)
    for q in range(3):
        yield from cells(bank.prototypes[0, q], [sum(c) / len(held[q]) for c in zip(*held[q], strict=True)])
        yield bank.counts[0, q].item(), float(len(held[q]))
    first = sorted(f[:2, 1].tolist())
    yield from cells(doubles(sorted(bank.prototypes[1, :2].tolist())), first)


def _gelu(v: float) -> float:
    return v * (1 + math.erf(v / math.sqrt(2))) / 2


def pooled() -> Iterator[Pair]:
    x = some(2, D, 2, 3)
    for pool in ("mean", "max"):
        features = Pooled(D, L, pool, normalise="none")(x).features
        for b in range(2):
            for c in range(D):
                places = x[b, c].flatten().tolist()
                expected = max(places) if pool == "max" else sum(places) / len(places)
                yield from ((features[b, j, c].item(), expected) for j in range(L))


def bent() -> Iterator[Pair]:
    x = some(2, D, 2, 3)
    for per_place in (False, True):
        module = Pooled(D, L, "mean", 5, per_place, normalise="none").double().eval()
        layer = module.hidden[0]  # type: ignore[index]
        w, bias = layer.weight.tolist(), layer.bias.tolist()  # type: ignore[union-attr, operator]
        features = module(x).features
        for b in range(2):
            places = [x[b, :, y, c].tolist() for y in range(2) for c in range(3)]
            mean = [sum(v) / len(v) for v in zip(*places, strict=True)]
            for d in range(5):
                values = [_gelu(dot(w[d], v) + bias[d]) for v in (places if per_place else [mean])]
                yield from ((features[b, j, d].item(), sum(values) / len(values)) for j in range(L))
