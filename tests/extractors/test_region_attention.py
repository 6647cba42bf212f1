"""MCAR's regions against loops written from their description."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from labelwise.errors import LabelwiseError
from labelwise.extractors import RegionAttention

CLOSE = {"rtol": 0, "atol": 1e-9}


def make(channels: int = 4, labels: int = 6, **options: Any) -> RegionAttention:
    """A module in float64 without dropout."""
    options = {"map_dropout": 0.0, "normalise": "none", **options}
    module = RegionAttention(channels, labels, **options).double()
    with torch.no_grad():
        module.weight.normal_()
        module.bias.normal_()
    return module


def a_map(channels: int = 4, h: int = 4, w: int = 6, batch: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, channels, h, w, generator=generator, dtype=torch.float64)


def run_around_peak(profile: list[float], threshold: float) -> range:
    """Indices next to the peak, on both sides, as long as the profile stays high."""
    peak = profile.index(max(profile))
    first = last = peak
    while first > 0 and profile[first - 1] >= threshold * profile[peak]:
        first -= 1
    while last + 1 < len(profile) and profile[last + 1] >= threshold * profile[peak]:
        last += 1
    return range(first, last + 1)


def slow(module: RegionAttention, x: Tensor) -> tuple[Tensor, Tensor, list[list[set[tuple[int, int]]]]]:
    """Logits `[B, 1 + K, L]`, pooled features `[B, 1 + K, C]`, and the places of each region."""
    h, w = x.shape[2:]
    everything = {(i, j) for i in range(h) for j in range(w)}
    logits, pooled, boxes = [], [], []
    for image in x:

        def score(places: set[tuple[int, int]], image: Tensor = image) -> tuple[Tensor, Tensor]:
            tokens = torch.stack([image[:, i, j] for i, j in sorted(places)])
            v = tokens.mean(0) if module.pool == "mean" else tokens.amax(0)
            v = v / v.square().mean().sqrt()
            return module.weight @ v + module.bias, v

        z, _ = score(everything)
        regions = [everything]
        for label in sorted(range(len(z)), key=lambda k, z=z: -float(z[k]))[: module.regions]:
            cam = [
                [max(0.0, float(module.weight[label] @ image[:, i, j])) for j in range(w)] for i in range(h)
            ]
            rows = run_around_peak([max(row) for row in cam], module.threshold)
            columns = run_around_peak([max(row[j] for row in cam) for j in range(w)], module.threshold)
            regions.append({(i, j) for i in rows for j in columns})
        scored = [score(region) for region in regions]
        logits.append(torch.stack([z for z, _ in scored]))
        pooled.append(torch.stack([v for _, v in scored]))
        boxes.append(regions)
    return torch.stack(logits), torch.stack(pooled), boxes


@torch.no_grad()
@pytest.mark.parametrize(
    "options", [{}, {"pool": "max"}, {"regions": 2, "threshold": 0.8}, {"regions": 9}], ids=str
)
def test_equals_the_description(options: dict, seeded: torch.Generator) -> None:
    module, x = make(**options), a_map()
    logits, pooled, boxes = slow(module, x)
    output = module(x, want_maps=True)
    best, winner = logits.max(1)
    assert (winner > 0).any()
    torch.testing.assert_close(output.logits, best, **CLOSE)
    torch.testing.assert_close(output.branches["whole"], logits[:, 0], **CLOSE)
    torch.testing.assert_close(output.branches["regions"], logits[:, 1:].amax(1), **CLOSE)
    for b in range(len(x)):
        for label in range(6):
            k = int(winner[b, label])
            torch.testing.assert_close(output.features[b, label], pooled[b, k], **CLOSE)
            seen = {(int(i), int(j)) for i, j in output.maps[b, label].nonzero()}
            assert seen == boxes[b][k]


@torch.no_grad()
def test_features_give_the_logits_again(seeded: torch.Generator) -> None:
    module, x = make(), a_map()
    output = module(x)
    again = (output.features * module.weight).sum(2) + module.bias
    torch.testing.assert_close(output.logits, again, **CLOSE)


@torch.no_grad()
def test_an_object_is_cut_out_of_the_map() -> None:
    """3 on two places, 2 next to them, 1 elsewhere: the region holds 3 and 2, its mean is 2.5 beside a 1."""
    module = make(channels=2, labels=1)
    module.weight.copy_(torch.tensor([[1.0, 0.0]]))
    module.bias.zero_()
    x = torch.ones(1, 2, 4, 5).double()
    x[0, 0, 1, 1:3] = 3
    x[0, 0, 2, 1:3] = 2
    output = module(x, want_maps=True)
    assert output.logits.item() == pytest.approx(2.5 / math.sqrt((2.5**2 + 1) / 2))
    seen = output.maps[0, 0] > 0
    assert seen.nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert output.maps[0, 0, 1, 1] > output.maps[0, 0, 2, 1]


@torch.no_grad()
def test_a_second_object_far_away_is_not_joined() -> None:
    module = make(channels=2, labels=1)
    module.weight.copy_(torch.tensor([[1.0, 0.0]]))
    x = torch.zeros(1, 2, 1, 7).double()
    x[0, 1], x[0, 0, 0, 1], x[0, 0, 0, 5] = 1, 3, 2
    assert (module(x, want_maps=True).maps[0, 0, 0] > 0).nonzero().flatten().tolist() == [1]


@torch.no_grad()
def test_a_label_that_stands_out_nowhere_has_the_whole_map() -> None:
    module = make(channels=1, labels=1)
    module.weight.fill_(1.0)
    x = -torch.rand(2, 1, 3, 3).double() - 1
    torch.testing.assert_close(module(x).branches["regions"], module(x).branches["whole"])


@torch.no_grad()
def test_a_region_never_lowers_a_logit(seeded: torch.Generator) -> None:
    module, x = make(), a_map()
    output = module(x)
    torch.testing.assert_close(
        output.logits, torch.maximum(output.branches["whole"], output.branches["regions"]), rtol=0, atol=0
    )


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_gradients_are_the_derivative(pool: str, seeded: torch.Generator) -> None:
    """The choice of regions carries none, so the derivative holds where the regions stay as they are."""
    module = make(labels=3, pool=pool, normalise="rms")
    x = a_map(h=2, w=3, batch=2).requires_grad_()
    parameters = (x, module.weight, module.bias)
    assert torch.autograd.gradcheck(lambda *_: module(x).features, parameters[:1], fast_mode=True)
    module(x).logits.sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in parameters)


@torch.no_grad()
@pytest.mark.parametrize(("batch", "labels", "h", "w"), [(1, 1, 1, 1), (1, 3, 1, 1), (2, 1, 3, 1)])
def test_smallest_sizes(batch: int, labels: int, h: int, w: int, seeded: torch.Generator) -> None:
    module, x = make(labels=labels), a_map(h=h, w=w, batch=batch)
    logits, _, _ = slow(module, x)
    torch.testing.assert_close(module(x).logits, logits.amax(1), **CLOSE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_stay_finite_on_large_maps(dtype: torch.dtype, seeded: torch.Generator) -> None:
    module = RegionAttention(16, 5, map_dropout=0.0).to(dtype)
    x = (1e3 * a_map(16, 4, 4)).to(dtype).requires_grad_()
    out = module(x, want_maps=True)
    (out.logits.mean() + out.branches["regions"].mean()).backward()
    assert out.logits.dtype == torch.float32
    assert out.logits.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"regions": 0}, "extractor.regions=0; expected a whole number from 1; correct the option"),
        (
            {"threshold": 0.0},
            "extractor.threshold=0.0; expected a number above 0 and up to 1; correct the option",
        ),
    ],
)
def test_bad_options_are_refused(options: dict, says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        RegionAttention(4, 3, **options)
    assert str(error.value) == says
