"""Log-sum-exp pooling: a loop over places, and its limits."""

from __future__ import annotations

import math

import pytest
import torch

from labelwise.errors import LabelwiseError
from labelwise.extractors import Pooled
from labelwise.registry import EXTRACTORS

LogSumExp = EXTRACTORS["log-sum-exp"]


@pytest.mark.parametrize("sharpness", [0.5, 5.0])
def test_equals_a_loop_over_places(sharpness: float, seeded: torch.Generator) -> None:
    x = torch.randn(2, 4, 3, 5, generator=seeded, dtype=torch.float64)
    out = LogSumExp(4, 3, sharpness, normalise="none")(x)
    assert out.shared
    for b in range(2):
        for c in range(4):
            powers = [math.exp(sharpness * x[b, c, i, j].item()) for i in range(3) for j in range(5)]
            expected = math.log(sum(powers) / 15) / sharpness
            assert out.features[b, :, c].tolist() == pytest.approx([expected] * 3, abs=1e-6)


@pytest.mark.parametrize(("sharpness", "pool"), [(1e-5, "mean"), (1e4, "max")])
def test_its_limits_are_mean_and_maximum(sharpness: float, pool: str, seeded: torch.Generator) -> None:
    x = torch.rand(2, 4, 3, 5, generator=seeded, dtype=torch.float64)
    smooth = LogSumExp(4, 3, sharpness, normalise="none")(x).features
    plain = Pooled(4, 3, pool=pool, normalise="none")(x).features
    torch.testing.assert_close(smooth, plain, rtol=0, atol=1e-3)


def test_a_sharpness_of_zero_is_refused() -> None:
    with pytest.raises(LabelwiseError, match=r"extractor\.sharpness=0\.0; expected a number above 0"):
        LogSumExp(4, 3, 0.0)
