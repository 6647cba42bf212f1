"""Invariants of the loss of every registered method, with every term that it has by default."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from labelwise.composition import Method
from labelwise.methods import create_method
from labelwise.registry import list_methods
from labelwise.types import Batch, LabelPriors, Targets

NAMES = tuple("abcdefg")
ROWS = 6
every_method = pytest.mark.parametrize("name", list_methods())

# Exceptions, each with its reason.
NOT_UNDER_ORDER = {
    "dsrb": "it blends each image with the one opposite in the batch",
    "sarb": "it blends each image with the one opposite in the batch",
}
NOT_UNDER_REPETITION = NOT_UNDER_ORDER


def build(name: str) -> Method:
    """A method in the middle of its training, without dropout."""
    torch.manual_seed(0)
    priors = LabelPriors.count(a_batch(40, 1, 1).targets)
    method = create_method(name, NAMES, "test_resnet", weights="none", image_size=64, priors=priors)
    method.eval()
    method.clock = 6, 10
    method.start_epoch(lambda: [as_maps(method, a_batch(8, 64, 64))])
    return method


def a_batch(rows: int, h: int, w: int) -> Batch:
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (rows, 3, h, w), generator=g, dtype=torch.uint8)
    values = torch.randint(0, 2, (rows, len(NAMES)), generator=g).float()
    known = torch.rand(rows, len(NAMES), generator=g) < 0.7
    return Batch(images, Targets(values.masked_fill(~known, 0), known), torch.arange(rows))


@torch.no_grad()
def as_maps(method: Method, batch: Batch) -> Batch:
    return Batch(method.model.backbone(batch.images), batch.targets, batch.index, is_map=True)


def judged(name: str, order: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of the head on some rows of a batch of maps."""
    method = build(name)
    batch = as_maps(method, a_batch(ROWS, 64, 64))
    torch.manual_seed(1)
    loss = method(Batch(batch.images[order], batch.targets[order], batch.index[order], is_map=True))["loss"]
    loss.backward()
    found = {key: p.grad for key, p in method.named_parameters() if p.grad is not None}
    return loss.detach(), found


def near(one: tuple[Tensor, dict[str, Tensor]], other: tuple[Tensor, dict[str, Tensor]]) -> None:
    torch.testing.assert_close(one[0], other[0], rtol=1e-4, atol=1e-6)
    scale = max(float(g.abs().max()) for g in other[1].values())
    for key, gradient in other[1].items():
        torch.testing.assert_close(one[1][key], gradient, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize("name", [n for n in list_methods() if n not in NOT_UNDER_ORDER])
def test_the_order_of_images_does_not_matter(name: str) -> None:
    near(judged(name, torch.tensor([4, 2, 0, 5, 1, 3])), judged(name, torch.arange(ROWS)))


@pytest.mark.parametrize("name", [n for n in list_methods() if n not in NOT_UNDER_REPETITION])
def test_every_image_twice_gives_the_same_mean(name: str) -> None:
    near(judged(name, torch.arange(ROWS).repeat(2)), judged(name, torch.arange(ROWS)))


@every_method
def test_all_methods_are_judged(name: str) -> None:
    loss, gradients = judged(name, torch.arange(ROWS))
    assert loss > 0
    assert gradients
