from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from labelwise.errors import LabelwiseError
from labelwise.metrics import AngleReport
from labelwise.metrics import functional as F


def draw(seed: int, images: int = 9, labels: int = 6, width: int = 12):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(images, labels, width, generator=generator)
    weight = torch.randn(labels, width, generator=generator)
    return features, weight, torch.randn(labels, generator=generator)


def test_angles_by_hand_and_by_loop():
    features, weight, bias = draw(0)
    angles, boundary = F.label_angles(features, weight), F.boundary_angles(features, weight, bias)
    for n in range(9):
        for label in range(6):
            f, w = features[n, label].double(), weight[label].double()
            scale = math.sqrt(f @ f) * math.sqrt(w @ w)
            assert angles[n, label].item() == pytest.approx(math.degrees(math.acos(f @ w / scale)), abs=1e-9)
            cosine = min(1.0, max(-1.0, -bias[label].item() / scale))
            assert boundary[n, label].item() == pytest.approx(math.degrees(math.acos(cosine)), abs=1e-9)
    assert (F.boundary_angles(features, weight) == 90).all()


def test_positive_logit_means_inside_the_boundary():
    features, weight, bias = draw(1)
    logits = (features * weight).sum(-1) + bias
    inside = F.label_angles(features, weight) < F.boundary_angles(features, weight, bias)
    assert (inside == (logits > 0)).all()


def test_scale_does_not_matter_and_zero_is_undefined():
    features, weight, _ = draw(2)
    torch.testing.assert_close(F.label_angles(features * 1e-3, weight * 7), F.label_angles(features, weight))
    assert F.label_angles(weight[None], weight).max() < 1e-5
    features[0, 0] = 0
    assert F.label_angles(features, weight).isnan().sum() == 1


@pytest.mark.parametrize(
    ("k", "degrees"), [(1, 0.0), (2, 45.0), (3, 54.7356), (4, 60.0), (8, 69.3), (16, 75.5)]
)
def test_limit_of_orthonormal_classifiers(k, degrees):
    limit = F.shared_limit(torch.eye(16) * 3, (torch.arange(16) < k)[None])
    assert limit.item() == pytest.approx(degrees, abs=0.05 if k > 4 else 1e-3)


@pytest.mark.parametrize(("k", "degrees"), [(1, 0.0), (2, 39.2), (3, 46.9), (4, 50.8), (8, 56.8), (16, 60.0)])
def test_limit_of_correlated_classifiers(k, degrees):
    gram = torch.full((16, 16), 0.2, dtype=torch.float64).fill_diagonal_(1.0)
    weight = torch.linalg.cholesky(gram)
    assert F.shared_limit(weight, (torch.arange(16) < k)[None]).item() == pytest.approx(degrees, abs=0.05)


def test_limit_is_the_constrained_optimum():
    weight = torch.eye(5)[:3] + 0.2
    unit = (weight / weight.norm(dim=1, keepdim=True)).double().numpy()
    best = minimize(  # maximise the smallest cosine t over the ball |f| <= 1
        lambda v: -v[0],
        np.full(6, 0.1),
        constraints=[
            {"type": "ineq", "fun": lambda v: unit @ v[1:] - v[0]},
            {"type": "ineq", "fun": lambda v: 1 - v[1:] @ v[1:]},
        ],
    )
    limit = F.shared_limit(weight, torch.ones(1, 3, dtype=torch.bool)).item()
    assert limit == pytest.approx(math.degrees(math.acos(best.x[0])), abs=1e-3)


def test_limit_borders():
    weight = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    positive = torch.tensor([[True, True, False], [False, False, False], [True, False, True]])
    limit = F.shared_limit(weight, positive)
    assert limit[0].item() == pytest.approx(0, abs=1e-3)  # one direction twice is one constraint
    assert limit[1:].isnan().all()


def test_report():
    _, weight, bias = torch.eye(3), torch.eye(3), torch.zeros(3)
    shared = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    features = shared[:, None].expand(3, 3, 3)
    values = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    known = torch.tensor([[True] * 3, [True] * 3, [False, True, True]])
    report = AngleReport()
    report.update(features[:1], weight, bias, values[:1], known[:1])
    report.update(features[1:], weight, bias, values[1:], known[1:])
    metrics = report.compute()
    assert metrics["by_count"]["3"]["mean"] == pytest.approx(54.7356, abs=1e-3)
    assert metrics["by_count"]["3"]["orthonormal"] == pytest.approx(54.7356, abs=1e-3)
    assert metrics["by_count"]["3"]["gram"] == pytest.approx(54.7356, abs=1e-3)
    assert metrics["by_count"]["1"] == {"images": 2, "cells": 2, "mean": 0.0, "orthonormal": 0.0, "gram": 0.0}
    assert metrics["by_count"]["5+"]["images"] == 0
    assert metrics["by_count"]["5+"]["mean"] is None
    assert metrics["positive"][2] == pytest.approx([54.7356] * 3, abs=1e-3)
    assert metrics["negative"][0] is None  # its only negative is unknown
    assert metrics["negative"][2] == [90.0, 90.0, 90.0]
    assert metrics["margin"] == pytest.approx((3 * (90 - 54.7356) + 90 + 90) / 5, abs=1e-3)


def test_report_by_loop_on_random_data():
    features, weight, bias = draw(4, images=40)
    values, known = (torch.rand(40, 6) < 0.6).float(), torch.rand(40, 6) < 0.9
    report = AngleReport()
    report.update(features.requires_grad_(), weight, bias, values, known)
    metrics = report.compute()
    angles, positive = F.label_angles(features, weight).detach().numpy(), ((values > 0) & known).numpy()
    for name, rows in (("2", positive.sum(1) == 2), ("5+", positive.sum(1) >= 5)):
        assert metrics["by_count"][name]["mean"] == pytest.approx(
            angles[rows][positive[rows]].mean(), abs=1e-3
        )
        assert metrics["by_count"][name]["cells"] == positive[rows].sum()
    assert metrics["positive"][1] == pytest.approx(
        np.quantile(angles[positive[:, 1], 1], [0.25, 0.5, 0.75]), abs=1e-3
    )


def test_joined_reports_equal_one():
    features, weight, bias = draw(5)
    values, known = torch.ones(9, 6), torch.ones(9, 6, dtype=torch.bool)
    whole, parts = AngleReport(), [AngleReport(), AngleReport(), AngleReport()]
    whole.update(features, weight, bias, values, known)
    for part, rows in zip(parts, (slice(0, 2), slice(2, 9)), strict=False):  # the third process had no data
        part.update(features[rows], weight, bias, values[rows], known[rows])
    assert AngleReport.joined(parts).compute() == whole.compute()


def test_errors():
    with pytest.raises(LabelwiseError, match=r"features of shape \(1, 2, 3\) with weight \(4, 3\)"):
        AngleReport().update(
            torch.ones(1, 2, 3), torch.ones(4, 3), None, torch.ones(1, 2), torch.ones(1, 2) > 0
        )
    with pytest.raises(LabelwiseError, match="an angle report without data; expected at least one batch"):
        AngleReport().compute()
