from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as peer_log_loss

from labelwise.errors import LabelwiseError
from labelwise.metrics import functional as F


def slow(p: np.ndarray, y: np.ndarray, bins: int) -> float:
    total = 0.0
    for b in range(bins):
        inside = [i for i, value in enumerate(p) if min(int(value * bins), bins - 1) == b]
        if inside:
            total += len(inside) / len(p) * abs(np.mean(p[inside]) - np.mean(y[inside]))
    return total


def case(seed: int, images: int = 200, labels: int = 4):
    rng = np.random.default_rng(seed)
    p = rng.random((images, labels))
    p[0], p[1] = 0, 1
    return p, (rng.random((images, labels)) < p**2).astype(int), rng.random((images, labels)) < 0.8


def test_hand_case():
    p, y = np.array([[0.9], [0.9], [0.1], [0.1]]), np.array([[1], [0], [0], [0]])
    assert F.calibration_error(p, y)[0] == pytest.approx(0.25, abs=1e-12)
    assert F.pooled_calibration_error(p, y) == pytest.approx(0.25, abs=1e-12)
    assert F.calibration_error(p, y, bins=2, binning="count")[0] == pytest.approx(0.25, abs=1e-12)
    assert F.calibration_error(p, y, bins=1)[0] == pytest.approx(0.25, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 20))
def test_slow_loop(seed, bins):
    p, y, known = case(seed, images=40)
    errors = F.calibration_error(p, y, known, bins=bins)
    for label in range(p.shape[1]):
        rows = known[:, label]
        assert errors[label] == pytest.approx(slow(p[rows, label], y[rows, label], bins), abs=1e-12)
    assert F.pooled_calibration_error(p, y, known, bins=bins) == pytest.approx(slow(p[known], y[known], bins))


def test_not_the_error_of_the_winning_class():
    p, y = np.array([[0.2], [0.2]]), np.array([[1], [1]])
    assert F.calibration_error(p, y)[0] == pytest.approx(0.8)


def test_torchmetrics():
    from torchmetrics.functional.classification import binary_calibration_error

    p, y, _ = case(1, images=1000)
    peer = [
        binary_calibration_error(torch.from_numpy(p[:, i].copy()), torch.from_numpy(y[:, i]), n_bins=15)
        for i in range(4)
    ]
    np.testing.assert_allclose(F.calibration_error(p, y), peer, atol=1e-6)


def test_equal_counts():
    p, y, known = case(2, images=30, labels=1)
    p, y = p[known][:20, None], y[known][:20, None]
    order = np.argsort(p[:, 0])
    parts = np.split(order, 4)
    expected = sum(abs(p[part].mean() - y[part].mean()) / 4 for part in parts)
    assert F.calibration_error(p, y, bins=4, binning="count")[0] == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["width", "count"]))
def test_properties(seed, binning):
    p, y, known = case(seed, images=50)
    p = np.round(p, 1)  # many equal probabilities
    value = F.calibration_error(p, y, known, binning=binning)
    order = np.random.default_rng(seed).permutation(50)
    np.testing.assert_allclose(
        F.calibration_error(p[order], y[order], known[order], binning=binning), value, atol=1e-12
    )
    noise, lies = np.where(known, p, np.nan), np.where(known, y, 9)
    np.testing.assert_allclose(F.calibration_error(noise, lies, known, binning=binning), value, atol=1e-12)
    assert (value >= 0).all()
    assert (value <= 1).all()


def test_proper_scores_against_scikit_learn():
    p, y, known = case(5)
    p = p.clip(0.01, 0.99)
    brier, nll = F.brier_score(p, y, known), F.log_loss(p, y, known)
    for label in range(p.shape[1]):
        rows = known[:, label]
        assert brier[label] == pytest.approx(brier_score_loss(y[rows, label], p[rows, label]), abs=1e-12)
        assert nll[label] == pytest.approx(peer_log_loss(y[rows, label], p[rows, label]), abs=1e-9)
    assert F.log_loss(np.array([[1.0]], dtype=np.float32), np.array([[0]]))[0] == pytest.approx(
        16.118, abs=1e-3
    )


def test_nothing_known_is_nan():
    p, y, known = np.full((3, 2), 0.5), np.ones((3, 2)), np.array([[True, False]] * 3)
    for measure in (F.calibration_error, F.brier_score, F.log_loss):
        assert np.isnan(measure(p, y, known)).tolist() == [False, True]
    assert np.isnan(F.calibration_error(p, y, known, binning="count")).tolist() == [False, True]
    assert F.calibration_metrics(p, y, known)["ECE"] == pytest.approx(0.5)
    assert np.isnan(F.brier_score(np.zeros((0, 1)), np.zeros((0, 1))))


def test_report_figures():
    p, y, known = case(6, labels=8)
    metrics = F.calibration_metrics(p, y, known)
    per_label = F.calibration_error(p, y, known)
    assert metrics["ECE"] == pytest.approx(per_label.mean())
    assert metrics["ECE_worst5"] == pytest.approx(np.sort(per_label)[3:].mean())
    assert metrics["ECE_adaptive"] == pytest.approx(F.calibration_error(p, y, known, binning="count").mean())
    counts = F.reliability(p, y, known)
    assert counts.cells.sum(axis=1).tolist() == known.sum(axis=0).tolist()
    assert counts.positive.sum() == y[known].sum()


@pytest.mark.parametrize(
    ("p", "options", "text"),
    [
        (1.5, {}, r"probability 1\.5 at row 0, column 0; expected a value in \[0, 1\]; apply a sigmoid"),
        (-0.1, {}, r"probability -0\.1 at row 0"),
        (0.5, {"bins": 0}, "bins=0; expected at least 1"),
        (0.5, {"binning": "equal"}, "binning 'equal'; expected one of: width, count"),
    ],
)
def test_errors(p, options, text):
    with pytest.raises(LabelwiseError, match=text):
        F.calibration_error(np.full((1, 1), p), np.ones((1, 1)), **options)
