"""Bootstrap: metrics of a resample are those of the images repeated by their counts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from labelwise.metrics import functional as F
from labelwise.metrics.bootstrap import bootstrap_counts, bootstrap_macro_f1, bootstrap_map, interval


def case(seed: int = 0, images: int = 40, labels: int = 3):
    rng = np.random.default_rng(seed)
    y = (rng.random((images, labels)) < 0.2).astype(np.uint8)
    z = np.round(rng.normal(size=y.shape) + y, 1).astype(np.float32)
    return z, y, rng.random(y.shape) < 0.8


def test_figures_are_those_of_repeated_images():
    z, y, known = case()
    counts = bootstrap_counts(40, number=7, seed=3)
    means, macro = bootstrap_map(z, y, known, counts), bootstrap_macro_f1(z >= 0, y, known, counts)
    for r in range(7):
        rows = np.repeat(np.arange(40), counts[:, r])
        assert means[r] == pytest.approx(F.mean_average_precision(z[rows], y[rows], known[rows]))
        f1 = [
            f1_score(y[rows, j][k], z[rows, j][k] >= 0)
            for j in range(3)
            if (k := known[rows, j]).any() and y[rows, j][k].any() and not y[rows, j][k].all()
        ]
        assert macro[r] == pytest.approx(np.mean(f1), abs=1e-6)


def test_groups_are_drawn_whole():
    group = np.array([5, 5, 9, 2, 9, 9, 2, 7])
    counts = bootstrap_counts(8, number=200, group=group)
    drawn = np.stack([counts[group == code][0] for code in (2, 5, 7, 9)])
    assert all((counts[group == code] == counts[group == code][0]).all() for code in (2, 5, 7, 9))
    np.testing.assert_array_equal(drawn, bootstrap_counts(4, number=200))
    apart = np.arange(8)[::-1]
    np.testing.assert_array_equal(bootstrap_counts(8, 9, group=apart), bootstrap_counts(8, 9)[apart])


def test_intervals_of_groups_hold_where_those_of_images_are_too_narrow():
    """Persons seen ten times: the interval of their mAP holds the true value in nine of ten draws or more."""
    rng = np.random.default_rng(0)
    held = {"images": 0, "groups": 0}
    person = np.repeat(np.arange(40), 10)
    truth = None
    for _ in range(61):
        y = (rng.random((4000 if truth is None else 40, 1)) < 0.3).astype(np.uint8)
        z = (rng.normal(size=y.shape) + y).astype(np.float32)
        if truth is None:
            truth = F.mean_average_precision(z, y)
            continue
        z, y = z[person], y[person]
        for name, group in (("images", None), ("groups", person)):
            counts = bootstrap_counts(400, 200, group=group)
            ends = interval(bootstrap_map(z, y, np.ones(y.shape, bool), counts))
            held[name] += ends["low"] <= truth <= ends["high"]
    assert held["groups"] >= 51
    assert held["images"] <= 35


def test_a_draw_without_a_negative_leaves_the_label_out():
    z, y, known = case(1, images=6)
    y[:, 0], y[0, 0] = 1, 0  # one negative, which a third of the resamples lack
    y[:, 1] = 1
    known[:] = True
    counts = bootstrap_counts(6, number=40)
    without = counts[0] == 0
    assert 5 < without.sum() < 35
    means, macro = bootstrap_map(z, y, known, counts), bootstrap_macro_f1(z >= 0, y, known, counts)
    for r in range(40):
        rows = np.repeat(np.arange(6), counts[:, r])
        expected = F.mean_average_precision(z[rows], y[rows])
        assert means[r] == pytest.approx(expected, nan_ok=True)
        expected = F.threshold_metrics(z[rows], y[rows], threshold=0.0)["CF1_macro"]
        assert macro[r] == pytest.approx(expected, nan_ok=True, abs=1e-6)
    assert np.isnan(bootstrap_map(z[:, :2], y[:, :2], known[:, :2], counts)[without]).all()


def test_draws_are_seeded_and_whole():
    assert (bootstrap_counts(30, 20).sum(0) == 30).all()
    np.testing.assert_array_equal(bootstrap_counts(30, 20), bootstrap_counts(30, 20))
    assert (bootstrap_counts(30, 20) != bootstrap_counts(30, 20, seed=1)).any()


def test_without_a_positive_there_is_no_figure():
    z, y, known = case()
    nothing = bootstrap_macro_f1(z >= 0, y * 0, known, bootstrap_counts(40, 5))
    assert np.isnan(nothing).all()
    assert np.isnan(list(interval(nothing).values())).all()


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Macro F1 of random predictions: a few of 60 intervals of 95 % miss the true value."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(60):
        y, called = rng.random((200, 2)) < 0.5, rng.random((200, 2)) < 0.5
        ends = interval(
            bootstrap_macro_f1(called, y.astype(np.uint8), np.ones(y.shape, bool), bootstrap_counts(200, 200))
        )
        hits += ends["low"] <= 0.5 <= ends["high"]
    assert 50 <= hits <= 60
