"""Calibration against scikit-learn and plain gradient descent, and its invariants."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from labelwise.decisions import calibrate
from labelwise.decisions.calibration import FLATTEST, ridge
from labelwise.decisions.decisions import sigmoid
from labelwise.errors import LabelwiseError
from labelwise.metrics import functional as F


def case(seed: int = 0, images: int = 800, labels: int = 4):
    """Logits with targets of probability sigmoid(0.5 z - 1)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(images, labels)) * 3
    return z, rng.random(z.shape) < sigmoid(0.5 * z - 1)


def test_without_a_penalty_it_is_logistic_regression():
    z, y = case()
    fit = calibrate(z, y, shrink=1e-6)
    for j in range(4):
        oracle = LogisticRegression(C=1e8, tol=1e-10).fit(z[:, [j]], y[:, j])
        assert fit.scale[j] == pytest.approx(oracle.coef_[0, 0], rel=1e-3)
        assert fit.bias[j] == pytest.approx(oracle.intercept_[0], abs=1e-3)


@pytest.mark.parametrize("with_bias", [True, False])
def test_the_least_of_the_penalised_likelihood(with_bias):
    z, y = case(1, images=60, labels=1)
    a, d = ridge(z[:, 0], y[:, 0], 3.0, with_bias)
    w = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    u, target = torch.from_numpy(z[:, 0]), torch.from_numpy(y[:, 0].astype(float))
    optimizer = torch.optim.LBFGS([w], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def cost():
        optimizer.zero_grad()
        logit = w[0] * u + (w[1] if with_bias else 0.0)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, target, reduction="sum")
        loss = loss + 1.5 * ((w[0] - 1) ** 2 + w[1] ** 2)
        loss.backward()
        return loss

    optimizer.step(cost)
    assert (a, d) == pytest.approx(tuple(w.detach().tolist()), abs=1e-5)
    assert with_bias or d == 0


def test_a_strong_penalty_leaves_what_all_labels_share():
    z, y = case(2)
    shared = ridge(z.ravel(), y.ravel(), 1.0, True)
    fit = calibrate(z, y, shrink=1e9)
    np.testing.assert_allclose(fit.scale, shared[0], rtol=1e-5)
    np.testing.assert_allclose(fit.bias, shared[1], atol=1e-5)


def test_labels_with_few_cells_take_the_shared_pair():
    z, y = case(3, labels=5)
    y[:, 0], y[:, 1], y[:, 2] = False, np.arange(len(y)) == 7, True
    fit = calibrate(z, y)
    assert fit.own.tolist() == [False, False, False, True, True]
    assert len({*fit.scale[:3].tolist()}) == 1
    known = np.ones(y.shape, bool)
    known[:, 4] = False
    assert calibrate(z, y, known).scale[4] == calibrate(z, y, known).scale[0]


def test_nothing_known_or_nothing_positive_changes_nothing():
    z, y = case(4)
    for fit in (calibrate(z, y, np.zeros(y.shape, bool)), calibrate(z, y & False), calibrate(z[:0], y[:0])):
        assert fit.scale.tolist() == [1.0] * 4
        assert fit.bias.tolist() == [0.0] * 4


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["platt", "temperature"]))
def test_order_of_images_and_so_ap_never_changes(seed, kind):
    rng = np.random.default_rng(seed)
    z, y = (
        rng.normal(size=(40, 3)) * 10,
        rng.random((40, 3)) < 0.3,
    )  # logits without information, or anticorrelated
    fit = calibrate(z, y, kind=kind)
    assert (fit.scale > 0).all()
    p = sigmoid(fit.scale * z + fit.bias)
    np.testing.assert_allclose(F.average_precision(p, y), F.average_precision(z, y), atol=1e-9)


def test_anticorrelated_logits_are_clipped_to_the_flattest_scale():
    z = np.linspace(-3, 3, 200)
    assert ridge(z, z < 0, 1e-3, True)[0] == FLATTEST


def test_separable_logits_stay_finite():
    z = np.array([[-50.0], [-40.0], [40.0], [50.0]] * 5)
    fit = calibrate(z, z > 0)
    assert np.isfinite([fit.scale, fit.bias]).all()


def test_biased_scores_are_repaired_on_other_images():
    z, y = case(5, images=3000)
    fit = calibrate(z[:600], y[:600])
    p = sigmoid(fit.scale * z[600:] + fit.bias)
    before = F.calibration_error(sigmoid(z[600:]), y[600:]).mean()
    assert F.calibration_error(p, y[600:]).mean() < before / 4


def test_errors():
    z, y = case(6)
    with pytest.raises(LabelwiseError, match="calibration 'isotonic'; expected one of: platt, temperature"):
        calibrate(z, y, kind="isotonic")
    with pytest.raises(LabelwiseError, match="shrink=0; expected over 0"):
        calibrate(z, y, shrink=0)
    with pytest.raises(LabelwiseError, match="score nan at row 0, column 0"):
        calibrate(z * np.nan, y)
