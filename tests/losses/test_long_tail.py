"""Losses for long tails against loops written from the equations, in float64, with unknown cells."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from labelwise.errors import LabelwiseError
from labelwise.losses import DistributionBalancedLoss, LogitAdjustedLoss, UnknownLoss, build_loss
from labelwise.losses.unknown import Facts
from labelwise.methods import create_method
from labelwise.registry import STRATEGIES
from labelwise.types import Batch, LabelPriors, Targets

POSITIVES = torch.tensor([90.0, 12.0, 3.0, 0.0])
KNOWN = torch.tensor([100.0, 80.0, 100.0, 40.0])


def a_batch() -> tuple[Tensor, Targets]:
    g = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(7, 4, generator=g, dtype=torch.float64)
    values = (torch.rand(7, 4, generator=g) < 0.5).double()
    known = torch.rand(7, 4, generator=g) < 0.7
    values[0], known[1] = 0, False  # an image without a positive, and one of which nothing is known
    values[2], known[2] = torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([True, True, False, True])
    return logits.requires_grad_(), Targets(values, known)


def log_odds(label: int) -> float:
    n, total = POSITIVES[label].item(), KNOWN[label].item()
    return math.log((n + 1) / (total - n + 1))


def bce(z: float, y: float) -> float:
    p = 1 / (1 + math.exp(-z))
    return -y * math.log(p) - (1 - y) * math.log(1 - p)


def balanced_cell(z: float, row: list[tuple[float, bool]], label: int, o: dict[str, float]) -> float:
    """A cell of the distribution-balanced loss, from the row's (value, known)."""
    share = [1 / max(POSITIVES[m].item(), 1) for m in range(4)]
    of_image = sum(share[m] for m, (y, k) in enumerate(row) if k and y == 1)
    r = share[label] / of_image if of_image else 1.0
    weight = o["alpha"] + 1 / (1 + math.exp(-o["beta"] * (r - o["mu"])))
    u = z - (-o["kappa"] * log_odds(label))
    if row[label][0] == 1:
        p = 1 / (1 + math.exp(-u))
        return weight * (1 - p) ** o["gamma"] * math.log(1 + math.exp(-u))
    scaled = o["negative_scale"] * u
    p = 1 / (1 + math.exp(scaled))
    return weight * (1 - p) ** o["gamma"] * math.log(1 + math.exp(scaled)) / o["negative_scale"]


@pytest.mark.parametrize("tau", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("reduction", ["mean_known", "label_sum", "sum"])
def test_logit_adjustment_is_the_loop(tau: float, reduction: Any) -> None:
    logits, targets = a_batch()
    total, count = 0.0, 0
    for i in range(7):
        for j in range(4):
            if targets.known[i, j]:
                total += bce(logits[i, j].item() + tau * log_odds(j), targets.values[i, j].item())
                count += 1
    by = {"mean_known": count, "label_sum": 7, "sum": 1}[reduction]
    value = LogitAdjustedLoss(POSITIVES, KNOWN, tau, reduction)(logits, targets)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(total / by, rel=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"gamma": 0.0},
        {"negative_scale": 1.0, "kappa": 0.0},
        {"alpha": 0.4, "beta": 3.0, "mu": 0.6},
        {"gamma": 1.5},
    ],
)
def test_the_distribution_balanced_loss_is_the_loop(change: dict[str, float]) -> None:
    o = {"alpha": 0.1, "beta": 10.0, "mu": 0.3, "negative_scale": 5.0, "kappa": 0.05, "gamma": 2.0, **change}
    logits, targets = a_batch()
    cells = []
    for i in range(7):
        row = list(zip(targets.values[i].tolist(), targets.known[i].tolist(), strict=True))
        cells += [balanced_cell(logits[i, j].item(), row, j, o) for j in range(4) if targets.known[i, j]]
    value = DistributionBalancedLoss(POSITIVES, KNOWN, **change)(logits, targets)
    assert value.item() == pytest.approx(sum(cells) / len(cells), rel=1e-12)


@pytest.mark.parametrize("kind", [LogitAdjustedLoss, DistributionBalancedLoss])
def test_gradients_and_unknown_cells(kind: Any) -> None:
    logits, targets = a_batch()
    loss = kind(POSITIVES, KNOWN)
    assert torch.autograd.gradcheck(lambda z: loss(z, targets), (logits,))
    other = Targets(torch.where(targets.known, targets.values, float("nan")), targets.known)
    (gradient,) = torch.autograd.grad(loss(logits, other), logits)
    assert gradient.isfinite().all()
    assert (gradient[~targets.known] == 0).all()
    assert torch.equal(loss(logits, other), loss(logits, targets))


def test_extreme_logits_stay_finite() -> None:
    z = torch.tensor([[200.0, -200.0, 200.0, -200.0]], requires_grad=True)
    for kind in (LogitAdjustedLoss, DistributionBalancedLoss):
        loss = kind(POSITIVES, KNOWN)(z, torch.tensor([[0.0, 1.0, 1.0, 0.0]]))
        (gradient,) = torch.autograd.grad(loss, z)
        assert loss.isfinite()
        assert gradient.isfinite().all()


def test_priors_come_from_known_training_cells() -> None:
    seen = Targets.of(torch.tensor([[1.0, float("nan")], [1.0, 0.0], [0.0, float("nan")]]))
    method = create_method(
        "baseline-gap", ["a", "b"], "test_resnet", weights="none", loss={"name": "logit-adjusted"},
        priors=LabelPriors.count(seen),
    )  # fmt: skip
    assert method.criterion.positives.tolist() == [2, 0]
    assert method.criterion.known.tolist() == [3, 1]
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    targets = Targets.of(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    batch = Batch(images, targets, torch.arange(2))
    method.eval()
    z = method.model(images).logits.double()
    raised = z + torch.tensor([math.log(3 / 2), math.log(1 / 2)], dtype=torch.float64)
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(raised, targets.values.double())
    assert method.loss(batch)["classification"].item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("logit-adjusted", {"tau": -1}, "loss.tau=-1; expected a number from 0"),
        ("distribution-balanced", {"negative_scale": 0}, "loss.negative_scale=0; expected a number above 0"),
        ("distribution-balanced", {"mu": math.inf}, "loss.mu=inf; expected a number"),
        ("distribution-balanced", {"lambda": 2}, "loss.lambda; expected one of alpha, "),
        ("distribution-balanced", {"reduction": "mean"}, "loss.reduction='mean'"),
    ],
)
def test_bad_options(name: str, options: dict[str, Any], message: str) -> None:
    priors = LabelPriors.nothing(4)
    with pytest.raises(LabelwiseError) as error:
        build_loss(name, priors=priors, **options)
    assert str(error.value).startswith(message)


def test_without_counts_or_with_a_strategy() -> None:
    with pytest.raises(LabelwiseError, match="without known, positives"):
        build_loss("logit-adjusted")
    facts = Facts(5, 4)
    with pytest.raises(LabelwiseError, match="distribution-balanced"):
        UnknownLoss(DistributionBalancedLoss(POSITIVES, KNOWN), STRATEGIES["negative"](facts))  # type: ignore[call-arg]
    assert UnknownLoss(LogitAdjustedLoss(POSITIVES, KNOWN), STRATEGIES["negative"](facts))  # type: ignore[call-arg]
