from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.decisions import cost_thresholds, f1_thresholds, precision_thresholds, recall_thresholds
from labelwise.errors import LabelwiseError
from labelwise.metrics import functional as F


def case(seed: int, images: int = 60, labels: int = 4, digits: int = 2):
    rng = np.random.default_rng(seed)
    scores = np.round(rng.random((images, labels)), digits)
    targets = rng.random((images, labels)) < scores**2
    return scores, targets, rng.random((images, labels)) < 0.8


def f1(scores: np.ndarray, targets: np.ndarray, threshold: float) -> float:
    called = scores >= threshold
    return 2 * (called & targets).sum() / max(1, called.sum() + targets.sum())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([np.float32, np.float64]))
def test_no_other_threshold_is_better(seed, dtype):
    scores, targets, known = case(seed)
    scores = scores.astype(dtype)
    thresholds, info = f1_thresholds(scores, targets, known, shrink=0.0)
    for label in range(4):
        rows = known[:, label]
        s, y = scores[rows, label], targets[rows, label]
        if info.weight[label] == 1:
            best = max(f1(s, y, t) for t in [*np.unique(s[s > 0]), 0.5])
            assert f1(s, y, thresholds[label]) == pytest.approx(best, abs=1e-12)
    assert (thresholds > 0).all()
    assert (thresholds < 1).all()


def test_cut_lies_in_the_middle_of_the_gap():
    scores, targets = np.array([[0.9], [0.6], [0.2], [0.1]]), np.array([[1], [1], [0], [0]])
    assert f1_thresholds(scores, targets, shrink=0.0)[0][0] == pytest.approx(0.4)


def test_neighbours_in_floating_point_stay_apart():
    low = np.float32(0.7)
    high = np.nextafter(low, np.float32(1))
    scores, targets = np.array([[high], [high], [low], [low]]), np.array([[1], [1], [0], [0]])
    threshold = np.float32(f1_thresholds(scores, targets, shrink=0.0)[0][0])
    assert (scores[:, 0] >= threshold).tolist() == [True, True, False, False]


def test_shrinking_follows_the_formula():
    scores, targets, _ = case(3)
    own = f1_thresholds(scores, targets, shrink=0.0)[0]
    thresholds, info = f1_thresholds(scores, targets, shrink=15.0)
    np.testing.assert_allclose(info.own, own)
    count = targets.sum(axis=0)
    np.testing.assert_allclose(info.weight, count / (count + 15))
    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    np.testing.assert_allclose(
        logit(thresholds), info.weight * logit(own) + (1 - info.weight) * logit(info.expected), atol=1e-9
    )
    np.testing.assert_allclose(f1_thresholds(scores, targets, shrink=1e12)[0], info.expected, atol=1e-6)


def test_the_expected_threshold_is_half_of_the_best_expected_f1():
    rng = np.random.default_rng(0)
    scores = rng.beta(0.4, 2.0, (3000, 1))
    _, info = f1_thresholds(scores, rng.random((3000, 1)) < scores)
    ranked = np.sort(scores[:, 0])[::-1]
    best = max(2 * ranked[:n].sum() / (n + ranked.sum()) for n in range(1, 3001))
    assert info.expected[0] == pytest.approx(best / 2, abs=2e-3)


def test_the_expected_cost_threshold_is_the_ratio_of_costs():
    scores = np.linspace(0.0005, 0.9995, 1000)[:, None]
    _, info = cost_thresholds(scores, scores > 0.5, false_positive=1.0, false_negative=4.0)
    assert info.expected[0] == pytest.approx(0.2, abs=1e-3)


def test_rare_labels_take_what_is_expected_and_say_why():
    scores, targets, _ = case(5, labels=5)
    targets[:, 0], targets[:, 1], targets[:, 2] = False, np.arange(60) == 3, True
    thresholds, info = f1_thresholds(scores, targets)
    assert thresholds[:3].tolist() == info.expected[:3].tolist()
    assert info.reasons[:3] == [
        "0 known positives: what the probabilities expect",
        "1 known positive: what the probabilities expect",
        "no known negatives: what the probabilities expect",
    ]
    count = int(targets[:, 3].sum())
    assert info.reasons[3] == f"{count} known positives: own threshold at weight {count / (count + 100):.2f}"


def test_a_label_that_is_nowhere_known_takes_what_is_expected_of_all_its_images():
    scores, targets, _ = case(6)
    known = np.ones(scores.shape, bool)
    known[:, 2] = False
    thresholds, _ = f1_thresholds(scores, targets, known)
    assert thresholds[2] == f1_thresholds(scores, targets)[1].expected[2]


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_never_zero_or_one(value):
    scores = np.full((6, 2), value, dtype=np.float32)
    targets = np.array([[1, 1], [1, 0], [1, 0], [0, 0], [0, 0], [0, 0]])
    for fit in (f1_thresholds, precision_thresholds, recall_thresholds, cost_thresholds):
        thresholds = np.float32(fit(scores, targets)[0])
        assert (thresholds > 0).all()
        assert (thresholds < 1).all()


def test_nothing_positive_anywhere():
    thresholds, info = f1_thresholds(np.full((3, 2), 0.2), np.zeros((3, 2)))
    assert thresholds.tolist() == [0.5, 0.5]
    assert info.reasons[0] == "no positives for any label: 0.5"


def test_unknown_cells_order_and_library():
    scores, targets, known = case(7)
    thresholds, _ = f1_thresholds(scores, targets, known)
    noise, lies = np.where(known, scores, np.nan), np.where(known, targets, 4)
    np.testing.assert_array_equal(f1_thresholds(noise, lies, known)[0], thresholds)
    order = np.random.default_rng(0).permutation(60)
    np.testing.assert_allclose(f1_thresholds(scores[order], targets[order], known[order])[0], thresholds)
    from_tensors = f1_thresholds(*(torch.from_numpy(a) for a in (scores, targets, known)))[0]
    assert from_tensors.dtype == torch.float64
    np.testing.assert_array_equal(from_tensors.numpy(), thresholds)


def test_better_than_one_half_on_its_own_data():
    scores, targets, known = case(9, images=2000)
    scores = scores**3  # probabilities that are far too low
    fitted = f1_thresholds(scores, targets, known)[0]
    gain = F.threshold_metrics(scores, targets, known, fitted)["CF1_macro"]
    assert gain > F.threshold_metrics(scores, targets, known, 0.5)["CF1_macro"] + 0.05


def test_precision():
    scores, targets, _ = case(11, images=400)
    thresholds, _ = precision_thresholds(scores, targets, precision=0.8, shrink=0.0)
    for label in range(4):
        s, y = scores[:, label], targets[:, label]
        reaching = [y[s >= t].sum() for t in np.unique(s) if y[s >= t].mean() >= 0.8]
        assert y[s >= thresholds[label]].mean() >= 0.8
        assert y[s >= thresholds[label]].sum() == max(reaching)
    hopeless = np.array([[0.9], [0.8], [0.7], [0.2]])
    threshold = precision_thresholds(hopeless, np.array([[0], [1], [1], [0]]), precision=1.0, shrink=0.0)[0]
    assert threshold[0] == pytest.approx(0.45)  # 2 of 3: the highest precision there is


def test_recall():
    scores, targets, _ = case(17, images=400)
    thresholds, _ = recall_thresholds(scores, targets, recall=0.7, shrink=0.0)
    for label in range(4):
        s, y = scores[:, label], targets[:, label]
        reaching = [y[s >= t].mean() for t in np.unique(s) if y[s >= t].sum() >= 0.7 * y.sum()]
        called = s >= thresholds[label]
        assert y[called].sum() >= 0.7 * y.sum()
        assert y[called].mean() == pytest.approx(max(reaching))


def test_costs():
    scores, targets, _ = case(13, images=300)
    for fp, fn in ((1.0, 1.0), (5.0, 1.0), (1.0, 9.0)):
        thresholds, _ = cost_thresholds(scores, targets, false_positive=fp, false_negative=fn, shrink=0.0)
        for label in range(4):
            s, y = scores[:, label], targets[:, label]
            costs = [
                fp * ((s >= t) & ~y).sum() + fn * ((s < t) & y).sum() for t in [*np.unique(s[s > 0]), 1.1]
            ]
            t = thresholds[label]
            assert fp * ((s >= t) & ~y).sum() + fn * ((s < t) & y).sum() == min(costs)


@pytest.mark.parametrize(
    ("fit", "options", "text"),
    [
        (f1_thresholds, {"shrink": -1.0}, r"shrink=-1\.0; expected 0 or more"),
        (precision_thresholds, {"precision": 90.0}, r"precision=90\.0; expected a number in \(0, 1\]"),
        (recall_thresholds, {"recall": 0.0}, r"recall=0\.0; expected a number in \(0, 1\]"),
        (cost_thresholds, {"false_negative": 0.0}, r"costs 1\.0 and 0\.0; expected two positive numbers"),
    ],
)
def test_errors(fit, options, text):
    with pytest.raises(LabelwiseError, match=text):
        fit(np.full((2, 1), 0.5), np.array([[0], [1]]), **options)


def test_logits_are_refused():
    with pytest.raises(LabelwiseError, match=r"probability 3\.0 at row 0, column 0.*apply a sigmoid"):
        f1_thresholds(np.array([[3.0]]), np.array([[1]]))
