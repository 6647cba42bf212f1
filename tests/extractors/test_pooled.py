"""Pooled baselines: one vector for every label."""

from __future__ import annotations

import math

import pytest
import torch

from labelwise.extractors import Pooled


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_equals_a_loop_over_locations(pool: str, seeded: torch.Generator) -> None:
    x = torch.randn(2, 4, 3, 5, generator=seeded)
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


def test_features_of_many_labels_cost_no_memory(seeded: torch.Generator) -> None:
    features = Pooled(4, 2000)(torch.rand(2, 4, 3, 5)).features
    assert features.shape == (2, 2000, 4)
    assert features.untyped_storage().nbytes() == 2 * 4 * 4


def test_maps_are_uniform_and_on_request() -> None:
    module, x = Pooled(4, 3), torch.rand(2, 4, 3, 5)
    assert module(x).maps is None
    torch.testing.assert_close(module(x, want_maps=True).maps, torch.full((2, 3, 3, 5), 1 / 15))


def test_one_recipe_serves_maps_of_any_scale(seeded: torch.Generator) -> None:
    module, x = Pooled(4, 3), torch.randn(2, 4, 3, 5, generator=seeded)
    torch.testing.assert_close(module(1000 * x).features, module(x).features)


def test_dropout_acts_in_training_alone(seeded: torch.Generator) -> None:
    module, x = Pooled(4, 3, hidden=32, dropout=0.5), torch.rand(1, 4, 3, 5)
    assert (module(x).features == 0).any()
    assert not (module.eval()(x).features == 0).any()
