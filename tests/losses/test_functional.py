"""Losses per cell against hand values, slow loops and other libraries; the reduction against its definition."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from torch import Tensor

from labelwise.losses import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]


def cell(value: float) -> Tensor:
    return torch.tensor([[value]], dtype=torch.float64)


def slow_bce(z: float, y: float) -> float:
    return y * math.log1p(math.exp(-z)) + (1 - y) * math.log1p(math.exp(z))


def slow_focal(z: float, y: float, gamma: float, alpha: float) -> float:
    p = 1 / (1 + math.exp(-z))
    p_t, alpha_t = (p, alpha) if y == 1 else (1 - p, 1 - alpha)
    return -(alpha_t if alpha < 1 else 1) * (1 - p_t) ** gamma * math.log(p_t)


def slow_asymmetric(z: float, y: float, gamma_negative: float, gamma_positive: float, margin: float) -> float:
    p = 1 / (1 + math.exp(-z))
    if y == 1:
        return -((1 - p) ** gamma_positive) * math.log(p)
    shifted = max(p - margin, 0)
    return -(shifted**gamma_negative) * math.log(1 - shifted)


@pytest.mark.parametrize(
    ("loss", "z", "y", "value"),
    [
        (F.binary_cross_entropy, 0.0, 0.3, 0.693147),
        (partial(F.asymmetric, gamma_negative=4.0, gamma_positive=1.0, margin=0.05), 0.0, 0.0, 0.0245151),
        (F.focal, 0.0, 1.0, 0.0433217),
        (
            partial(F.weighted_binary_cross_entropy, positive_rate=torch.tensor([0.2])),
            0.0,
            1.0,
            2.225541 * 0.693147,
        ),
        (
            partial(F.weighted_binary_cross_entropy, positive_rate=torch.tensor([0.2])),
            0.0,
            0.0,
            1.221403 * 0.693147,
        ),
    ],
)
def test_hand_values(loss: Loss, z: float, y: float, value: float) -> None:
    assert loss(cell(z), cell(y)).item() == pytest.approx(value, abs=1.5e-6)


finite = st.floats(-15, 15)


@given(
    finite,
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0]),
    st.sampled_from([0.1, 0.25, 1]),
)
def test_focal_equals_its_equation(z: float, y: float, gamma: float, alpha: float) -> None:
    expected = slow_focal(z, y, gamma, alpha)
    assert F.focal(cell(z), cell(y), gamma, alpha).item() == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(
    finite, st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0, 4.0]), st.sampled_from([0.0, 0.05, 0.4])
)
def test_asymmetric_equals_its_equation(z: float, y: float, gamma: float, margin: float) -> None:
    expected = slow_asymmetric(z, y, gamma, gamma / 2, margin)
    value = F.asymmetric(cell(z), cell(y), gamma, gamma / 2, margin).item()
    assert value == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(finite, st.floats(0, 1))
def test_without_focus_both_are_binary_cross_entropy(z: float, y: float) -> None:
    expected = slow_bce(z, y)
    assert F.binary_cross_entropy(cell(z), cell(y)).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert F.asymmetric(cell(z), cell(y), 0, 0, 0).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert F.focal(cell(z), cell(y), 0, 1).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_binary_cross_entropy_equals_scikit_learn(seeded: torch.Generator) -> None:
    z = torch.randn(40, 3, generator=seeded, dtype=torch.float64)
    y = torch.randint(0, 2, (40, 3), generator=seeded).double()
    cells = F.binary_cross_entropy(z, y)
    for label in range(3):
        expected = log_loss(y[:, label].numpy(), z[:, label].sigmoid().numpy())
        assert cells[:, label].mean().item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "loss",
    [
        F.binary_cross_entropy,
        partial(
            F.weighted_binary_cross_entropy, positive_rate=torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
        ),
        F.focal,
        partial(F.focal, gamma=0.5),
        partial(F.asymmetric, gamma_negative=0.0),
        partial(F.asymmetric, gamma_negative=0.0, margin=0.2),
    ],
)
def test_gradients_are_the_derivative(loss: Loss, seeded: torch.Generator) -> None:
    z = torch.randn(2, 3, generator=seeded, dtype=torch.float64, requires_grad=True)
    y = torch.rand(2, 3, generator=seeded, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda logits: loss(logits, y), (z,))


def test_focusing_weights_carry_no_gradient() -> None:
    z, y = cell(0.3).requires_grad_(), cell(0.0)
    F.asymmetric(z, y, gamma_negative=3.0).sum().backward()
    p = 1 / (1 + math.exp(-0.3))
    assert z.grad is not None
    assert z.grad.item() == pytest.approx(p**3 * p, rel=1e-9)


@pytest.mark.parametrize("z", [-60.0, -4.0, math.log(0.05 / 0.95) - 1e-3])
def test_a_negative_below_the_margin_counts_nothing(z: float) -> None:
    logits = cell(z).requires_grad_()
    loss = F.asymmetric(logits, cell(0.0), 0.0, 0.0, margin=0.05)
    loss.sum().backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.item() == 0


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_confident_positives_leave_finite_focal_gradients(gamma: float) -> None:
    z = torch.tensor([[60.0, -60.0, 30.0]], requires_grad=True)
    F.focal(z, torch.tensor([[1.0, 0.0, 1.0]]), gamma).sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def random_cells(seed: int, rows: int, labels: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randn(rows, labels, generator=generator, dtype=torch.float64)
    return cells, torch.rand(rows, labels, generator=generator) < 0.6


@given(st.integers(0, 999), st.integers(1, 4), st.integers(1, 4))
def test_reductions_equal_their_definitions(seed: int, rows: int, labels: int) -> None:
    cells, known = random_cells(seed, rows, labels)
    total, count = 0.0, 0
    for row in range(rows):
        for label in range(labels):
            if known[row, label]:
                total += cells[row, label].item()
                count += 1
    assert F.reduce(cells, known, "sum").item() == pytest.approx(total, abs=1e-12)
    assert F.reduce(cells, known, "label_sum").item() == pytest.approx(total / rows, abs=1e-12)
    assert F.reduce(cells, known, "mean_known").item() == pytest.approx(total / max(1, count), abs=1e-12)


@pytest.mark.parametrize("reduction", ["mean_known", "label_sum", "sum"])
def test_nothing_known_is_exactly_nothing(reduction: F.Reduction) -> None:
    cells = torch.tensor([[float("nan"), float("inf")]], requires_grad=True)
    loss = F.reduce(cells, torch.zeros(1, 2, dtype=torch.bool), reduction)
    loss.backward()
    assert loss.item() == 0
    assert cells.grad is not None
    assert cells.grad.tolist() == [[0, 0]]
