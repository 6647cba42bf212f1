"""Invariants of every loss and every strategy for unknown cells."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from labelwise.losses import AsymmetricLoss, Facts, Moment, UnknownLoss, build_loss
from labelwise.registry import LOSSES, STRATEGIES
from labelwise.types import LabelPriors, Targets

# Whole vectors of the processor, so that equal cells get equal bits wherever they lie: losses select cells by a rank.
ROWS, LABELS = 8, 6
RATE = torch.tensor([0.1, 0.3, 0.5, 0.2, 0.7, 0.4])
SEEN = torch.full((LABELS,), 200.0)
Judge = Callable[[Tensor, Targets, Tensor], Tensor]


def plain(name: str, labels: Tensor, **options: Any) -> torch.nn.Module:
    """A registered loss with counts of these labels."""
    none = torch.zeros(len(labels), len(labels))
    return build_loss(name, priors=LabelPriors(200 * RATE[labels], SEEN[labels], none, none), **options)


PLAIN: dict[str, Callable[[Tensor], torch.nn.Module]] = {
    **{name: partial(plain, name) for name in LOSSES},
    "asl, sum": partial(plain, "asl", reduction="sum"),
}
OPTIONS = {"epr": {"expected": 1.5}, "role": {"expected": 1.5}}
NAMES = [*PLAIN, *(f"unknown: {name}" for name in STRATEGIES)]
every_loss = pytest.mark.parametrize("name", NAMES)

# Exceptions, each with its reason.
NOT_UNDER_REPETITION = {
    "asl, sum": "a sum grows with the images by its meaning",
    "two-way": "its softmax over images counts each copy",
}


def build(name: str, rows: Tensor, labels: Tensor) -> Judge:
    """A loss whose memory and priors belong to these labels, as it is before the third epoch."""
    if name in PLAIN:
        loss = PLAIN[name](labels)
        return lambda z, targets, index: loss(z, targets)
    strategy = name.removeprefix("unknown: ")
    scores = torch.rand(ROWS, LABELS, generator=torch.Generator().manual_seed(5))
    facts = Facts(ROWS, LABELS, RATE[labels], scores[:, labels])
    torch.manual_seed(0)
    whole = UnknownLoss(AsymmetricLoss(), STRATEGIES[strategy](facts, **OPTIONS.get(strategy, {})))
    return lambda z, targets, index: whole(z, targets, Moment(index, 3, 10, stores_state=False))


def judged(name: str, z: Tensor, targets: Targets, rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """A loss and its gradient, under the same draws each time."""
    judge, leaf = build(name, rows, labels), z.clone().requires_grad_()
    torch.manual_seed(1)
    loss = judge(leaf, targets, rows)
    loss.backward()
    assert leaf.grad is not None
    return loss.detach(), leaf.grad


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Targets]:
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    z = 3 * torch.randn(ROWS, LABELS, generator=g)
    known = torch.rand(ROWS, LABELS, generator=g) < draw(st.sampled_from([0.4, 0.9]))
    values = torch.rand(ROWS, LABELS, generator=g).round()
    return z, Targets(values.masked_fill(~known, 0), known)


def ordered(values: int, seed: int) -> Tensor:
    return torch.randperm(values, generator=torch.Generator().manual_seed(seed))


@every_loss
@settings(max_examples=8, deadline=None)
@given(batch=batches(), seed=st.integers(0, 999))
def test_the_order_of_labels_does_not_matter(name: str, batch: tuple[Tensor, Targets], seed: int) -> None:
    z, targets = batch
    rows, order = torch.arange(ROWS), ordered(LABELS, seed)
    loss, gradient = judged(name, z, targets, rows, torch.arange(LABELS))
    turned = Targets(targets.values[:, order], targets.known[:, order])
    found, after = judged(name, z[:, order], turned, rows, order)
    torch.testing.assert_close(found, loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(after, gradient[:, order], rtol=1e-4, atol=1e-6)


@every_loss
@settings(max_examples=8, deadline=None)
@given(batch=batches(), seed=st.integers(0, 999))
def test_the_order_of_images_does_not_matter(name: str, batch: tuple[Tensor, Targets], seed: int) -> None:
    z, targets = batch
    labels, order = torch.arange(LABELS), ordered(ROWS, seed)
    loss, gradient = judged(name, z, targets, torch.arange(ROWS), labels)
    found, after = judged(name, z[order], targets[order], order, labels)
    torch.testing.assert_close(found, loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(after, gradient[order], rtol=1e-4, atol=1e-6)


@every_loss
@settings(max_examples=8, deadline=None)
@given(batch=batches(), filling=st.sampled_from([0.5, 1.0, float("nan"), float("inf")]))
def test_values_of_unknown_cells_have_no_influence(
    name: str, batch: tuple[Tensor, Targets], filling: float
) -> None:
    z, targets = batch
    rows, labels = torch.arange(ROWS), torch.arange(LABELS)
    filled = Targets(targets.values.masked_fill(~targets.known, filling), targets.known)
    for one, other in zip(
        judged(name, z, targets, rows, labels), judged(name, z, filled, rows, labels), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", [n for n in PLAIN if n != "two-way"])
@settings(max_examples=8, deadline=None)
@given(batch=batches())
def test_scores_of_unknown_cells_have_no_influence(name: str, batch: tuple[Tensor, Targets]) -> None:
    z, targets = batch
    rows, labels = torch.arange(ROWS), torch.arange(LABELS)
    loss, gradient = judged(name, z, targets, rows, labels)
    found, after = judged(name, torch.where(targets.known, z, 50 - z), targets, rows, labels)
    assert torch.equal(found, loss)
    assert torch.equal(after, gradient)
    assert not gradient[~targets.known].any()


@pytest.mark.parametrize("name", [n for n in NAMES if n not in NOT_UNDER_REPETITION])
@settings(max_examples=8, deadline=None)
@given(batch=batches())
def test_every_image_twice_gives_the_same_mean(name: str, batch: tuple[Tensor, Targets]) -> None:
    z, targets = batch
    rows, labels, twice = torch.arange(ROWS), torch.arange(LABELS), torch.arange(ROWS).repeat(2)
    loss, gradient = judged(name, z, targets, rows, labels)
    found, after = judged(name, z[twice], targets[twice], twice, labels)
    torch.testing.assert_close(found, loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(after[:ROWS] + after[ROWS:], gradient, rtol=1e-4, atol=1e-6)
