"""The head of label pairs against the layers that it is short for."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from labelwise.terms.pairs import PairHead


def naive(head: PairHead, features: Tensor) -> Tensor:
    """Layers one after the other, pair by pair."""
    logits = []
    for row in features:
        g = [head.enter(f) for f in row]
        pairs = list(combinations(range(len(g)), 2))
        logits.append(
            torch.stack(
                [
                    head.weight[n] @ head.second(head.first(torch.cat([g[i], g[j]])).relu()) + head.bias[n]
                    for n, (i, j) in enumerate(pairs)
                ]
            )
        )
    return torch.stack(logits)


@pytest.mark.parametrize("chunk", [1, 4, 4096])
def test_it_is_the_layers_one_after_the_other(chunk: int, seeded: torch.Generator) -> None:
    head = PairHead(5, 3, width=4, chunk=chunk).double()
    torch.nn.init.normal_(head.bias)
    features = torch.randn(3, 5, 3, dtype=torch.float64, requires_grad=True)
    of = [features, *head.parameters()]
    expected, actual = naive(head, features), head(features)
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=1e-6)
    up = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad((actual * up).sum(), of),
        torch.autograd.grad((expected * up).sum(), of),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_one_label_makes_no_pair() -> None:
    head = PairHead(1, 3, width=4)
    logits, present = head(torch.rand(2, 1, 3)), torch.ones(2, 1, dtype=torch.bool)
    loss = head.loss(logits, present)
    loss.backward()
    assert loss == 0
    assert all(p.grad is not None for p in head.parameters())
    assert not head.score(logits, present)[1].any()


def test_the_score_is_the_mean_over_the_other_known_labels(seeded: torch.Generator) -> None:
    head, labels = PairHead(5, 3), 5
    logits, present = torch.randn(4, 10), torch.rand(4, labels) < 0.5
    present[0], present[1] = False, torch.tensor([True, False, False, False, False])
    score, scored = head.score(logits, present)
    number = {pair: n for n, pair in enumerate(combinations(range(5), 2))}
    for b in range(4):
        for label in range(labels):
            others = [o for o in range(labels) if present[b, o] and o != label]
            assert scored[b, label] == bool(others)
            if others:
                p = [torch.sigmoid(logits[b, number[min(o, label), max(o, label)]]) for o in others]
                torch.testing.assert_close(score[b, label], torch.stack(p).mean())


def test_the_loss_by_loops_over_pairs(seeded: torch.Generator) -> None:
    head = PairHead(4, 3)
    logits, present = torch.randn(3, 6), torch.tensor([[1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]).bool()
    losses = []
    for b in (0, 2):  # nothing is known to be present in the second image
        for n, (i, j) in enumerate(combinations(range(4), 2)):
            p = 1 / (1 + math.exp(-logits[b, n]))
            if present[b, i] and present[b, j]:
                losses.append(-(1 - p) * math.log(p))
            else:
                shifted = max(p - 0.05, 0.0)
                losses.append(-(shifted**2) * math.log(1 - shifted))
    assert head.loss(logits, present).item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)
