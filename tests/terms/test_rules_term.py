"""The rules as a term of the loss: compared with a sum over all sets of labels, in float64."""

from __future__ import annotations

from itertools import product
from math import log

import pytest
import torch
from torch import nn

from labelwise.errors import LabelwiseError
from labelwise.losses import BinaryCrossEntropy, rule_loss
from labelwise.methods import create_method
from labelwise.model import LabelModel
from labelwise.rules import IndexedRules, Rules
from labelwise.terms.rules import RulesTerm
from labelwise.terms.term import HeadSizes, Step
from labelwise.types import Batch, LabelSet, Output, Targets

MODEL = LabelModel(nn.Identity(), nn.Identity(), None)
RULES = IndexedRules(5, ((0, 1), (3, 1)), ((1, 2, 3),), ((0, 2), (2, 3, 4)))


def slow(z: torch.Tensor) -> list[list[float]]:
    """`-log` of the probability of all sets that keep each rule, set by set."""
    rows = []
    for row in z.sigmoid().tolist():
        costs = []
        tests = [lambda y, c=c, p=p: y[p] or not y[c] for c, p in RULES.implies]
        tests += [lambda y, g=g: sum(y[j] for j in g) == 1 for g in RULES.exactly_one]
        tests += [lambda y, g=g: sum(y[j] for j in g) <= 1 for g in RULES.at_most_one]
        for kept in tests:
            total = 0.0
            for y in product((0, 1), repeat=len(row)):
                if kept(y):
                    chance = 1.0
                    for p, one in zip(row, y, strict=True):
                        chance *= p if one else 1 - p
                    total += chance
            costs.append(-log(total))
        rows.append(costs)
    return rows


def cost(z: torch.Tensor) -> torch.Tensor:
    return rule_loss(z, RULES.implies, RULES.exactly_one, RULES.at_most_one)


def step(z: torch.Tensor, known: bool = True) -> Step:
    targets = Targets(torch.zeros_like(z), torch.full(z.shape, known))
    output = Output(z, z[..., None], None, z[..., None])
    return Step(MODEL, targets, output, BinaryCrossEntropy(), torch.arange(len(z)), 0, 1)


def test_each_rule_costs_its_improbability(seeded: torch.Generator) -> None:
    z = 3 * torch.randn(6, 5, generator=seeded, dtype=torch.double)
    torch.testing.assert_close(cost(z), torch.tensor(slow(z), dtype=torch.double))
    term = RulesTerm(HeadSizes(5, 1, 1, rules=RULES), weight=0.5).double()
    torch.testing.assert_close(term(step(z))["rules"], 0.5 * torch.tensor(slow(z), dtype=torch.double).mean())
    assert term(step(z, known=False))["rules"].item() == 0  # a filling teaches nothing


def test_gradients_are_those_of_the_formula(seeded: torch.Generator) -> None:
    z = torch.randn(4, 5, generator=seeded, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(cost, (z,))


def test_extreme_scores_stay_finite_and_pull_the_right_way() -> None:
    z = torch.tensor([[300.0, -300.0, -300.0, -300.0, 300.0]], requires_grad=True)
    costs = cost(z)
    assert torch.isfinite(costs).all()
    assert costs[0, 0].item() == pytest.approx(300 - log(2))  # either label may give way
    costs.sum().backward()
    assert torch.isfinite(z.grad).all()
    assert z.grad[0, 0] > 0 > z.grad[0, 1]
    kept = torch.tensor([[-300.0, 300.0, -300.0, -300.0, -300.0]])
    assert cost(kept).max() < 1e-6


def test_labels_without_rules_are_refused() -> None:
    for rules in (None, IndexedRules(5)):
        with pytest.raises(LabelwiseError, match=r"rules.weight for labels without rules; expected a SOURCE"):
            RulesTerm(HeadSizes(5, 1, 1, rules=rules), weight=1.0)
    with pytest.raises(LabelwiseError, match=r"rules.weight=-1.0; expected a number from 0"):
        RulesTerm(HeadSizes(5, 1, 1, rules=RULES), weight=-1.0)


def test_a_method_takes_it_from_its_label_set() -> None:
    labels = LabelSet(("dog", "animal", "sky"), rules=Rules((("dog", "animal"),)))
    method = create_method(
        "baseline-gap",
        labels,
        "resnet18",
        weights="none",
        image_size=32,
        loss={"name": "bce"},
        terms={"rules": {"weight": 2.0}},
    )
    targets = Targets.of(torch.tensor([[1.0, float("nan"), 0.0]]))
    batch = Batch(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), targets, torch.tensor([0]))
    method.eval()
    with torch.no_grad():
        losses = method.loss(batch)
        z = method.model(batch.images).logits
    torch.testing.assert_close(losses["rules"], 2 * rule_loss(z, [(0, 1)]).sum())
    torch.testing.assert_close(losses["loss"], losses["rules"] + losses["classification"])
