"""The scale of maps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labelwise.extractors import MapNorm
from labelwise.extractors.normalise import batch_normed


def test_rms_divides_each_image_by_its_own_root_mean_square(seeded: torch.Generator) -> None:
    x = torch.randn(3, 4, 2, 5, generator=seeded) * torch.tensor([1.0, 10.0, 0.01]).view(3, 1, 1, 1)
    normed = MapNorm(4, "rms")(x)
    for image, scaled in zip(x, normed, strict=True):
        root = (sum(v * v for v in image.flatten().tolist()) / image.numel()) ** 0.5
        torch.testing.assert_close(scaled, image / root, rtol=1e-5, atol=1e-6)


def test_mean_gives_the_mean_feature_unit_scale(seeded: torch.Generator) -> None:
    x = torch.rand(3, 4, 2, 5, generator=seeded) * torch.tensor([1.0, 10.0, 0.01]).view(3, 1, 1, 1)
    normed = MapNorm(4, "mean")(x)
    for image, scaled in zip(x, normed, strict=True):
        means = [sum(channel.flatten().tolist()) / 10 for channel in image]
        root = (sum(m * m for m in means) / 4) ** 0.5
        torch.testing.assert_close(scaled, image / root, rtol=1e-5, atol=1e-6)


def test_mean_of_a_map_that_sums_to_nothing_is_bounded() -> None:
    x = torch.tensor([1.0, -1.0]).view(1, 1, 1, 2)
    torch.testing.assert_close(MapNorm(1, "mean")(x), 10 * MapNorm(1, "rms")(x))


def test_layer_standardises_the_channels_of_each_location(seeded: torch.Generator) -> None:
    x = 5 + 3 * torch.randn(2, 8, 2, 3, generator=seeded)
    expected = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(MapNorm(8, "layer")(x), expected)


def test_batch_standardises_channels_and_keeps_running_statistics(seeded: torch.Generator) -> None:
    norm = MapNorm(4, "batch").double()
    x = 5 + 3 * torch.randn(8, 4, 5, 5, generator=seeded, dtype=torch.float64)
    expected = (x - x.mean((0, 2, 3), keepdim=True)) / (
        x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5
    ).sqrt()
    torch.testing.assert_close(norm(x), expected)
    for _ in range(100):
        norm(x)
    alone = norm.eval()(x[:1])
    torch.testing.assert_close(alone, expected[:1], rtol=0, atol=0.02)


def test_none_changes_nothing() -> None:
    x = torch.rand(1, 2, 3, 3)
    assert MapNorm(2, "none")(x) is x


@pytest.mark.parametrize("kind", ["none", "mean", "rms", "layer", "batch"])
def test_nothing_is_learnt(kind: str) -> None:
    assert not list(MapNorm(4, kind).parameters())


@pytest.mark.parametrize("kind", ["mean", "rms", "layer"])
def test_an_empty_map_stays_finite(kind: str) -> None:
    x = torch.zeros(1, 4, 2, 2, requires_grad=True)
    out = MapNorm(4, kind)(x)
    out.sum().backward()
    assert not out.any()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@given(st.floats(1e-2, 1e4))
def test_half_precision_does_not_overflow(scale: float) -> None:
    x = scale * torch.tensor([1.0, -1.0, 2.0, 0.5]).view(1, 1, 2, 2)
    expected = MapNorm(1, "rms")(x)
    normed = MapNorm(1, "rms")(x.half())
    assert normed.dtype == torch.float16
    torch.testing.assert_close(normed.float(), expected, rtol=5e-3, atol=0)


@pytest.mark.parametrize("affine", [False, True])
def test_batch_norm_of_one_image_of_one_place_goes_by_its_running_statistics(affine: bool) -> None:
    norm = torch.nn.BatchNorm2d(2, affine=affine)
    assert norm.running_mean is not None
    norm.running_mean.copy_(torch.tensor([1.0, 2.0]))
    normed = batch_normed(norm, torch.tensor([3.0, 3.0]).view(1, 2, 1, 1))
    torch.testing.assert_close(normed.flatten(), torch.tensor([2.0, 1.0]), rtol=1e-4, atol=0)
    x = torch.tensor([[0.2, 0.8], [0.4, 0.1]]).view(1, 2, 1, 2)
    torch.testing.assert_close(batch_normed(norm, x).mean((0, 2, 3)), torch.zeros(2), rtol=0, atol=1e-6)
    assert MapNorm(2, "batch").train()(torch.ones(1, 2, 1, 1)).isfinite().all()
