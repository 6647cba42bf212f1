"""Options that turn a rule into that of released code, each against loops written from that rule."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from labelwise.errors import LabelwiseError
from labelwise.losses import AsymmetricLoss, BinaryCrossEntropy, Facts, Moment, UnknownLoss, build_loss
from labelwise.losses import functional as F
from labelwise.options import build_part
from labelwise.registry import STRATEGIES
from labelwise.relations import GCN, LabelVectors
from labelwise.relations.cooccurrence import ml_gcn_adjacency
from labelwise.types import LabelPriors, Targets

ROWS, LABELS = 5, 4


def batch(seed: int = 0) -> tuple[Tensor, Targets]:
    """Single positives and a known negative an image: the rest is unknown."""
    g = torch.Generator().manual_seed(seed)
    known = torch.zeros(ROWS, LABELS, dtype=torch.bool)
    known[:, :2] = True
    values = torch.zeros(ROWS, LABELS, dtype=torch.float64)
    values[:, 0] = 1
    return 2 * torch.randn(ROWS, LABELS, generator=g, dtype=torch.float64), Targets(values, known)


def loss(name: str, **options: Any) -> UnknownLoss:
    return UnknownLoss(BinaryCrossEntropy(), STRATEGIES[name](Facts(ROWS, LABELS), **options))


def at(epoch: int = 0, rows: int = ROWS) -> Moment:
    return Moment(torch.arange(rows), epoch, 10)


def sigma(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def bce(z: float, y: float) -> float:
    return -y * math.log(sigma(z)) - (1 - y) * math.log(1 - sigma(z))


def asl(z: float, y: float, g_neg: float, g_pos: float, m: float) -> float:
    p = sigma(z)
    low = max(p - m, 0)
    return -y * (1 - p) ** g_pos * math.log(p) - (1 - y) * low**g_neg * math.log(1 - low)


@pytest.mark.parametrize("gammas", [(4.0, 1.0), (2.0, 0.0), (0.5, 0.5)])
@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_asl_differentiates_its_focusing_weights_where_asked(
    gammas: tuple[float, float], margin: float
) -> None:
    """The value is the same; the gradient is the difference quotient of the whole loss, or of the logarithms alone."""
    for z in (-3.5, -1.0, 0.3, 2.0):
        for y in (0.0, 1.0):
            slopes, values = [], []
            for detach in (False, True):
                logit = torch.tensor([[z]], dtype=torch.float64, requires_grad=True)
                value = F.asymmetric(
                    logit, torch.tensor([[y]], dtype=torch.float64), *gammas, margin, detach
                ).sum()
                value.backward()
                assert logit.grad is not None
                slopes.append(logit.grad.item())
                values.append(value.item())
            assert values[0] == values[1] == pytest.approx(asl(z, y, *gammas, margin), abs=1e-12)
            h = 1e-6
            whole = (asl(z + h, y, *gammas, margin) - asl(z - h, y, *gammas, margin)) / (2 * h)
            p, low = sigma(z), max(sigma(z) - margin, 0)
            held = -((1 - p) ** gammas[1]) * (1 - p) if y else low ** gammas[0] * p * (1 - p) / (1 - low)
            assert slopes[0] == pytest.approx(whole, abs=1e-7)
            assert slopes[1] == pytest.approx(held if y or low else 0.0, abs=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_its_gradient_is_finite_where_probabilities_end(gamma: float, margin: float) -> None:
    z = torch.tensor([[-300.0, -60.0, 60.0, 300.0]] * 2, requires_grad=True)
    y = torch.tensor([[0.0] * 4, [1.0] * 4])
    AsymmetricLoss(gamma, gamma, margin, detach_focal=False)(z, y).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_without_focusing_nothing_is_detached() -> None:
    z, t = batch()
    for detach in (False, True):
        mine, plain = z.clone().requires_grad_(), z.clone().requires_grad_()
        AsymmetricLoss(0, 0, detach_focal=detach)(mine, t).backward()
        BinaryCrossEntropy()(plain, t).backward()
        torch.testing.assert_close(mine.grad, plain.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("value", [1, "false", None])
def test_a_focal_switch_is_true_or_false(value: Any) -> None:
    with pytest.raises(LabelwiseError) as error:
        build_loss("asl", detach_focal=value)
    assert str(error.value) == f"loss.detach_focal={value!r}; expected true or false; correct the option"


def test_smoothing_as_released_has_targets_of_a_tenth_and_nine_tenths() -> None:
    z, t = batch()
    expected = 0.0
    for i in range(ROWS):
        for j in range(LABELS):
            if not t.known[i, j]:
                expected += bce(z[i, j].item(), 0.1)
            else:
                expected += bce(z[i, j].item(), 0.9 if t.values[i, j] else 0.0)
    value = loss("an-ls", smoothing=0.2, positives=True)(z, t, at())
    assert value.item() == pytest.approx(expected / (ROWS * LABELS), abs=1e-12)
    plain = loss("an-ls", smoothing=0.2)(z, t, at())
    assert plain.item() != value.item()


def test_corrected_cells_without_the_margin() -> None:
    z, t = batch()
    for name, margin in (("released", 0.0), ("ours", 1.0)):
        expected = 0.0
        for i in range(ROWS):
            for j in range(LABELS):
                v = z[i, j].item()
                if t.known[i, j]:
                    q = sigma(v - 1)
                    expected += -((1 - q) ** 2) * math.log(q) if t.values[i, j] else bce(v, 0)
                elif sigma(v) > 0.6:
                    q = sigma(v - margin)
                    expected += -((1 - q) ** 2) * math.log(q)
                else:
                    expected += -(sigma(v) ** 2) * math.log(1 - sigma(v))
        assert (torch.sigmoid(z)[~t.known] > 0.6).any()
        value = loss("splc", margin_corrected=name == "ours")(z, t, at(1))
        assert value.item() == pytest.approx(expected / (ROWS * LABELS), abs=1e-12)


@pytest.mark.parametrize(("delta", "turned"), [(0.01, 0), (0.06, 1), (0.2, 3)])
def test_one_cell_fewer_stays_turned(delta: float, turned: int) -> None:
    """k of the step count as present in it, as without the option; k - 1 of them from then on."""
    z, t = batch()
    k = math.ceil(ROWS * LABELS * delta)
    assert turned == k - 1
    order = sorted((z[i, j].item(), i, j) for i, j in (~t.known).nonzero().tolist())
    flat, strict = loss("ll-cp", delta=delta), loss("ll-cp", delta=delta, strict=True)
    assert strict(z, t, at(1)).item() == flat(z, t, at(1)).item()
    kept = sorted(map(tuple, strict.strategy.flipped.nonzero().tolist()))
    assert kept == sorted((i, j) for _, i, j in order[len(order) - turned :])
    assert int(flat.strategy.flipped.sum()) == k


def test_a_batch_of_sixteen_of_twenty_labels_turns_nothing_for_good_as_released() -> None:
    strategy = STRATEGIES["ll-cp"](Facts(16, 20), strict=True)
    criterion = UnknownLoss(BinaryCrossEntropy(), strategy)
    t = Targets(torch.zeros(16, 20), torch.zeros(16, 20, dtype=torch.bool))
    for step in range(3):
        criterion(torch.randn(16, 20, generator=torch.Generator().manual_seed(step)), t, at(1, 16))
    assert not strategy.flipped.any()


def test_unknown_cells_below_a_margin_count_nothing() -> None:
    z, t = batch()
    expected = 0.0
    for i in range(ROWS):
        for j in range(LABELS):
            v = z[i, j].item()
            expected += bce(v, t.values[i, j].item()) if t.known[i, j] else 0.7 * asl(v, 0, 1.5, 0, 0.2)
    value = loss("csl", margin=0.2, topk=0, gamma=1.5, alpha=0.7)(z, t, at())
    assert value.item() == pytest.approx(expected / (ROWS * LABELS), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("csl", {"margin": 1.0}, "unknown.margin=1.0; expected a number from 0 to 0.99; correct the option"),
        ("splc", {"margin_corrected": 0}, "unknown.margin_corrected=0; expected true or false"),
        ("ll-cp", {"strict": 1}, "unknown.strict=1; expected true or false"),
        ("an-ls", {"positives": "yes"}, "unknown.positives='yes'; expected true or false"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        build_part(STRATEGIES[name], "unknown", options, {"facts": Facts(ROWS, LABELS)})
    assert str(error.value).startswith(says)


def test_a_conditional_equal_to_the_threshold_is_an_edge_where_asked() -> None:
    """Two of five images: .4 exactly, in a table that counts them."""
    y = torch.zeros(6, 2)
    y[:5, 0], y[:2, 1] = 1, 1
    priors = LabelPriors.count(Targets.of(y))
    edges = {}
    for inclusive in (False, True):
        made = GCN(3, 2, LabelVectors(2, 4), priors, kappa=0.0, inclusive=inclusive)
        edges[inclusive] = made.adjacency[1, 0].item()
    share = 0.25 / (1 + 1e-6)
    back = 0.25 / (1 + 1e-6)  # the second label implies the first in both
    assert edges[False] == 0
    assert edges[True] == pytest.approx(share / math.sqrt((1 + share) * (1 + back)), abs=1e-6)
    m = torch.full((3, 3), 0.4).fill_diagonal_(1)
    assert ml_gcn_adjacency(m, inclusive=True).count_nonzero() == 9
