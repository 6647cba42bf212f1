"""Class activation against loops written from its equations, in both orders of its arithmetic."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from labelwise.extractors import ClassActivation
from largest_tensor import LargestTensor

CLOSE = {"rtol": 0, "atol": 1e-9}
FEW, MANY = 2, 9  # labels: with two of them their gathered tokens are projected, with nine every location is


def make(labels: int = FEW, **options: Any) -> ClassActivation:
    """A module in float64 without dropout, whose maps are far from uniform."""
    off = {"dropout": 0.0, "map_dropout": 0.0, "normalise": "none"}
    module = ClassActivation(6, labels, **{"dim": 5, **off, **options}).double()
    with torch.no_grad():
        for p in module.parameters():
            p.normal_()
    return module


def a_map(h: int = 2, w: int = 5, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 6, h, w, generator=generator, dtype=torch.float64)


def slow(module: ClassActivation, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Features, logits and maps by loops over images, labels and locations."""
    h, w = x.shape[2:]
    features, logits, maps = [], [], []
    for image in x:
        tokens = [image[:, place // w, place % w] for place in range(h * w)]
        for label in range(module.num_labels):
            m = [(module.score.weight[label] @ token + module.score.bias[label]).item() for token in tokens]
            if module.softmax:
                a = [math.exp(v) / sum(map(math.exp, m)) for v in m]
            else:
                a = [1 / (1 + math.exp(-v)) / len(m) for v in m]
            values = [module.value.weight @ token + module.value.bias for token in tokens]
            features.append(sum(weight * v for weight, v in zip(a, values, strict=True)))
            logits.append(max(m) if module.strongest else sum(m) / len(m))
            maps.append([weight / sum(a) for weight in a])
    shape = len(x), module.num_labels
    shaped = torch.tensor(maps, dtype=x.dtype).view(*shape, h, w)
    return torch.stack(features).unflatten(0, shape), torch.tensor(logits, dtype=x.dtype).view(shape), shaped  # type: ignore[arg-type]


def test_the_sizes_choose_both_orders() -> None:
    assert make(FEW)._after(10, 6)
    assert not make(MANY)._after(10, 6)


@torch.no_grad()
@pytest.mark.parametrize("labels", [FEW, MANY])
@pytest.mark.parametrize(
    "options",
    [{}, {"activation": "sigmoid"}, {"chunk": 4}, {"own_logit": "max", "chunk": 4}],
    ids=str,
)
def test_loops_over_locations(labels: int, options: dict[str, Any], seeded: torch.Generator) -> None:
    module, x = make(labels, **options), a_map()
    features, logits, maps = slow(module, x)
    out = module(x, want_maps=True)
    torch.testing.assert_close(out.features, features, **CLOSE)
    torch.testing.assert_close(out.logits, logits, **CLOSE)
    torch.testing.assert_close(out.maps, maps.float(), rtol=0, atol=1e-6)
    assert module(x).maps is None
    torch.testing.assert_close(module(x).features, features, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("chunk", [1, 2, 9, 20])
def test_chunks_give_the_same_numbers(activation: str, chunk: int, seeded: torch.Generator) -> None:
    module, x = make(MANY, activation=activation), a_map()
    whole = module(x, want_maps=True)
    module.chunk = chunk
    parts = module(x, want_maps=True)
    for what in ("features", "logits", "maps"):
        torch.testing.assert_close(getattr(parts, what), getattr(whole, what), **CLOSE)


@torch.no_grad()
def test_the_size_of_the_map_does_not_count(seeded: torch.Generator) -> None:
    x = a_map()
    larger = x.repeat_interleave(2, 2).repeat_interleave(3, 3)
    for activation in ("softmax", "sigmoid"):
        module = make(activation=activation)
        torch.testing.assert_close(module(larger).features, module(x).features, **CLOSE)
        torch.testing.assert_close(module(larger).logits, module(x).logits, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_maps_are_distributions_over_locations(
    activation: str, scale: float, seeded: torch.Generator
) -> None:
    module = make(5, activation=activation)
    module.score.bias.fill_(-200 * scale)  # every sigmoid rounds to 0 in fp32
    maps = module(scale * a_map(7, 3), want_maps=True).maps
    assert maps.dtype == torch.float32
    assert (maps >= 0).all()
    torch.testing.assert_close(maps.sum((2, 3)), torch.ones(2, 5))


@pytest.mark.parametrize("labels", [1, MANY])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_gradients_are_the_derivative(labels: int, activation: str, seeded: torch.Generator) -> None:
    module, x = make(labels, activation=activation, normalise="rms"), a_map(2, 3).requires_grad_()

    def both(x: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        out = module(x)
        return out.features, out.logits

    assert torch.autograd.gradcheck(both, (x, *module.parameters()), fast_mode=True)


@pytest.mark.parametrize(("batch", "labels", "h", "w"), [(1, 1, 1, 1), (1, 3, 1, 1), (2, 1, 3, 1)])
def test_smallest_sizes(batch: int, labels: int, h: int, w: int, seeded: torch.Generator) -> None:
    module, x = make(labels), a_map(h, w, batch)
    torch.testing.assert_close(module(x).features, slow(module, x)[0], **CLOSE)


@pytest.mark.parametrize("labels", [1, MANY])
def test_every_parameter_is_used(labels: int, seeded: torch.Generator) -> None:
    module = make(labels)
    out = module(a_map())
    (out.features.square().sum() + out.logits.sum()).backward()
    assert [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("labels", [1, 40])
def test_halves_stay_finite_on_large_maps(
    dtype: torch.dtype, activation: str, labels: int, seeded: torch.Generator
) -> None:
    module = ClassActivation(16, labels, dim=16, activation=activation).eval().to(dtype)
    x = (1e3 * torch.randn(2, 16, 4, 4)).to(dtype).requires_grad_()
    out = module(x, want_maps=True)
    (out.features.float().mean() + out.logits.float().mean()).backward()
    assert out.features.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_memory_is_linear_in_labels(activation: str) -> None:
    batch, labels, side, dim, channels = 2, 2000, 7, 16, 24
    module = ClassActivation(channels, labels, dim=dim, activation=activation)
    x = torch.randn(batch, channels, side, side)
    with LargestTensor() as seen:
        out = module(x, want_maps=True)
        (out.features.sum() + out.logits.sum()).backward()
    assert 0 < seen.elements <= batch * labels * max(side * side, dim, channels)
