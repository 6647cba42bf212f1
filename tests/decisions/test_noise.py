"""Rates of wrong annotations and probabilities of being wrong, on data whose errors are known."""

from __future__ import annotations

import numpy as np
import pytest
from cleanlab.count import compute_confident_joint
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from labelwise.decisions.noise import PLANTED, Noise, check_noise, fit_noise


def annotated(
    added: float, missed: float, seed: int = 0, rows: int = 2000, labels: int = 6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, true states of calibrated chances, and annotations flipped at the two rates."""
    rng = np.random.default_rng(seed)
    u = rng.normal(-3, 3, (rows, labels)) - np.linspace(0, 2, labels)
    truth = rng.random(u.shape) < expit(u)
    chance = rng.random(u.shape)
    return 0.5 * u + 1, truth, np.where(truth, chance >= missed, chance < added)


@pytest.mark.parametrize(("added", "missed"), [(0.03, 0.03), (0.01, 0.1), (0.0, 0.2)])
def test_rates_and_expected_numbers_are_those_of_the_flips(added: float, missed: float) -> None:
    z, truth, y = annotated(added, missed)
    noise = fit_noise(z, y, np.ones_like(y))
    wrong, bad = noise.wrong(z, y), truth != y
    assert noise.added == pytest.approx(added, abs=0.01)
    assert noise.missed.mean() == pytest.approx(missed, rel=0.4, abs=0.01)
    assert wrong.sum() == pytest.approx(bad.sum(), rel=0.2)
    assert noise.scale == pytest.approx(2.0, rel=0.35)
    for low, high in ((0.1, 0.4), (0.4, 0.7), (0.7, 0.95), (0.95, 1.0)):
        inside = (wrong >= low) & (wrong <= high)
        spread = 4 * np.sqrt(0.25 / max(1, inside.sum()))
        assert abs(bad[inside].mean() - wrong[inside].mean()) < 0.05 + spread if inside.any() else True


def test_clean_annotations_are_not_doubted() -> None:
    z, _, y = annotated(0.0, 0.0)
    wrong = fit_noise(z, y, np.ones_like(y)).wrong(z, y)
    assert wrong.sum() < 0.002 * y.size
    assert (wrong >= 0.9).sum() == 0


def test_the_joint_is_near_that_of_cleanlab_where_states_are_separate() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((3000, 1)) < 0.3
    z = np.where(truth, 5.0, -5.0) + rng.normal(0, 1, truth.shape)
    chance = rng.random(truth.shape)
    y = np.where(truth, chance >= 0.1, chance < 0.05)
    noise = fit_noise(z, y, np.ones_like(y))
    q = noise.present(z)[:, 0]
    joint = compute_confident_joint(y[:, 0].astype(int), np.stack([1 - q, q], 1), calibrate=False)
    assert noise.added[0] == pytest.approx(joint[1, 0] / joint[:, 0].sum(), rel=0.1)
    assert noise.missed[0] == pytest.approx(joint[0, 1] / joint[:, 1].sum(), rel=0.1)


@settings(max_examples=50, deadline=None)
@given(st.floats(-8, 8), st.floats(0.2, 5), st.floats(-3, 3), st.floats(1e-4, 0.4), st.floats(1e-4, 0.4))
def test_a_probability_is_that_of_bayes(
    z: float, scale: float, bias: float, added: float, missed: float
) -> None:
    noise = Noise(*(np.array([value]) for value in (scale, bias, added, missed)))
    cell, q = np.array([[z]]), 1 / (1 + np.exp(-(scale * z + bias)))
    present = (1 - q) * added / ((1 - q) * added + q * (1 - missed))
    absent = q * missed / (q * missed + (1 - q) * (1 - added))
    assert noise.present(cell)[0, 0] == pytest.approx(q)
    assert noise.wrong(cell, np.array([[True]]))[0, 0] == pytest.approx(present, rel=1e-6)
    assert noise.wrong(cell, np.array([[False]]))[0, 0] == pytest.approx(absent, rel=1e-6)


def test_a_label_of_few_positives_has_the_rates_of_all_labels() -> None:
    z, _, y = annotated(0.0, 0.05, labels=6)
    y[:, 5] = False
    y[np.argsort(z[:, 5])[:3], 5] = True  # the three lowest scores of the label
    noise = fit_noise(z, y, np.ones_like(y))
    shared = logit(noise.added[:5]).mean()
    assert logit(noise.added[5]) - shared < 6
    assert noise.wrong(z, y)[y[:, 5], 5].max() <= 1


def test_unknown_cells_do_not_count() -> None:
    z, _, y = annotated(0.02, 0.05)
    known = np.random.default_rng(1).random(y.shape) < 0.6
    one = fit_noise(z, y, known)
    other = fit_noise(np.where(known, z, 99.0), y ^ ~known, known)
    for name in ("scale", "bias", "added", "missed"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    nothing = known.copy()
    nothing[:, 2] = False
    assert np.isfinite(fit_noise(z, y, nothing).present(z)).all()


def test_the_check_plants_a_share_and_finds_it_again() -> None:
    z, _, y = annotated(0.01, 0.05)
    known = np.ones_like(y)
    check = check_noise(fit_noise(z, y, known), z, y, known)
    assert check.planted == round(PLANTED * y.size)
    assert check.rise == pytest.approx(check.planted, rel=0.15)
