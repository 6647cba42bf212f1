"""Spread and overlap of maps."""

from __future__ import annotations

import math

import pytest
import torch

from labelwise.metrics import AttentionReport
from labelwise.metrics import functional as F


def some_maps(seeded: torch.Generator) -> torch.Tensor:
    return (
        torch.randn(3, 4, 2, 5, generator=seeded, dtype=torch.float64)
        .mul(2)
        .flatten(2)
        .softmax(2)
        .unflatten(2, (2, 5))
    )


def test_entropy_equals_a_loop(seeded: torch.Generator) -> None:
    maps = some_maps(seeded)
    entropy = F.attention_entropy(maps)
    for b in range(3):
        for j in range(4):
            places = maps[b, j].flatten().tolist()
            assert entropy[b, j].item() == pytest.approx(-sum(p * math.log(p) for p in places) / math.log(10))


def test_entropy_at_its_ends() -> None:
    peak = torch.zeros(1, 1, 3, 3)
    peak[..., 1, 2] = 1
    half = peak / 2
    half[..., 0, 0] = 0.5
    assert F.attention_entropy(peak).item() == 0
    assert F.attention_entropy(half).item() == pytest.approx(math.log(2) / math.log(9))
    assert F.attention_entropy(torch.full((1, 1, 7, 7), 1 / 49)).item() == pytest.approx(1)
    assert F.attention_entropy(torch.ones(1, 1, 1, 1)).item() == 1


def test_overlap_equals_a_loop_over_pairs_of_true_labels(seeded: torch.Generator) -> None:
    maps = some_maps(seeded)
    present = torch.tensor(
        [[True, True, False, True], [False, False, True, False], [True, False, False, True]]
    )
    expected = []
    for b in range(3):
        own = [j for j in range(4) if present[b, j]]
        for i, first in enumerate(own):
            for second in own[i + 1 :]:
                both = zip(maps[b, first].flatten().tolist(), maps[b, second].flatten().tolist(), strict=True)
                expected.append(sum(min(pair) for pair in both))
    assert len(expected) == 4
    assert F.attention_overlap(maps, present).tolist() == pytest.approx(expected)


def test_overlap_at_its_ends() -> None:
    maps = torch.zeros(1, 3, 2, 2)
    maps[0, 0, 0, 0] = maps[0, 1, 1, 1] = maps[0, 2, 1, 1] = 1
    assert F.attention_overlap(maps, torch.ones(1, 3, dtype=torch.bool)).tolist() == [0, 0, 1]
    assert F.attention_overlap(maps, torch.zeros(1, 3, dtype=torch.bool)).tolist() == []


def test_reports_are_means_over_true_labels_and_join(seeded: torch.Generator) -> None:
    maps, present = some_maps(seeded), torch.rand(3, 4, generator=seeded) < 0.7
    whole, parts = AttentionReport(), [AttentionReport(), AttentionReport()]
    whole.update(maps, present)
    parts[0].update(maps[:1], present[:1])
    parts[1].update(maps[1:], present[1:])
    metrics, joined = whole.compute(), AttentionReport.joined(parts).compute()
    assert metrics == pytest.approx(joined)
    assert metrics["entropy"] == pytest.approx(F.attention_entropy(maps)[present].mean().item())
    assert metrics["overlap"] == pytest.approx(F.attention_overlap(maps, present).mean().item())
    assert metrics["maps"] == present.sum()


def test_a_metric_without_samples_is_nan() -> None:
    report = AttentionReport()
    report.update(torch.full((2, 3, 2, 2), 0.25), torch.eye(3, dtype=torch.bool)[:2])
    metrics = report.compute()
    assert metrics["entropy"] == 1
    assert math.isnan(metrics["overlap"])
    assert math.isnan(AttentionReport().compute()["entropy"])
