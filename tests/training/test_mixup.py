"""Images of a batch blended in pairs, against a loop."""

from __future__ import annotations

import pytest
import torch

from labelwise.training.mixup import mix
from labelwise.types import Batch, Targets


def a_batch(dtype: torch.dtype, rows: int = 3) -> Batch:
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (rows, 3, 4, 5), generator=g).to(dtype)
    values = torch.randint(0, 2, (rows, 6), generator=g).float()
    known = torch.rand(rows, 6, generator=g) < 0.7
    return Batch(images, Targets(values, known), torch.arange(rows), is_map=dtype == torch.float32)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_equals_a_loop(dtype: torch.dtype) -> None:
    batch = a_batch(dtype)
    torch.manual_seed(1)
    share = torch.distributions.Beta(0.4, 0.4).sample().item()
    t = max(share, 1 - share)
    torch.manual_seed(1)
    found = mix(batch, 0.4)
    assert 0.5 <= t < 1
    assert found.is_map == batch.is_map
    scale = 255 if dtype == torch.uint8 else 1
    for i in range(3):
        other = 2 - i
        pixels = (t * batch.images[i].float() + (1 - t) * batch.images[other].float()) / scale
        torch.testing.assert_close(found.images[i], pixels)
        for label in range(6):
            both = bool(batch.targets.known[i, label] and batch.targets.known[other, label])
            assert bool(found.targets.known[i, label]) == both
            y = t * batch.targets.values[i, label] + (1 - t) * batch.targets.values[other, label]
            assert found.targets.values[i, label].item() == pytest.approx(y.item() if both else 0.0)


def test_one_image_stays_as_it_is() -> None:
    batch = a_batch(torch.float32, rows=1)
    found = mix(batch, 0.4)
    torch.testing.assert_close(found.images, batch.images)
    assert torch.equal(found.targets.known, batch.targets.known)
