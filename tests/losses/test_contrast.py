"""Contrast of pairs against loops over images and labels."""

from __future__ import annotations

import math
from unittest import mock

import pytest
import torch
from torch import Tensor

from labelwise.losses import contrast, pair_contrast
from labelwise.losses.contrast import NegativePairs
from labelwise.types import Targets

NAN = float("nan")


def lists(features: Tensor, targets: Targets) -> tuple[list[float], list[float], list[float]]:
    """Losses of pairs: both present, one of each, both absent."""
    costs: tuple[list[float], list[float], list[float]] = ([], [], [])
    for label in range(features.shape[1]):
        for i in range(len(features)):
            for j in range(i + 1, len(features)):
                if targets.known[i, label] and targets.known[j, label]:
                    a, b = features[i, label], features[j, label]
                    c = float(a @ b / (a.norm() * b.norm()))
                    shown = int(targets.values[i, label] + targets.values[j, label])
                    costs[2 - shown].append(1 - c if shown == 2 else 1 + c)
    return costs


def a_batch(batch: int, labels: int, positive: float, seed: int = 0) -> tuple[Tensor, Targets]:
    g = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, labels, 6, generator=g, dtype=torch.float64)
    values = (torch.rand(batch, labels, generator=g) < positive).double()
    return features, Targets(values, torch.rand(batch, labels, generator=g) < 0.7)


def test_by_hand() -> None:
    features = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]])
    loss = pair_contrast(features, Targets.of(torch.tensor([[1.0], [1.0], [0.0]])))
    assert loss.item() == pytest.approx(2 / 3, abs=1e-6)
    scaled = pair_contrast(features * 7, Targets.of(torch.tensor([[1.0], [1.0], [0.0]])))
    assert scaled.item() == pytest.approx(2 / 3, abs=1e-6)


@pytest.mark.parametrize("negneg", ["repel", "none"])
@pytest.mark.parametrize("positive", [0.8, 0.0])
def test_short_lists_are_used_whole(negneg: NegativePairs, positive: float) -> None:
    features, targets = a_batch(6, 3, positive)
    pp, pn, nn = lists(features, targets)
    joined = pp + pn + (nn if negneg == "repel" else [])
    assert not pp or len(pn) <= 3 * len(pp) >= len(nn)
    expected = sum(joined) / max(1, len(joined))
    assert pair_contrast(features, targets, negneg).item() == pytest.approx(expected, abs=1e-12)


def test_long_lists_are_cut_to_the_hardest_and_some_of_the_rest(seeded: torch.Generator) -> None:
    features, targets = a_batch(12, 4, 0.25)
    pp, pn, nn = lists(features, targets)
    n = len(pp)
    assert n > 1
    assert min(len(pn), len(nn)) > 3 * n
    chosen: list[Tensor] = []
    real = contrast._counted_pairs

    def noted(cosine: Tensor, pairs: Tensor, number: Tensor) -> Tensor:
        chosen.append(cosine[cut := real(cosine, pairs, number)])
        return cut

    losses = set()
    for _ in range(5):
        chosen.clear()
        with mock.patch.object(contrast, "_counted_pairs", noted):
            loss = pair_contrast(features, targets).item()
        losses.add(loss)
        assert loss == pytest.approx(
            (sum(pp) + sum(float((1 + c).sum()) for c in chosen)) / (7 * n), abs=1e-12
        )
        for cosine, whole in zip(chosen, (pn, nn), strict=True):
            mine = sorted((1 + cosine).tolist(), reverse=True)
            assert len(mine) == 3 * n
            everything = sorted(whole, reverse=True)
            assert mine[:n] == pytest.approx(everything[:n], abs=1e-12)
            for value in mine:  # each is one of the list, and none is there twice
                nearest = min(everything, key=lambda v, value=value: abs(v - value))
                assert abs(nearest - value) < 1e-12
                everything.remove(nearest)
    assert len(losses) > 1


def test_every_pair_of_the_rest_has_its_chance(seeded: torch.Generator) -> None:
    cosine, pairs = torch.linspace(1, -1, 40), torch.arange(40) % 4 < 3
    taken = torch.stack(
        [contrast._counted_pairs(cosine, pairs, torch.tensor(5)) for _ in range(1500)]
    ).float()
    assert taken.sum(1).eq(15).all()
    share = taken.mean(0)
    assert (share[~pairs] == 0).all()
    assert (share[pairs][:5] == 1).all()
    torch.testing.assert_close(share[pairs][5:], torch.full((25,), 0.4), rtol=0, atol=0.06)


def test_unknown_cells_have_no_influence(seeded: torch.Generator) -> None:
    features, targets = a_batch(6, 3, 0.5)
    values = []
    for filling in (0.0, 1.0, NAN):
        targets.values[~targets.known] = filling
        torch.manual_seed(0)
        values.append(pair_contrast(features, targets).item())
    assert values[0] == values[1] == values[2]
    assert math.isfinite(values[0])


@pytest.mark.parametrize(
    "values", [[[1.0, 0.0]], [[NAN, NAN], [NAN, NAN]], [[1.0, NAN], [NAN, 0.0]]], ids=["one", "none", "apart"]
)
def test_no_pair_is_a_connected_zero(values: list[list[float]]) -> None:
    features = torch.rand(len(values), 2, 3, requires_grad=True)
    loss = pair_contrast(features, Targets.of(torch.tensor(values)))
    loss.backward()
    assert loss.item() == 0
    assert features.grad is not None
    assert not features.grad.any()


def test_gradients_are_the_derivative(seeded: torch.Generator) -> None:
    features, targets = a_batch(4, 3, 0.6)
    features.requires_grad_()

    def loss(f: Tensor) -> Tensor:
        torch.manual_seed(1)
        return pair_contrast(f, targets)

    assert torch.autograd.gradcheck(loss, (features,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_and_features_of_no_length_stay_finite(dtype: torch.dtype) -> None:
    features, targets = a_batch(6, 3, 0.5)
    features = (1e3 * features).to(dtype)
    features[0] = 0
    features.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = pair_contrast(features, targets)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert features.grad is not None
    assert features.grad.isfinite().all()
