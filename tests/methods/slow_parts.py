"""Parts of methods by loops in plain Python, each from its equation on the method's page."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from slow_losses import Pair, cross, doubles, sigma
from torch import Tensor, nn

from labelwise.blending import PrototypeBank, blend_instances, blend_prototypes
from labelwise.continual.regularisers import former_answers
from labelwise.losses import BinaryCrossEntropy
from labelwise.losses.contrast import pair_contrast
from labelwise.methods.contrast_term import ContrastTerm
from labelwise.methods.discriminative_term import DiscriminativeTerm
from labelwise.methods.method import HeadSizes, Method, Step
from labelwise.methods.pairs import PairHead
from labelwise.methods.pseudo_term import PseudoTerm, _even, _near
from labelwise.model import LabelModel
from labelwise.relations.cooccurrence import conditional, ml_gcn_adjacency
from labelwise.types import Batch, LabelFeatures, LabelPriors, Output, Targets

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


def cells(found: Tensor, expected: list) -> Iterator[Pair]:
    """Number by number."""
    yield from zip(
        found.flatten().tolist(), torch.tensor(expected, dtype=torch.float64).flatten().tolist(), strict=True
    )


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
    """One prototype a label, so that only the label is drawn: exactly one unknown cell of an image changes."""
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
    step = Step(
        LabelModel(nn.Identity(), nn.Identity(), None),
        t,
        Output(f[..., 0], f, None, f),
        nn.Identity(),
        torch.arange(B),
        0,
        1,
    )
    for number in range(5):
        weight = 0.05 * min(1, (number + 1) / 3)
        yield term(step)["contrast"].item(), weight * pair_contrast(f, t).item()


contrast_weight.close = 1e-7  # type: ignore[attr-defined]


class _Answers(nn.Module):
    """An extractor that gives what it was told."""

    def __init__(self, answer: LabelFeatures) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor, want_maps: bool = False) -> LabelFeatures:
        return self.answer


class _Scores(nn.Module):
    """`<w_l, f_l> + b_l` of given numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.b = some(L, D, seed=7), some(L, seed=8)

    def forward(self, features: Tensor) -> Tensor:
        return (features * self.w).sum(2) + self.b


def _own_share(share: float) -> Iterator[Pair]:
    f, own = some(B, L, D), some(B, L, seed=3)
    classifier = _Scores()
    model = LabelModel(nn.Identity(), _Answers(LabelFeatures(f, None, own)), classifier, own_share=share)
    found = model(torch.zeros(B, 1, 1, 1)).logits
    for i in range(B):
        for j in range(L):
            scored = dot(classifier.w[j].tolist(), f[i, j].tolist()) + classifier.b[j].item()
            yield found[i, j].item(), (1 - share) * scored + share * own[i, j].item()


def half_own() -> Iterator[Pair]:
    yield from _own_share(0.5)


def three_tenths_own() -> Iterator[Pair]:
    yield from _own_share(0.3)


def _branches(weight: float) -> Iterator[Pair]:
    z, branches = some(B, L), {"whole": some(B, L, seed=1), "regions": some(B, L, seed=2)}
    answer = LabelFeatures(some(B, L, D), None, z, (), branches)
    method = Method(
        LabelModel(nn.Identity(), _Answers(answer), None), BinaryCrossEntropy(), branch_weight=weight
    )
    found = method.loss(Batch(torch.zeros(B, 3, 1, 1, dtype=torch.uint8), targets(), torch.arange(B)))["loss"]

    def mean(logits: Tensor) -> float:
        told = [(i, j) for i in range(B) for j in range(L) if STATES[i][j] is not None]
        return sum(cross(logits[i, j].item(), float(STATES[i][j] or 0)) for i, j in told) / len(told)

    yield found.item(), mean(z) + weight * mean(branches["whole"]) + weight * mean(branches["regions"])


def half_branches() -> Iterator[Pair]:
    yield from _branches(0.5)


def whole_branches() -> Iterator[Pair]:
    yield from _branches(1.0)


def halves() -> Iterator[Pair]:
    """Whatever a variant makes of features, the term is their weighted sum."""
    f = some(B, L, D)
    model = LabelModel(nn.Identity(), nn.Identity(), None)
    step = Step(model, targets(), Output(f[..., 0], f, None, f), nn.Identity(), torch.arange(B), 0, 1)
    for variant, balance in (("pairwise", 0.4), ("opl", 0.4), ("supcon", 1.0)):
        term = DiscriminativeTerm(HeadSizes(L, D, D), 0.2, variant, gamma=0.4)
        intra, inter = term.loss(f, step.targets)
        yield sum(term(step).values()).item(), 0.2 * (intra.item() + balance * inter.item())  # type: ignore[union-attr]


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
        found = ml_gcn_adjacency(doubles(m), 0.4, 0.25, inclusive)
        edge = [
            [float(i != j and (m[i][j] > 0.4 or (inclusive and m[i][j] == 0.4))) for j in range(4)]
            for i in range(4)
        ]
        columns = [sum(edge[i][j] for i in range(4)) for j in range(4)]
        a = [[float(i == j) + 0.25 * edge[i][j] / (columns[j] + 1e-6) for j in range(4)] for i in range(4)]
        degree = [sum(row) for row in a]
        for i in range(4):
            for j in range(4):
                yield found[i, j].item(), a[j][i] / math.sqrt(degree[i] * degree[j])


def pair_scores() -> Iterator[Pair]:
    head, z = PairHead(L, D), some(B, 3)
    present = torch.tensor([[y == 1 for y in row] for row in STATES])
    score, scored = head.score(z, present)
    order = {(0, 1): 0, (0, 2): 1, (1, 2): 2}
    for i in range(B):
        for j in range(L):
            others = [k for k in range(L) if k != j and STATES[i][k] == 1]
            yield float(scored[i, j]), float(bool(others))
            if others:
                p = [sigma(z[i, order[min(j, k), max(j, k)]].item()) for k in others]
                yield score[i, j].item(), sum(p) / len(p)


def pair_loss() -> Iterator[Pair]:
    head, z = PairHead(L, D), some(B, 3)
    present = torch.tensor([[y == 1 for y in row] for row in STATES])
    terms = []
    for i in range(B):
        for number, (j, k) in enumerate([(0, 1), (0, 2), (1, 2)]):
            p = sigma(z[i, number].item())
            both = STATES[i][j] == 1 and STATES[i][k] == 1
            low = max(p - 0.05, 0)
            terms.append(-(1 - p) * math.log(p) if both else -(low**2) * math.log(1 - low))
    yield head.loss(z, present).item(), sum(terms) / len(terms)


def margins() -> Iterator[Pair]:
    term = PseudoTerm(HeadSizes(L, D, D), 1.0, margin=0.95, fall=0.025, floor=0.75, start=0.25)
    f = some(B, L, D)
    for epoch in range(5, 20):
        step = Step(
            MODEL, targets(), Output(f[..., 0], f, None, f), nn.Identity(), torch.arange(B), epoch, 20
        )
        yield float(term._margin("inter", step)), max(0.75, 0.95 - 0.025 * (epoch - 5))


def thresholds() -> Iterator[Pair]:
    """Labels of which an image is known to be present and one to be absent: here each."""
    z, t = some(B, L), targets()
    present = t.known & (t.values == 1)
    terms = []
    for j in range(L):
        sides = [[z[i, j].item() for i in range(B) if STATES[i][j] == side] for side in (1, 0)]
        if all(sides):
            terms += [
                sum(cross(v, float(side)) for v in vs) / len(vs)
                for side, vs in zip((1, 0), sides, strict=True)
            ]
    yield _even(z, t.known, present).item(), sum(terms) / len(terms)


def memory_contrast() -> Iterator[Pair]:
    c, t = some(B, L).tanh(), targets()
    told = [(i, j) for i in range(B) for j in range(L) if STATES[i][j] is not None]
    terms = [1 - c[i, j].item() if STATES[i][j] else 1 + c[i, j].item() for i, j in told]
    yield _near(c, t.known, t.known & (t.values == 1)).item(), sum(terms) / len(terms)


def former() -> Iterator[Pair]:
    new, old = some(B, L), some(B, 2, seed=1)
    for temperature in (1.0, 2.0):
        terms = [
            cross(new[i, j].item() / temperature, sigma(old[i, j].item() / temperature))
            for i in range(B)
            for j in range(2)
        ]
        yield former_answers(new, old, temperature).item(), temperature**2 * sum(terms) / len(terms)
