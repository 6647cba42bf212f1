"""Query attention against loops written from its equations, on every path that its sizes choose."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.errors import LabelwiseError
from labelwise.extractors import QueryAttention
from labelwise.types import LabelFeatures
from largest_tensor import LargestTensor

CLOSE, STD = {"rtol": 0, "atol": 1e-9}, 3.0


def make(channels: int = 6, labels: int = 3, **options: Any) -> QueryAttention:
    """A module in float64 without dropout, whose queries are large enough that maps are far from uniform."""
    off = {"dropout": 0.0, "map_dropout": 0.0, "normalise": "none"}
    options = {"dim": 8, "ffn": 5, "query_std": STD, **off, **options}
    module = QueryAttention(channels, labels, **options).double()
    with torch.no_grad():
        for name, p in module.named_parameters():
            if name.endswith("bias") or "norm" in name:
                p.normal_()
    return module


def a_map(channels: int = 6, h: int = 2, w: int = 5, batch: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, h, w, generator=generator, dtype=torch.float64)


def sine_code(h: int, w: int, dim: int) -> list[list[float]]:
    """Row sines, row cosines, column sines, column cosines, a quarter of the channels each."""
    quarter = dim // 4
    rates = [10_000 ** (-i / quarter) for i in range(quarter)]
    return [
        [f(at * rate) for at in (row, column) for f in (math.sin, math.cos) for rate in rates]
        for row in range(h)
        for column in range(w)
    ]


def slow(module: QueryAttention, x: Tensor, sine: bool = False) -> tuple[Tensor, Tensor]:
    """Features and maps by loops over images, labels, heads and locations."""
    h, w = x.shape[2:]
    places, width = h * w, module.dim // module.heads
    code = (
        torch.tensor(sine_code(h, w, module.dim), dtype=x.dtype) if sine else torch.zeros(places, module.dim)
    )
    features, maps = [], []
    for image in x:
        tokens = [image[:, place // w, place % w] for place in range(places)]
        mean = sum(tokens) / places
        for label in range(module.num_labels):
            q = module.queries[label]
            for s, step in enumerate(module.steps):
                key, value = module.key[s % len(module.key)], module.value[s % len(module.value)]
                query = step.query.weight @ (q if s == 0 else STD * q)
                gathered, seen = [], torch.zeros(places, dtype=x.dtype)
                for head in range(module.heads):
                    part = slice(head * width, (head + 1) * width)
                    scores = []
                    for place, token in enumerate(tokens):
                        k = (key.weight @ token + code[place])[part]
                        scores.append((query[part] @ k / math.sqrt(width)).exp())
                    a = [score / sum(scores) for score in scores]
                    values = [(value.weight @ token + value.bias)[part] for token in tokens]
                    gathered.append(sum(weight * v for weight, v in zip(a, values, strict=True)))
                    seen += torch.stack(a) / module.heads
                z = step.out.weight @ torch.cat(gathered) + step.out.bias
                if module.mean is not None:
                    z = z + module.mean.weight @ mean + module.mean.bias
                q = z if step.replace else layer_norm(q + z, step.norm)
                if step.ffn is not None:
                    inner, _, _, outer = step.ffn
                    hidden = inner.weight @ q + inner.bias
                    hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
                    q = layer_norm(q + outer.weight @ hidden + outer.bias, step.ffn_norm)
            features.append(q)
            maps.append(seen)
    shape = (len(x), module.num_labels)
    return torch.stack(features).unflatten(0, shape), torch.stack(maps).unflatten(0, shape).unflatten(
        2, (h, w)
    )


def layer_norm(v: Tensor, norm: nn.LayerNorm) -> Tensor:
    centred = v - v.mean()
    return centred / (centred.square().mean() + norm.eps).sqrt() * norm.weight + norm.bias


@contextmanager
def fused_calls() -> Iterator[mock.Mock]:
    """Counts the calls of the fused attention kernel."""
    with mock.patch.object(F, "scaled_dot_product_attention", wraps=F.scaled_dot_product_attention) as kernel:
        yield kernel


def is_folded(labels: int, heads: int, places: int, dim: int) -> bool:
    """Projecting few queries back to the map's channels is less arithmetic than projecting every location."""
    return labels * heads * (places + dim) < places * dim


OPTIONS = [
    {},
    {"heads": 4},
    {"steps": 2},
    {"steps": 3, "heads": 4, "share_kv": False},
    {"steps": 2, "update": "replace", "heads": 2},
    {"position": "sine"},
    {"position": "sine", "steps": 2, "heads": 4},
    {"ffn": 0, "mean_feature": False, "steps": 2},
]


@torch.no_grad()
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("labels", [1, 7, 12], ids=lambda labels: f"{labels} labels")
def test_equals_the_equations(options: dict, labels: int, seeded: torch.Generator) -> None:
    module, x = make(labels=labels, **options), a_map()
    features, maps = slow(module, x, sine=options.get("position") == "sine")
    folded = is_folded(labels, module.heads, 10, 8)
    with fused_calls() as kernel:
        quick = module(x)
    assert kernel.call_count == (0 if folded else len(module.steps))
    looked = module(x, want_maps=True)
    # The sine code itself is made in fp32.
    tolerance = 1e-6 if "position" in options else 1e-9
    for output in (quick, looked):
        torch.testing.assert_close(output.features, features, rtol=0, atol=tolerance)
    assert quick.maps is None
    assert looked.maps is not None
    torch.testing.assert_close(looked.maps.double(), maps, rtol=0, atol=1e-6)


@torch.no_grad()
def test_more_labels_than_sixteen_times_the_places(seeded: torch.Generator) -> None:
    module, x = make(labels=35, steps=2, dim=4, ffn=4), a_map(h=1, w=2)
    features, maps = slow(module, x)
    looked = module(x, want_maps=True)
    torch.testing.assert_close(module(x).features, features, rtol=0, atol=1e-9)
    torch.testing.assert_close(looked.features, features, rtol=0, atol=1e-9)
    torch.testing.assert_close(looked.maps.double(), maps, rtol=0, atol=1e-6)


def test_the_sizes_of_these_tests_take_every_path() -> None:
    assert is_folded(1, 1, 10, 8)
    assert is_folded(1, 4, 10, 8)
    assert not is_folded(7, 1, 10, 8)
    assert not is_folded(7, 4, 10, 8)


@torch.no_grad()
@pytest.mark.parametrize("chunk", [1, 2, 7, 9])
def test_chunks_give_the_same_numbers(chunk: int, seeded: torch.Generator) -> None:
    module, x = make(labels=7, steps=2, deep_supervision=True), a_map()
    whole = module(x, want_maps=True)
    module.chunk = chunk
    parts = module(x, want_maps=True)
    torch.testing.assert_close(parts.features, whole.features, **CLOSE)
    torch.testing.assert_close(parts.maps, whole.maps, rtol=0, atol=1e-6)
    torch.testing.assert_close(parts.earlier[0], whole.earlier[0], **CLOSE)
    torch.testing.assert_close(module(x).features, whole.features, **CLOSE)


@torch.no_grad()
def test_one_bare_step_is_softmax_pooling(seeded: torch.Generator) -> None:
    module, x = make(update="replace", ffn=0, mean_feature=False), a_map()
    tokens = x.flatten(2).transpose(1, 2)
    scores = module.steps[0].query(module.queries) @ module.key[0](tokens).transpose(1, 2) / math.sqrt(8)
    pooled = module.steps[0].out(scores.softmax(2) @ module.value[0](tokens))
    torch.testing.assert_close(module(x).features, pooled, **CLOSE)


@torch.no_grad()
def test_zero_queries_look_everywhere_alike(seeded: torch.Generator) -> None:
    module, x = make(), a_map()
    module.queries.zero_()
    maps = module(x, want_maps=True).maps
    torch.testing.assert_close(maps, torch.full_like(maps, 1 / 10))


@torch.no_grad()
def test_maps_are_distributions_over_locations(seeded: torch.Generator) -> None:
    maps = make(labels=5, heads=4, steps=2)(a_map(h=7, w=3), want_maps=True).maps
    assert maps.shape == (2, 5, 7, 3)
    assert (maps >= 0).all()
    torch.testing.assert_close(maps.sum((2, 3)), torch.ones(2, 5))


def test_earlier_steps_are_given_for_deep_supervision_alone(seeded: torch.Generator) -> None:
    module, x = make(steps=3, deep_supervision=True), a_map()
    out = module(x)
    one = make(steps=1)
    one.load_state_dict(module.state_dict(), strict=False)
    assert len(out.earlier) == 2
    torch.testing.assert_close(out.earlier[0], one(x).features, **CLOSE)
    assert make(steps=3)(x).earlier == ()


@pytest.mark.parametrize(("batch", "labels", "h", "w"), [(1, 1, 1, 1), (1, 3, 1, 1), (2, 1, 3, 1)])
def test_smallest_sizes(batch: int, labels: int, h: int, w: int, seeded: torch.Generator) -> None:
    module, x = make(labels=labels), a_map(h=h, w=w, batch=batch)
    features, _ = slow(module, x)
    torch.testing.assert_close(module(x).features, features, **CLOSE)


@pytest.mark.parametrize("labels", [1, 7, 12])
@pytest.mark.parametrize("want_maps", [False, True])
def test_gradients_are_the_derivative(labels: int, want_maps: bool, seeded: torch.Generator) -> None:
    module = QueryAttention(
        4, labels, dim=4, heads=2, steps=2, ffn=3, dropout=0.0, map_dropout=0.0, query_std=1.0
    ).double()
    x = a_map(channels=4, h=2, w=3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, _: module(x, want_maps).features, (x, module.queries), fast_mode=True
    )


@pytest.mark.parametrize("labels", [1, 7, 12])
def test_no_gradient_reaches_another_labels_query(labels: int, seeded: torch.Generator) -> None:
    module = make(labels=labels, steps=3)
    module(a_map()).features[:, 0].sum().backward()
    assert module.queries.grad is not None
    assert module.queries.grad.abs().sum(1).nonzero().flatten().tolist() == [0]


def test_every_learning_parameter_is_used_on_every_path(seeded: torch.Generator) -> None:
    for labels in (1, 7):
        module = make(labels=labels, steps=2, share_kv=False)
        module(a_map()).features.square().sum().backward()
        idle = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
        assert idle == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("labels", [1, 40, 400])
def test_halves_stay_finite_on_large_maps(dtype: torch.dtype, labels: int, seeded: torch.Generator) -> None:
    module = QueryAttention(16, labels, dim=16, ffn=16, dropout=0.0, map_dropout=0.0, heads=2).to(dtype)
    x = (1e3 * a_map(16, 4, 4)).to(dtype).requires_grad_()
    out: LabelFeatures = module(x, want_maps=True)
    (out.features.float().mean() + module(x).features.float().mean()).backward()
    assert out.features.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_dropout_acts_in_training_alone(seeded: torch.Generator) -> None:
    module, x = QueryAttention(6, 3, dim=8, ffn=5), a_map().float()
    assert not torch.equal(module(x).features, module(x).features)
    module.eval()
    assert torch.equal(module(x).features, module(x).features)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(LabelwiseError) as error:
        QueryAttention(6, 3, dim=8, heads=3)
    assert str(error.value) == "dim 8 with heads 3; expected dim a multiple of heads; correct extractor.heads"
    with pytest.raises(LabelwiseError, match=r"extractor\.heads=0; expected a whole number from 1"):
        QueryAttention(6, 3, dim=8, heads=0)


@pytest.mark.parametrize("want_maps", [False, True])
@pytest.mark.parametrize("steps", [1, 2])
def test_memory_is_linear_in_labels(want_maps: bool, steps: int) -> None:
    batch, labels, side, dim, channels = 2, 2000, 7, 16, 24
    module = QueryAttention(channels, labels, dim=dim, ffn=dim, steps=steps)
    x = torch.randn(batch, channels, side, side)
    with LargestTensor() as seen:
        module(x, want_maps).features.sum().backward()
    # A label may cost its map or its feature, never the product of both.
    assert 0 < seen.elements <= batch * labels * max(side * side, dim)
    assert seen.elements < batch * labels * side * side * dim / 10


def test_later_steps_look_nearly_everywhere_at_first(seeded: torch.Generator) -> None:
    """As the first does: with queries of unit size their attention would start on few places, and stay there."""
    x = 3 * a_map(channels=64, h=7, w=7).float()
    module = QueryAttention(64, 5, dim=64, ffn=64, steps=3, deep_supervision=True)
    for steps in (3, 2, 1):
        module.steps = module.steps[:steps]
        maps = module.eval()(x, want_maps=True).maps.flatten(2)
        assert -(maps * maps.log()).sum(2).min() > 0.99 * math.log(49), steps


@pytest.mark.parametrize("std", [0.0, -0.02, math.nan])
def test_queries_have_a_size(std: float) -> None:
    with pytest.raises(LabelwiseError, match=r"query_std=.*; expected a number above 0"):
        QueryAttention(6, 3, dim=8, query_std=std)
