"""PolyLoss: values by hand, a loop with a mask, and gradients."""

from __future__ import annotations

import math

import pytest
import torch

from labelwise.losses import BinaryCrossEntropy, build_loss
from labelwise.types import Targets


def test_values_by_hand() -> None:
    value = build_loss("poly", epsilon=2.0)(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    assert value.item() == pytest.approx(math.log(2) + 2 * 0.5)


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_it_equals_a_slow_form(epsilon: float, seeded: torch.Generator) -> None:
    z = 2 * torch.randn(5, 4, generator=seeded, dtype=torch.float64)
    y = torch.rand(5, 4, generator=seeded).round()
    known = torch.rand(5, 4, generator=seeded) < 0.6
    cells = []
    for row, column in known.nonzero().tolist():
        p = 1 / (1 + math.exp(-z[row, column].item()))
        right = p if y[row, column] == 1 else 1 - p
        cells.append(-math.log(right) + epsilon * (1 - right))
    value = build_loss("poly", epsilon=epsilon)(z, Targets(y, known))
    assert value.item() == pytest.approx(sum(cells) / len(cells), rel=1e-9)


def test_without_epsilon_it_is_the_cross_entropy(seeded: torch.Generator) -> None:
    z, y = torch.randn(3, 4, generator=seeded), torch.rand(3, 4, generator=seeded)
    assert build_loss("poly", epsilon=0.0)(z, y).equal(BinaryCrossEntropy()(z, y))


def test_gradients_are_the_derivative(seeded: torch.Generator) -> None:
    z = torch.randn(3, 4, generator=seeded, dtype=torch.float64, requires_grad=True)
    y = torch.rand(3, 4, generator=seeded).round()
    assert torch.autograd.gradcheck(lambda z: build_loss("poly", epsilon=1.5)(z, Targets.of(y)), (z,))
