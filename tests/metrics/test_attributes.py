from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.errors import LabelwiseError
from labelwise.metrics import functional as F


def slow(scores, targets, known, threshold, f1) -> dict[str, float]:
    images, labels = scores.shape
    rates = []
    for j in range(labels):
        known_rows = [i for i in range(images) if known[i, j]]
        if not known_rows:
            continue
        yes = [i for i in known_rows if targets[i, j]]
        no = [i for i in known_rows if not targets[i, j]]
        tpr = sum(scores[i, j] > threshold for i in yes) / len(yes) if yes else 0.0
        tnr = sum(scores[i, j] <= threshold for i in no) / len(no) if no else 0.0
        rates.append((tpr + tnr) / 2)
    per_image = []
    for i in range(images):
        columns = [j for j in range(labels) if known[i, j]]
        if not columns:
            continue
        y = {j for j in columns if targets[i, j]}
        q = {j for j in columns if scores[i, j] > threshold}
        accuracy = len(y & q) / len(y | q) if y | q else 0.0
        precision = len(y & q) / len(q) if q else 0.0
        recall = len(y & q) / len(y) if y else 0.0
        both = precision + recall
        per_image.append((accuracy, precision, recall, 2 * precision * recall / both if both else 0.0))
    accuracy, precision, recall, instance = np.mean(per_image, axis=0)
    means = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    values = (np.mean(rates), accuracy, precision, recall, means if f1 == "of-means" else instance)
    return dict(zip(("mA", "accuracy", "precision", "recall", "F1"), map(float, values), strict=True))


def case(seed: int, images: int = 20, labels: int = 5):
    rng = np.random.default_rng(seed)
    scores, targets = rng.integers(0, 5, (images, labels)) / 4, rng.random((images, labels)) < 0.4
    known = rng.random((images, labels)) < 0.7
    known[3], known[:, 2] = False, False
    return scores, targets, known


def test_hand_case():
    targets, predicted = np.array([[1, 0], [1, 1]]), np.array([[1.0, 1.0], [1.0, 0.0]])
    means = F.attribute_metrics(predicted, targets)
    assert (means["precision"], means["recall"], means["F1"], means["accuracy"]) == (0.75, 0.75, 0.75, 0.5)
    assert F.attribute_metrics(predicted, targets, f1="mean-instance")["F1"] == pytest.approx(
        0.666667, abs=1e-6
    )


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from(["of-means", "mean-instance"]), st.sampled_from([0.25, 0.5, 0.45])
)
def test_slow_loop_and_unknown_cells(seed, f1, threshold):
    scores, targets, known = case(seed)
    expected = slow(scores, targets, known, threshold, f1)
    assert F.attribute_metrics(scores, targets, known, threshold, f1) == pytest.approx(expected, abs=1e-12)
    noise, lies = np.where(known, scores, np.inf), np.where(known, targets, 3)
    assert F.attribute_metrics(noise, lies, known, threshold, f1) == pytest.approx(expected, abs=1e-12)
    order = np.random.default_rng(seed).permutation(len(scores))
    assert F.attribute_metrics(
        *(torch.from_numpy(a[order]) for a in (scores, targets, known)), threshold, f1
    ) == pytest.approx(expected, abs=1e-12)


def test_threshold_is_strict():
    assert F.attribute_metrics(np.array([[0.5]]), np.array([[1]]))["recall"] == 0
    assert (
        F.attribute_metrics(np.array([[0.5, 0.5]]), np.array([[1, 1]]), threshold=[0.4, 0.6])["recall"] == 0.5
    )


def test_one_sided_labels_are_named_and_count_half():
    targets = np.array([[1, 0, 1], [1, 0, 0]])
    assert F.one_sided(targets) == ([1], [0])
    assert F.attribute_metrics(targets.astype(float), targets)["mA"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    known = np.array([[True, True, False], [True, True, True]])
    assert F.one_sided(targets, known) == ([1, 2], [0])


def test_nothing_known():
    metrics = F.attribute_metrics(np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 2), bool))
    assert all(np.isnan(value) for value in metrics.values())


def test_error():
    with pytest.raises(LabelwiseError, match="f1 'macro'; expected one of: of-means, mean-instance"):
        F.attribute_metrics(np.zeros((1, 1)), np.zeros((1, 1)), f1="macro")
