"""Two-way loss: values by hand, a loop over rows and columns, masks and precision."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from labelwise.errors import LabelwiseError
from labelwise.losses import TwoWayLoss, build_loss
from labelwise.types import Targets


def some_batch(seed: int = 0, rows: int = 5, labels: int = 4) -> tuple[Tensor, Targets]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, labels, generator=generator, dtype=torch.float64)
    values = torch.rand(rows, labels, generator=generator).round()
    return logits, Targets(values, torch.rand(rows, labels, generator=generator) < 0.7)


def slow(logits: Tensor, targets: Targets, above: float, below: float) -> float:
    """The equation, row by row and column by column."""
    total = 0.0
    for z, y, k in (
        (logits, targets.values, targets.known),
        (logits.T, targets.values.T, targets.known.T),
    ):
        losses = []
        for row in range(len(z)):
            cells = [(z[row, i].item(), y[row, i].item()) for i in range(len(z[row])) if k[row, i]]
            positive = [math.exp(-v / above) for v, state in cells if state == 1]
            negative = [math.exp(v / below) for v, state in cells if state == 0]
            if positive:
                both = above * math.log(sum(positive)) + below * math.log(sum(negative)) if negative else None
                losses.append(0.0 if both is None else math.log1p(math.exp(both)))
        total += sum(losses) / max(1, len(losses))
    return total


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("temperatures", [(4.0, 1.0), (1.0, 2.5)])
def test_loop_over_rows_and_columns(seed: int, temperatures: tuple[float, float]) -> None:
    logits, targets = some_batch(seed)
    value = TwoWayLoss(*temperatures)(logits, targets)
    assert value.item() == pytest.approx(slow(logits, targets, *temperatures), rel=1e-9)
    assert value > 0


def test_values_by_hand() -> None:
    one = TwoWayLoss()(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    assert one.item() == pytest.approx(0.6931472)
    # Two images, label 1 in the first alone: ln 2 by labels and ln 2 by images.
    two = TwoWayLoss()(torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert two.item() == pytest.approx(2 * 0.6931472)


def test_gradients_are_the_derivative() -> None:
    logits, targets = some_batch()
    assert torch.autograd.gradcheck(lambda z: TwoWayLoss()(z, targets), logits.requires_grad_())


@pytest.mark.parametrize("values", [1.0, 0.0, None])
def test_one_side_alone_is_exactly_zero(values: float | None) -> None:
    logits = some_batch()[0].requires_grad_()
    targets = Targets.of(torch.full(logits.shape, float("nan") if values is None else values))
    loss = TwoWayLoss()(logits, targets)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("filling", [0.0, 1.0, 0.7, float("nan"), float("inf")])
def test_unknown_cells_have_no_influence_bit_for_bit(filling: float) -> None:
    logits, targets = some_batch()
    outcomes = []
    for values in (targets.values, targets.values.masked_fill(~targets.known, filling)):
        leaf = logits.clone().requires_grad_()
        loss = TwoWayLoss()(leaf, Targets(values, targets.known))
        loss.backward()
        outcomes.append((loss.detach(), leaf.grad))
    assert all(torch.equal(a, b) for a, b in zip(*outcomes, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_finite_and_near_full_precision(dtype: torch.dtype) -> None:
    logits = torch.linspace(-60, 60, 60).view(20, 3).to(dtype).requires_grad_()
    values = (torch.arange(60).view(20, 3) % 2).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = TwoWayLoss()(logits, values)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(TwoWayLoss()(logits.detach().float(), values).item(), rel=0.02)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_more_negatives_below_lower_the_loss() -> None:
    values = torch.tensor([[1.0, 0.0]])
    losses = [TwoWayLoss()(torch.tensor([[0.0, z]]), values).item() for z in (3.0, 0.0, -3.0, -50.0)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 1e-6


def test_it_is_built_by_its_name() -> None:
    logits, targets = some_batch()
    value = build_loss("two-way", positive_temperature=1.0, negative_temperature=2.5)(logits, targets)
    assert torch.equal(value, TwoWayLoss(1.0, 2.5)(logits, targets))
    with pytest.raises(LabelwiseError) as error:
        build_loss("two-way", reduction="sum")
    assert str(error.value).startswith(
        "loss.reduction; expected one of positive_temperature, negative_temperature; "
    )
    with pytest.raises(LabelwiseError) as error:
        build_loss("two-way", negative_temperature=0.0)
    assert str(error.value) == "loss.negative_temperature=0.0; expected a number above 0; correct the option"
