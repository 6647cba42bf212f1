"""What all strategies share: known cells, precision, fillings, refusals, options."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from labelwise.errors import LabelwiseError
from labelwise.losses import (
    AsymmetricLoss,
    BinaryCrossEntropy,
    Facts,
    FocalLoss,
    Moment,
    TwoWayLoss,
    UnknownLoss,
)
from labelwise.registry import STRATEGIES
from labelwise.types import Targets

NEEDED: dict[str, dict[str, Any]] = {"epr": {"expected": 1.5}, "role": {"expected": 1.5}}
every_strategy = pytest.mark.parametrize("name", STRATEGIES)


def facts(rows: int = 5, labels: int = 4) -> Facts:
    return Facts(rows, labels, torch.full((labels,), 0.2), torch.full((rows, labels), 0.3))


def build(name: str, loss: torch.nn.Module | None = None) -> UnknownLoss:
    return UnknownLoss(loss or BinaryCrossEntropy(), STRATEGIES[name](facts(), **NEEDED.get(name, {})))


def batch(scale: float = 1.0) -> tuple[torch.Tensor, Targets, Moment]:
    g = torch.Generator().manual_seed(0)
    known = torch.rand(5, 4, generator=g) < 0.5
    targets = Targets(torch.rand(5, 4, generator=g).round(), known)
    return scale * torch.randn(5, 4, generator=g), targets, Moment(torch.arange(5), 3, 10)


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"epr", "role", "vpu"}))
@pytest.mark.parametrize("loss", [BinaryCrossEntropy(), AsymmetricLoss(), FocalLoss(reduction="sum")])
def test_known_negatives_have_the_chosen_loss(name: str, loss: torch.nn.Module) -> None:
    """Their gradient is that of the chosen loss, up to the number of cells that the mean divides by."""
    logits, targets, moment = batch()
    negative = targets.known & (targets.values < 0.5)
    whole = build(name, loss)
    grads = []
    for judge in (lambda z: whole(z, targets, moment), lambda z: loss(z, targets)):
        leaf = logits.clone().requires_grad_()
        judge(leaf).backward()
        assert leaf.grad is not None
        grads.append(leaf.grad)
    if name == "durand":
        share = targets.known.float().mean(1, keepdim=True).expand(5, 4)
        grads[0] = grads[0] / whole.strategy.weight(share)  # type: ignore[operator]
    ratio = (grads[0] / grads[1])[negative]
    torch.testing.assert_close(ratio, ratio[0].expand_as(ratio))
    assert 0 < ratio[0] <= 1.0001


@every_strategy
def test_full_labels_leave_nothing_to_decide(name: str) -> None:
    logits, targets, moment = batch()
    full = Targets(targets.values, torch.ones_like(targets.known))
    value = build(name)(logits, full, moment)
    if name in (
        "epr",
        "role",
        "vpu",
        "hill",
        "splc",
    ):  # these have a say on known positives or on the whole batch
        assert value.isfinite()
    else:
        torch.testing.assert_close(value, BinaryCrossEntropy()(logits, full))


@every_strategy
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_and_large_scores_stay_finite(name: str, dtype: torch.dtype) -> None:
    targets = batch()[1]
    logits = torch.linspace(-300, 300, 20).view(5, 4).to(dtype).requires_grad_()
    loss = build(name)
    for epoch in (0, 1, 6, 7):
        loss.start_epoch(epoch, 8)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = loss(logits, targets, Moment(torch.arange(5), epoch, 8))
        assert value.dtype == torch.float32
        assert value.isfinite()
        value.backward()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()


@every_strategy
@pytest.mark.parametrize("filling", [math.nan, math.inf, 1.0])
def test_what_unknown_cells_hold_has_no_influence(name: str, filling: float) -> None:
    logits, targets, moment = batch()
    other = Targets(targets.values.masked_fill(~targets.known, filling), targets.known)
    assert torch.equal(build(name)(logits, targets, moment), build(name)(logits, other, moment))


@every_strategy
def test_a_filling_teaches_nothing(name: str) -> None:
    logits = torch.ones(1, 4, requires_grad=True)
    nothing = torch.zeros(1, 4, dtype=torch.bool)
    loss = build(name)
    before = {k: v.clone() for k, v in loss.state_dict().items()}
    loss(logits, Targets(torch.zeros(1, 4), nothing), Moment(torch.tensor([2]), 3, 10), nothing).backward()
    assert logits.grad is not None
    assert not logits.grad.any()
    for key, value in loss.state_dict().items():
        torch.testing.assert_close(value, before[key], equal_nan=True, rtol=0, atol=0)


@every_strategy
def test_a_loss_without_cells_is_refused(name: str) -> None:
    says = (
        "unknown cells with a loss for the loss TwoWayLoss; expected a loss with a value for each cell: "
        "bce, weighted-bce, focal or asl; choose another loss.name, or --unknown ignore"
    )
    with pytest.raises(LabelwiseError) as error:
        build(name, TwoWayLoss())
    assert str(error.value) == says


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        (
            "epr",
            {},
            "no expected number of labels an image; expected a number over 0 and up to 4; add for example ",
        ),
        ("role", {"expected": 9}, "unknown.expected=9.0; expected a number over 0 and up to 4; "),
        (
            "role",
            {"expected": 1, "weight": 1000.5},
            "unknown.weight=1000.5; expected a number from 0 to 1000; ",
        ),
        ("em", {"alpha": 10.5}, "unknown.alpha=10.5; expected a number from 0 to 10; "),
        ("em-apl", {"beta": 10.5}, "unknown.beta=10.5; expected a number from 0 to 10; "),
        ("splc", {"tau": 6}, "unknown.tau=6; expected a number from 0 to 1; correct the option"),
        ("ll-r", {"delta": math.nan}, "unknown.delta=nan; expected a number from 0 to 1; correct the option"),
        ("durand", {"gamma": 0.0}, "unknown.gamma=0; expected an exponent that is not 0; correct the option"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        STRATEGIES[name](facts(), **options)
    assert str(error.value).startswith(says)


def test_scores_must_be_probabilities() -> None:
    with pytest.raises(
        LabelwiseError, match=r"external scores from -1 to 2; expected probabilities in \[0, 1\]"
    ):
        STRATEGIES["external"](Facts(1, 2, None, torch.tensor([[-1.0, 2.0]])))
    with pytest.raises(LabelwiseError, match="unknown external without scores"):
        STRATEGIES["external"](Facts(1, 2))
    STRATEGIES["external"](Facts(1, 1, None, torch.tensor([[math.nan]])))
