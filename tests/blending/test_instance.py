"""Blending between images against a loop written from its rule."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from labelwise.blending import blend_instances
from labelwise.types import Targets


def a_batch(
    generator: torch.Generator, batch: int = 5, labels: int = 4, dim: int = 3, known: float = 0.5
) -> tuple[Tensor, Targets]:
    features = torch.randn(batch, labels, dim, generator=generator, dtype=torch.float64)
    values = torch.randint(0, 2, (batch, labels), generator=generator).double()
    return features, Targets(values, torch.rand(batch, labels, generator=generator) < known)


def slow(features: Tensor, targets: Targets, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    f, y, k = features.clone(), targets.values.clone(), targets.known.clone()
    for i in range(len(f)):
        m = len(f) - 1 - i
        for label in range(f.shape[1]):
            if not targets.known[i, label] and targets.known[m, label] and targets.values[m, label] == 1:
                f[i, label] = alpha * features[i, label] + (1 - alpha) * features[m, label]
                y[i, label], k[i, label] = 1 - alpha, True
    return f, y, k


@pytest.mark.parametrize("batch", [1, 2, 5, 8])
def test_it_is_the_loop(batch: int, seeded: torch.Generator) -> None:
    changed = 0
    for _ in range(20):
        features, targets = a_batch(seeded, batch)
        f, t = blend_instances(features, targets, torch.tensor(0.3, dtype=torch.float64))
        expected = slow(features, targets, 0.3)
        for actual, wanted in zip((f, t.values, t.known), expected, strict=True):
            torch.testing.assert_close(actual, wanted, rtol=0, atol=1e-12)
        changed += int((t.known & ~targets.known).sum())
    assert bool(changed) is (batch > 1)


def test_a_thousand_batches_keep_every_known_cell(seeded: torch.Generator) -> None:
    for i in range(1000):
        features, targets = a_batch(seeded, 1 + i % 4, known=(0.1, 0.5, 0.9, 1.0)[i // 4 % 4])
        f, t = blend_instances(features, targets, torch.tensor(0.25))
        assert torch.equal(f[targets.known], features[targets.known])
        assert torch.equal(t.values[targets.known], targets.values[targets.known])
        assert t.known[targets.known].all()


def test_who_is_its_own_partner_stays_as_it_is(seeded: torch.Generator) -> None:
    features, targets = a_batch(seeded, 5)
    targets.values[:], targets.known[2] = 1, torch.tensor([True, False, True, False])
    f, t = blend_instances(features, targets, torch.tensor(0.25))
    assert torch.equal(f[2], features[2])
    assert torch.equal(t.known[2], targets.known[2])


def test_a_partner_without_known_positives_changes_nothing(seeded: torch.Generator) -> None:
    features, targets = a_batch(seeded)
    targets.values[targets.known] = 0
    targets.values[~targets.known] = 1
    f, t = blend_instances(features, targets, torch.tensor(0.25))
    assert torch.equal(f, features)
    assert torch.equal(t.known, targets.known)


def test_an_own_share_of_one_gives_the_features_back(seeded: torch.Generator) -> None:
    features, targets = a_batch(seeded)
    f, t = blend_instances(features, targets, torch.tensor(1.0))
    assert torch.equal(f, features)
    assert (t.values[t.known & ~targets.known] == 0).all()


def test_blending_pooled_features_is_pooling_blended_maps(seeded: torch.Generator) -> None:
    _, targets = a_batch(seeded, 6)
    maps = torch.randn(6, 4, 3, 2, 5, generator=seeded, dtype=torch.float64)  # B L D h w
    alpha = torch.tensor(0.37, dtype=torch.float64)
    pooled, _ = blend_instances(maps.sum((3, 4)), targets, alpha)
    blended, _ = blend_instances(maps.flatten(2), targets, alpha)
    torch.testing.assert_close(blended.view_as(maps).sum((3, 4)), pooled, rtol=0, atol=1e-10)


def test_gradients_reach_features_of_both_images_and_the_share(seeded: torch.Generator) -> None:
    features, targets = a_batch(seeded, 3)
    features.requires_grad_()
    alpha = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)

    def blend(f: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        mixed, t = blend_instances(f, targets, a)
        return mixed, t.values

    assert torch.autograd.gradcheck(blend, (features, alpha))
