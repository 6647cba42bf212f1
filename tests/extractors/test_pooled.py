"""Pooled baselines: one vector for every label."""

from __future__ import annotations

import math

import pytest
import torch

from labelwise.extractors import Pooled


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_equals_a_loop_over_locations(pool: str, seeded: torch.Generator) -> None:
    x = torch.randn(2, 4, 3, 5, generator=seeded, dtype=torch.float64)
    features = Pooled(4, 3, pool=pool, normalise="none")(x).features
    for b in range(2):
        for c in range(4):
            seen = [x[b, c, i, j].item() for i in range(3) for j in range(5)]
            expected = sum(seen) / 15 if pool == "mean" else max(seen)
            assert features[b, :, c].tolist() == pytest.approx([expected] * 3, abs=1e-6)


def test_hidden_layer_equals_its_equation(seeded: torch.Generator) -> None:
    module = Pooled(4, 3, hidden=6, dropout=0.5, normalise="none").eval()
    x = torch.randn(2, 4, 3, 5, generator=seeded)
    assert module.dim == 6
    linear = module.hidden[0]
    for b, image in enumerate(x):
        v = linear.weight @ image.flatten(1).mean(1) + linear.bias
        expected = v * (1 + torch.erf(v / math.sqrt(2))) / 2
        torch.testing.assert_close(module(x).features[b], expected.expand(3, -1))


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_a_hidden_layer_per_place_is_pooled(pool: str, seeded: torch.Generator) -> None:
    module = Pooled(4, 3, pool=pool, hidden=6, per_place=True, dropout=0.5, normalise="none").eval()
    x = torch.randn(2, 4, 3, 5, generator=seeded)
    linear = module.hidden[0]
    for b, image in enumerate(x):
        seen = [linear.weight @ image[:, i, j] + linear.bias for i in range(3) for j in range(5)]
        curved = torch.stack([v * (1 + torch.erf(v / math.sqrt(2))) / 2 for v in seen])
        expected = curved.sum(0) / 15 if pool == "mean" else curved.max(0).values
        torch.testing.assert_close(module(x).features[b], expected.expand(3, -1))
        torch.testing.assert_close(module.places(x)[b], curved)


def test_features_of_many_labels_cost_no_memory(seeded: torch.Generator) -> None:
    features = Pooled(4, 2000)(torch.rand(2, 4, 3, 5)).features
    assert features.shape == (2, 2000, 4)
    assert features.untyped_storage().nbytes() == 2 * 4 * 4


@pytest.mark.parametrize("hidden", [0, 6])
def test_places_are_what_each_location_would_give_alone(hidden: int, seeded: torch.Generator) -> None:
    module, x = (
        Pooled(4, 3, hidden=hidden, normalise="none").eval(),
        torch.randn(2, 4, 3, 5, generator=seeded),
    )
    assert module(x, want_maps=True).maps is None
    places = module.places(x)
    assert places.shape == (2, 15, module.dim)
    for p in range(15):
        alone = module(x[:, :, p // 5 : p // 5 + 1, p % 5 : p % 5 + 1]).features[:, 0]
        torch.testing.assert_close(places[:, p], alone)


def test_places_keep_the_scale_of_the_whole_map(seeded: torch.Generator) -> None:
    module, x = Pooled(4, 3), torch.randn(2, 4, 3, 5, generator=seeded)
    torch.testing.assert_close(module.places(x).mean(1), module(x).features[:, 0])


def test_one_recipe_serves_maps_of_any_scale(seeded: torch.Generator) -> None:
    module, x = Pooled(4, 3), torch.randn(2, 4, 3, 5, generator=seeded)
    torch.testing.assert_close(module(1000 * x).features, module(x).features)


def test_dropout_acts_in_training_alone(seeded: torch.Generator) -> None:
    for per_place in (False, True):
        module, x = Pooled(4, 3, hidden=32, per_place=per_place, dropout=0.5), torch.rand(1, 4, 3, 5)
        assert (module(x).features == 0).any()
        assert not (module.eval()(x).features == 0).any()
