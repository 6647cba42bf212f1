"""Terms of the loss, sums of branches and what a model is held to, by loops, each from its equation."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from slow_losses import Pair, cross, sigma
from slow_parts import STATES, B, D, L, cosine, dot, some, step_of, targets
from torch import Tensor, nn

from labelwise.composition.method import Method
from labelwise.losses import BinaryCrossEntropy
from labelwise.methods import create_method
from labelwise.model import LabelModel
from labelwise.terms.blending import BlendingTerm
from labelwise.terms.discriminative import DiscriminativeTerm
from labelwise.terms.pairs import PairHead
from labelwise.terms.pseudo import PseudoTerm, _balanced_bce, _memory_contrast
from labelwise.terms.term import HeadSizes
from labelwise.types import Batch, LabelFeatures


class _Answers(nn.Module):
    """An extractor that returns given features and logits."""

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
    logits = model(torch.zeros(B, 1, 1, 1)).logits
    for i in range(B):
        for j in range(L):
            scored = dot(classifier.w[j].tolist(), f[i, j].tolist()) + classifier.b[j].item()
            yield logits[i, j].item(), (1 - share) * scored + share * own[i, j].item()


def _built(name: str) -> Method:
    return create_method(name, "abc", "test_resnet", weights="none", image_size=64)


def half_own() -> Iterator[Pair]:
    yield from _own_share(0.5)
    yield from ((float(_built(name).model.own_share), 0.5) for name in ("add-gcn", "class-features"))


def three_tenths_own() -> Iterator[Pair]:
    yield from _own_share(0.3)
    yield float(_built("tdrg").model.own_share), 0.3


def _branches(weight: float) -> Iterator[Pair]:
    z, branches = some(B, L), {"whole": some(B, L, seed=1), "regions": some(B, L, seed=2)}
    answer = LabelFeatures(some(B, L, D), None, z, (), branches)
    method = Method(
        LabelModel(nn.Identity(), _Answers(answer), None), BinaryCrossEntropy(), branch_weight=weight
    )
    loss = method.loss(Batch(torch.zeros(B, 3, 1, 1, dtype=torch.uint8), targets(), torch.arange(B)))["loss"]

    def mean(logits: Tensor) -> float:
        known = [(i, j) for i in range(B) for j in range(L) if STATES[i][j] is not None]
        return sum(cross(logits[i, j].item(), float(STATES[i][j] or 0)) for i, j in known) / len(known)

    yield loss.item(), mean(z) + weight * mean(branches["whole"]) + weight * mean(branches["regions"])


def half_branches() -> Iterator[Pair]:
    yield from _branches(0.5)
    yield float(_built("mcar").branch_weight), 0.5


def whole_branches() -> Iterator[Pair]:
    yield from _branches(1.0)
    yield float(_built("tdrg").branch_weight), 1.0


def halves() -> Iterator[Pair]:
    """Whatever a variant makes of features, the term is their weighted sum."""
    f = some(B, L, D)
    step = step_of(f)
    for variant, balance in (("pairwise", 0.4), ("opl", 0.4), ("supcon", 1.0)):
        term = DiscriminativeTerm(HeadSizes(L, D, D), 0.2, variant, gamma=0.4)
        intra, inter = term.loss(f, step.targets)
        yield sum(term(step).values()).item(), 0.2 * (intra.item() + balance * inter.item())  # type: ignore[union-attr]


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
        step = step_of(f, epoch, 20)
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
    yield _balanced_bce(z, t.known, present).item(), sum(terms) / len(terms)


def memory_contrast() -> Iterator[Pair]:
    c, t = some(B, L).tanh(), targets()
    known = [(i, j) for i in range(B) for j in range(L) if STATES[i][j] is not None]
    terms = [1 - c[i, j].item() if STATES[i][j] else 1 + c[i, j].item() for i, j in known]
    yield _memory_contrast(c, t.known, t.known & (t.values == 1)).item(), sum(terms) / len(terms)


def pair_logits() -> Iterator[Pair]:
    head, f = PairHead(L, D, width=2).double(), some(B, L, D)
    logits = head(f)

    def layer(linear: nn.Linear, v: list[float]) -> list[float]:
        bias = [0.0] * linear.out_features if linear.bias is None else linear.bias.tolist()
        return [dot(row, v) + b for row, b in zip(linear.weight.tolist(), bias, strict=True)]

    for i in range(B):
        for number, (j, k) in enumerate([(0, 1), (0, 2), (1, 2)]):
            both = layer(head.enter, f[i, j].tolist()) + layer(head.enter, f[i, k].tolist())
            hidden = layer(head.second, [max(v, 0.0) for v in layer(head.first, both)])
            yield (
                logits[i, number].item(),
                dot(head.weight[number].tolist(), hidden) + head.bias[number].item(),
            )


def memory_scores() -> Iterator[Pair]:
    """The mean of cosines is read off the memory contrast, which is linear in it."""
    f, held, t = some(B, L, D), some(6, L, D, seed=1), targets()
    for memory in ("queue", "prototypes"):
        term = PseudoTerm(
            HeadSizes(L, D, D),
            1.0,
            intra=0.0,
            cooccurrence=0.0,
            memory=memory,
            memory_contrast=1.0,
            size=6,
            centres=6,
        ).double()
        term.eval()
        if memory == "queue":
            term.memory.put(nn.functional.normalize(held, dim=2), torch.ones(6, L, dtype=torch.bool))  # type: ignore[union-attr, operator]
        else:
            term.memory.prototypes.copy_(held.transpose(0, 1))  # type: ignore[union-attr, operator]
            term.memory.counts.fill_(1)  # type: ignore[union-attr, operator]
        step = step_of(f)
        step.criterion = BinaryCrossEntropy()
        terms = []
        for i in range(B):
            for j in range(L):
                if STATES[i][j] is not None:
                    s = sum(cosine(f[i, j].tolist(), held[k, j].tolist()) for k in range(6)) / 6
                    terms.append(1 - s if STATES[i][j] else 1 + s)
        assert bool(t.known.any())
        yield term(step)["memory_contrast"].item(), sum(terms) / len(terms)


def blended_losses() -> Iterator[Pair]:
    """One centre per label, so that the label alone decides the prototype."""
    f, p, classifier = some(B, L, D), some(L, 1, D, seed=1), _Scores()
    term = BlendingTerm(
        HeadSizes(L, D, D), 1.0, 0.5, 2.0, 0.25, 0.75, prototypes="kmeans", centres=1
    ).double()
    assert term.bank is not None
    term.bank.prototypes.copy_(p)
    term.bank.counts.fill_(1)
    term.bank.epoch.fill_(0)
    step = step_of(f)
    step.model, step.criterion = LabelModel(nn.Identity(), nn.Identity(), classifier), BinaryCrossEntropy()

    def score(i: int, j: int, other: list[float], own: float) -> float:
        mixed = [own * a + (1 - own) * b for a, b in zip(f[i, j].tolist(), other, strict=True)]
        return dot(classifier.w[j].tolist(), mixed) + classifier.b[j].item()

    places, instance = [(i, j) for i in range(B) for j in range(L)], []
    for i, j in places:
        m, y = B - 1 - i, STATES[i][j]
        if y is not None:
            instance.append(cross(score(i, j, f[i, j].tolist(), 1), float(y)))
        elif STATES[m][j] == 1:
            instance.append(cross(score(i, j, f[m, j].tolist(), 0.25), 0.75))
    torch.manual_seed(3)
    losses = term(step)
    yield losses["blend_instance"].item(), 0.5 * sum(instance) / len(instance)
    torch.manual_seed(3)
    chance = torch.rand(B, L)
    cells = [
        cross(score(i, j, f[i, j].tolist(), 1), float(STATES[i][j]))
        for i, j in places
        if STATES[i][j] is not None
    ]
    for i in range(B):
        open_ = [j for j in range(L) if STATES[i][j] is None]
        j = max(open_, key=lambda j, i=i: chance[i, j].item())  # type: ignore[misc]
        cells.append(cross(score(i, j, p[j, 0].tolist(), 0.75), 0.25))
    yield losses["blend_prototype"].item(), 2.0 * sum(cells) / len(cells)
