"""Blending with prototypes: which label, which prototype, and what becomes of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from labelwise.blending import blend_prototypes
from labelwise.types import Targets

LABELS, DIM = 5, 3


def a_batch(generator: torch.Generator, batch: int = 6, known: float = 0.5) -> tuple[Tensor, Targets, Tensor]:
    features = torch.randn(batch, LABELS, DIM, generator=generator, dtype=torch.float64)
    values = torch.randint(0, 2, (batch, LABELS), generator=generator).double()
    quadrants = torch.randint(0, 4, (batch, LABELS), generator=generator)
    return features, Targets(values, torch.rand(batch, LABELS, generator=generator) < known), quadrants


def a_bank(generator: torch.Generator, size: int = 4) -> tuple[Tensor, Tensor]:
    prototypes = torch.randn(LABELS, size, DIM, generator=generator, dtype=torch.float64)
    return prototypes, torch.ones(LABELS, size, dtype=torch.float64)


@pytest.mark.parametrize("top_k", [1, 2, 9])
@pytest.mark.parametrize("by_quadrant", [True, False])
def test_each_image_gets_random_unknown_labels_mixed(
    top_k: int, by_quadrant: bool, seeded: torch.Generator
) -> None:
    prototypes, counts = a_bank(seeded, 4 if by_quadrant else 6)
    beta = torch.tensor(0.3, dtype=torch.float64)
    for _ in range(50):
        features, targets, quadrants = a_batch(seeded)
        own = quadrants if by_quadrant else None
        f, t = blend_prototypes(features, targets, prototypes, counts, beta, own, top_k)
        changed = t.known & ~targets.known
        unknown = (~targets.known).sum(1)
        assert changed.sum(1).tolist() == unknown.clamp(max=top_k).tolist()
        assert torch.equal(f[~changed], features[~changed])
        assert torch.equal(t.values[~changed], targets.values[~changed])
        assert torch.equal(t.values[changed], torch.full_like(t.values[changed], 0.7))
        for i, c in changed.nonzero().tolist():
            candidates = 0.3 * features[i, c] + 0.7 * prototypes[c]
            (which,) = ((candidates - f[i, c]).abs().amax(1) < 1e-12).nonzero().flatten().tolist()
            assert not by_quadrant or which != quadrants[i, c]


def test_a_thousand_batches_keep_every_known_cell(seeded: torch.Generator) -> None:
    prototypes, counts = a_bank(seeded)
    for i in range(1000):
        features, targets, quadrants = a_batch(seeded, 1 + i % 4, (0.1, 0.5, 0.9, 1.0)[i // 4 % 4])
        f, t = blend_prototypes(features, targets, prototypes, counts, torch.tensor(0.2), quadrants)
        assert torch.equal(f[targets.known], features[targets.known])
        assert torch.equal(t.values[targets.known], targets.values[targets.known])
        assert t.known[targets.known].all()
        full = targets.known.all(1)
        assert torch.equal(f[full], features[full])


def shares(picks: Tensor, size: int) -> Tensor:
    return torch.bincount(picks, minlength=size) / len(picks)


def test_labels_and_prototypes_are_drawn_evenly(seeded: torch.Generator) -> None:
    rows = 6000
    targets = Targets(
        torch.zeros(rows, LABELS), torch.tensor([True, False, False, True, False]).repeat(rows, 1)
    )
    prototypes = torch.arange(4.0).view(1, 4, 1).expand(LABELS, 4, 1)
    quadrants = torch.full((rows, LABELS), 2)
    f, t = blend_prototypes(
        torch.full((rows, LABELS, 1), -1.0),
        targets,
        prototypes,
        torch.ones(LABELS, 4),
        torch.tensor(0.0),
        quadrants,
    )
    changed = t.known & ~targets.known
    labels = shares(changed.nonzero()[:, 1], LABELS)
    torch.testing.assert_close(labels, torch.tensor([0, 1, 1, 0, 1]) / 3, rtol=0, atol=0.025)
    torch.testing.assert_close(
        shares(f[changed].flatten().long(), 4), torch.tensor([1, 1, 0, 1]) / 3, rtol=0, atol=0.025
    )


def test_only_prototypes_made_of_something_are_drawn(seeded: torch.Generator) -> None:
    rows = 3000
    counts = torch.zeros(LABELS, 6)
    counts[1, :3], counts[4, 0] = 5, 1
    prototypes = torch.arange(6.0).view(1, 6, 1).expand(LABELS, 6, 1)
    nothing = Targets(torch.zeros(rows, LABELS), torch.zeros(rows, LABELS, dtype=torch.bool))
    nothing.known[:, 0] = True
    f, t = blend_prototypes(
        torch.zeros(rows, LABELS, 1), nothing, prototypes, counts, torch.tensor(0.0), None
    )
    changed = t.known & ~nothing.known
    assert changed.any(0).tolist() == [False, True, False, False, True]
    assert (f[changed[:, 4], 4] == 0).all()
    of_one = f[changed[:, 1], 1].flatten().long()
    torch.testing.assert_close(shares(of_one, 6), torch.tensor([1, 1, 1, 0, 0, 0]) / 3, rtol=0, atol=0.04)


@pytest.mark.parametrize("why", ["nothing known", "no prototypes", "all known"])
def test_where_nothing_is_to_be_mixed(why: str, seeded: torch.Generator) -> None:
    features, targets, quadrants = a_batch(seeded)
    prototypes, counts = a_bank(seeded)
    targets.known[:] = {"nothing known": False, "all known": True}.get(why, targets.known)
    counts = counts * (why != "no prototypes")
    beta = torch.tensor(0.5, requires_grad=True)
    f, t = blend_prototypes(features, targets, prototypes, counts, beta, quadrants)
    assert torch.equal(f, features)
    assert torch.equal(t.known, targets.known)
    f.sum().backward()
    assert beta.grad == 0


def test_an_own_share_of_one_gives_the_features_back(seeded: torch.Generator) -> None:
    features, targets, quadrants = a_batch(seeded)
    f, t = blend_prototypes(features, targets, *a_bank(seeded), torch.tensor(1.0), quadrants)
    torch.testing.assert_close(f, features, rtol=0, atol=0)
    assert (t.values[t.known & ~targets.known] == 0).all()


def test_an_unknown_cell_may_hold_anything(seeded: torch.Generator) -> None:
    features, targets, quadrants = a_batch(seeded)
    outcomes = []
    for filling in (0.0, float("nan")):
        targets.values[~targets.known] = filling
        torch.manual_seed(0)
        f, t = blend_prototypes(features, targets, *a_bank(torch.Generator()), torch.tensor(0.2), quadrants)
        outcomes.append((f, t.values[t.known], t.known))
    assert all(torch.equal(a, b) for a, b in zip(*outcomes, strict=True))
    assert outcomes[0][2].sum() > targets.known.sum()


def test_gradients_reach_features_and_share(seeded: torch.Generator) -> None:
    features, targets, quadrants = a_batch(seeded, 3)
    bank = a_bank(seeded)
    features.requires_grad_()
    beta = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)

    def blend(f: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        torch.manual_seed(3)
        mixed, t = blend_prototypes(f, targets, *bank, b, quadrants, 2)
        return mixed, t.values

    assert torch.autograd.gradcheck(blend, (features, beta))
