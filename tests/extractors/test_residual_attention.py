"""CSRA against loops written from its equations."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from labelwise.errors import LabelwiseError
from labelwise.extractors import ResidualAttention

CLOSE = {"rtol": 0, "atol": 1e-9}


def make(channels: int = 4, labels: int = 3, **options: Any) -> ResidualAttention:
    """A module in float64 without dropout, whose weights are far from length 1."""
    options = {"map_dropout": 0.0, "normalise": "none", **options}
    module = ResidualAttention(channels, labels, **options).double()
    with torch.no_grad():
        module.weight.normal_(0, 3)
    return module


def a_map(channels: int = 4, h: int = 2, w: int = 3, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, channels, h, w, generator=generator, dtype=torch.float64)


def slow(module: ResidualAttention, x: Tensor, temperatures: list[int]) -> tuple[Tensor, Tensor]:
    """Logits and features by loops over images, labels, heads and places."""
    logits, features = [], []
    for image in x:
        tokens = list(image.flatten(1).T)
        mean = sum(tokens) / len(tokens)
        for label in range(module.num_labels):
            z, f = 0.0, []
            for head, temperature in enumerate(temperatures):
                w = module.weight[head, label]
                unit = w / math.sqrt(sum(float(v) ** 2 for v in w))
                s = [float(unit @ t) for t in tokens]
                if temperature == 99:
                    a = [float(v == max(s)) for v in s]
                else:
                    e = [math.exp(temperature * v) for v in s]
                    a = [v / sum(e) for v in e]
                attended = sum(p * v for p, v in zip(a, s, strict=True))
                z += sum(s) / len(s) + module.lam * attended
                f.append(mean + module.lam * sum(p * t for p, t in zip(a, tokens, strict=True)))
            logits.append(z)
            features.append(torch.cat(f))
    shape = (len(x), module.num_labels)
    return torch.tensor(logits, dtype=torch.float64).view(shape), torch.stack(features).unflatten(0, shape)


TABLES = [
    (1, [1]),
    (2, [1, 99]),
    (4, [1, 2, 4, 99]),
    (6, [1, 2, 3, 4, 5, 99]),
    (8, [1, 2, 3, 4, 5, 6, 7, 99]),
]


@torch.no_grad()
@pytest.mark.parametrize(("heads", "temperatures"), TABLES)
def test_equals_the_equations(heads: int, temperatures: list[int], seeded: torch.Generator) -> None:
    module, x = make(heads=heads, lam=0.4), a_map()
    logits, features = slow(module, x, temperatures)
    output = module(x)
    assert output.maps is None
    assert module.dim == heads * 4
    torch.testing.assert_close(output.features, features, **CLOSE)
    torch.testing.assert_close(output.logits, logits, **CLOSE)


@torch.no_grad()
def test_unit_weights_read_the_logits_from_the_features(seeded: torch.Generator) -> None:
    module, x = make(heads=4), a_map()
    output = module(x)
    units = torch.nn.functional.normalize(module.weight, dim=2).transpose(0, 1).flatten(1)
    torch.testing.assert_close(output.logits, (output.features * units).sum(2), **CLOSE)


@torch.no_grad()
def test_without_a_residual_it_is_a_pooled_linear_classifier(seeded: torch.Generator) -> None:
    module, x = make(lam=0.0), a_map()
    pooled = x.mean((2, 3)) @ torch.nn.functional.normalize(module.weight[0], dim=1).T
    torch.testing.assert_close(module(x).logits, pooled, **CLOSE)


@torch.no_grad()
def test_one_place_makes_every_temperature_equal(seeded: torch.Generator) -> None:
    module, x = make(heads=8), a_map(h=1, w=1)
    module.weight.copy_(module.weight[:1].expand_as(module.weight))
    parts = module(x).features.unflatten(2, (8, 4))
    torch.testing.assert_close(parts, parts[:, :, :1].expand_as(parts), **CLOSE)


@torch.no_grad()
def test_the_highest_temperature_is_its_limit(seeded: torch.Generator) -> None:
    """Scores 3 and 1: a softmax of temperature 99 differs from the maximum by less than a thousandth."""
    module = make(channels=1, labels=1, heads=2, lam=1.0)
    module.weight.fill_(1.0)
    x = torch.tensor([[[[3.0, 1.0]]]]).double()
    sharp = sum(math.exp(99 * (v - 3)) * v for v in (3, 1)) / (1 + math.exp(-99 * 2))
    assert module(x).features[0, 0, 1].item() == pytest.approx(2 + sharp, abs=1e-3)
    assert module(x).features[0, 0].tolist() == pytest.approx(
        [2 + (3 * math.e**2 + 1) / (math.e**2 + 1), 5.0], abs=1e-9
    )


@torch.no_grad()
def test_length_of_a_weight_changes_nothing(seeded: torch.Generator) -> None:
    module, x = make(heads=2), a_map()
    before = module(x).logits
    module.weight.mul_(7)
    torch.testing.assert_close(module(x).logits, before)


@torch.no_grad()
def test_maps_are_the_attention_of_one_head(seeded: torch.Generator) -> None:
    module, x = make(), a_map(h=3, w=5)
    maps = module(x, want_maps=True).maps
    scores = torch.einsum(
        "lc,bchw->blhw", module.weight[0] / module.weight[0].norm(dim=1, keepdim=True), x
    ).exp()
    torch.testing.assert_close(maps.double(), scores / scores.sum((2, 3), keepdim=True), rtol=0, atol=1e-6)


@pytest.mark.parametrize("heads", [1, 2])
def test_gradients_are_the_derivative(heads: int, seeded: torch.Generator) -> None:
    module = make(heads=heads, normalise="rms")
    x = a_map().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, _: module(x).features, (x, module.weight), fast_mode=True)
    module.train()
    module(x).logits.sum().backward()
    assert module.weight.grad is not None
    assert module.weight.grad.flatten(2).any(2).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_stay_finite_on_large_maps(dtype: torch.dtype, seeded: torch.Generator) -> None:
    module = ResidualAttention(16, 5, heads=4, map_dropout=0.0).to(dtype)
    x = (1e3 * a_map(16, 4, 4)).to(dtype).requires_grad_()
    out = module(x, want_maps=True)
    (out.logits.mean() + out.features.float().mean()).backward()
    assert out.logits.dtype == torch.float32
    assert out.logits.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_dropout_acts_in_training_alone(seeded: torch.Generator) -> None:
    module, x = ResidualAttention(4, 3, map_dropout=0.5), a_map().float()
    assert not torch.equal(module(x).logits, module(x).logits)
    module.eval()
    assert torch.equal(module(x).logits, module(x).logits)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"heads": 3}, "heads 3; expected one of 1, 2, 4, 6, 8; correct extractor.heads"),
        ({"lam": -0.1}, "extractor.lam=-0.1; expected a number from 0; correct the option"),
        ({"lam": math.nan}, "extractor.lam=nan; expected a number from 0; correct the option"),
    ],
)
def test_bad_options_are_refused(options: dict, says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        ResidualAttention(4, 3, **options)
    assert str(error.value) == says
