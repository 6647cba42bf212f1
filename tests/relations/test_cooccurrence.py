"""Conditional co-occurrence where some states are unknown, and ML-GCN's adjacency of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from labelwise.errors import LabelwiseError
from labelwise.relations.cooccurrence import conditional, ml_gcn_adjacency
from labelwise.types import LabelPriors, Targets

NAN = float("nan")


def states(rows: int = 300, labels: int = 4, seed: int = 0) -> Tensor:
    """Full states of labels of which some come together."""
    generator = torch.Generator().manual_seed(seed)
    y = (torch.rand(rows, labels, generator=generator, dtype=torch.float64) < 0.3).double()
    y[:, 1] = torch.maximum(y[:, 1], y[:, 0] * (torch.rand(rows, generator=generator) < 0.7))
    return y


def priors(y: Tensor) -> LabelPriors:
    return LabelPriors.count(Targets.of(y))


def released_rule(y: Tensor) -> Tensor:
    """Images with both over images with the row's label, an unknown state counting as absent."""
    labels = y.shape[1]
    m = torch.eye(labels)
    for i in range(labels):
        for j in range(labels):
            if i != j:
                both = sum(bool(row[i] == 1 and row[j] == 1) for row in y)
                m[i, j] = both / sum(bool(row[i] == 1) for row in y)
    return m


def slow(y: Tensor, kappa: float) -> Tensor:
    """Equations 2.4 by loops over pairs and images."""
    labels = y.shape[1]
    m = torch.eye(labels)
    for i in range(labels):
        for j in range(labels):
            known_j = [row[j].item() for row in y if not row[j].isnan()]
            rate = sum(v == 1 for v in known_j) / max(1, len(known_j))
            with_i = [row[j].item() for row in y if row[i] == 1 and not row[j].isnan()]
            if i != j:
                m[i, j] = (sum(v == 1 for v in with_i) + kappa * rate) / (len(with_i) + kappa)
    return m


def test_three_images_by_hand() -> None:
    y = torch.tensor([[1.0, 1.0], [1.0, NAN], [1.0, 0.0]])
    assert conditional(priors(y), kappa=0)[0, 1].item() == 0.5
    assert released_rule(y)[0, 1].item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("kappa", [0.5, 10.0])
def test_equals_loops_over_pairs(kappa: float) -> None:
    y = states(40)
    y[torch.rand(y.shape, generator=torch.Generator().manual_seed(3)) < 0.4] = NAN
    torch.testing.assert_close(conditional(priors(y), kappa), slow(y, kappa))


def test_full_labels_without_shrinkage_are_the_plain_conditional() -> None:
    y = states()
    torch.testing.assert_close(conditional(priors(y), kappa=0), released_rule(y))


def test_large_shrinkage_gives_the_base_rates() -> None:
    y = states()
    m = conditional(priors(y), kappa=1e9)
    off = ~torch.eye(4, dtype=torch.bool)
    torch.testing.assert_close(m[off], y.mean(0).float().expand(4, 4)[off])
    assert m.diagonal().tolist() == [1] * 4


@pytest.mark.parametrize("kappa", [0.0, 10.0])
def test_labels_without_a_known_positive_get_finite_rows(kappa: float) -> None:
    y = states(30)
    y[:, 2], y[:, 3] = NAN, 0.0
    m = conditional(priors(y), kappa)
    assert m.isfinite().all()
    assert m.diagonal().tolist() == [1] * 4
    if kappa:  # nothing was seen together with them: base rates remain
        torch.testing.assert_close(m[2, :2], y[:, :2].mean(0).float())
    else:
        assert m[2, [0, 1, 3]].tolist() == [0, 0, 0]


@pytest.mark.parametrize("kappa", [0.0, 10.0])
def test_nothing_counted_is_the_identity(kappa: float) -> None:
    assert torch.equal(conditional(LabelPriors.nothing(3), kappa), torch.eye(3))


def test_masking_leaves_the_expectation_and_shrinks_the_released_rule() -> None:
    y, p, masks = states(), 0.5, 200
    truth, generator = conditional(priors(y), kappa=0), torch.Generator().manual_seed(5)
    ours, released = [], []
    for _ in range(masks):
        hidden = y.clone()
        hidden[torch.rand(y.shape, generator=generator) >= p] = NAN
        counted = priors(hidden)
        ours.append(conditional(counted, kappa=0))
        released.append(counted.together / counted.positive[:, None])
    off = ~torch.eye(4, dtype=torch.bool)
    samples = torch.stack(ours)[:, off]
    error = samples.std(0) / math.sqrt(masks)
    assert ((samples.mean(0) - truth[off]).abs() < 3 * error).all()
    shrunk = torch.stack(released)[:, off].mean(0) / truth[off]
    assert (shrunk - p).abs().max() < 0.05


def test_a_shrinkage_below_zero_is_refused() -> None:
    with pytest.raises(LabelwiseError) as error:
        conditional(LabelPriors.nothing(2), kappa=-1)
    assert str(error.value) == "kappa -1; expected a number >= 0; correct the graph's kappa"


def test_adjacency_by_hand() -> None:
    # 0 implies 1 and 2; 1 implies 2; nothing implies 0. Labels listen to those that imply them.
    m = torch.tensor([[1.0, 0.9, 0.5], [0.1, 1.0, 0.6], [0.4, 0.0, 1.0]])
    half = 0.25 / 2  # 2 listens to 0 and 1
    sums = [1 + 0.25 + half, 1 + half, 1.0]
    expected = torch.zeros(3, 3)
    for (listener, speaker), weight in {(1, 0): 0.25, (2, 0): half, (2, 1): half}.items():
        expected[listener, speaker] = weight / math.sqrt(sums[listener] * sums[speaker])
    for label in range(3):
        expected[label, label] = 1 / sums[label]
    torch.testing.assert_close(ml_gcn_adjacency(m), expected, rtol=0, atol=1e-6)


def test_no_edge_is_the_identity_and_a_threshold_is_not_an_edge() -> None:
    m = torch.full((3, 3), 0.4).fill_diagonal_(1)
    assert torch.equal(ml_gcn_adjacency(m, threshold=0.4), torch.eye(3))
    assert ml_gcn_adjacency(m, threshold=0.39).count_nonzero() == 9
    assert torch.equal(ml_gcn_adjacency(m, threshold=0.39, share=0), torch.eye(3))


def test_permuted_labels_permute_the_graph() -> None:
    y, order = states(), torch.tensor([2, 0, 3, 1])
    m, moved = conditional(priors(y)), conditional(priors(y[:, order]))
    torch.testing.assert_close(moved, m[order][:, order])
    torch.testing.assert_close(
        ml_gcn_adjacency(moved, 0.3), ml_gcn_adjacency(m, 0.3)[order][:, order], rtol=0, atol=1e-6
    )


def test_a_share_below_zero_is_refused() -> None:
    with pytest.raises(LabelwiseError) as error:
        ml_gcn_adjacency(torch.eye(2), share=-0.1)
    assert str(error.value) == "share -0.1; expected a number >= 0; correct the graph's share"
