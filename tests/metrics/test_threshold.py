from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from labelwise.errors import LabelwiseError
from labelwise.metrics import functional as F
from labelwise.metrics.threshold import column_sums


def slow(scores, targets, known, threshold, top_k=None, rule="and-threshold") -> dict[str, float]:
    """Cell by cell, from the definitions."""
    images, labels = scores.shape
    hit, called, true, seen = [0] * labels, [0] * labels, [0] * labels, known.sum(0)
    for i in range(images):
        ranked = sorted(
            (label for label in range(labels) if known[i, label]), key=lambda label: -scores[i, label]
        )
        chosen = ranked if top_k is None else ranked[:top_k]
        for label in range(labels):
            if not known[i, label]:
                continue
            yes = label in chosen and (
                scores[i, label] >= threshold or (top_k is not None and rule == "always")
            )
            called[label] += yes
            true[label] += bool(targets[i, label])
            hit[label] += yes and bool(targets[i, label])
    used = [label for label in range(labels) if 0 < true[label] < seen[label]]
    p = [hit[u] / called[u] if called[u] else 0.0 for u in used]
    r = [hit[u] / true[u] for u in used]
    f = [2 * a * b / (a + b) if a + b else 0.0 for a, b in zip(p, r, strict=True)]
    cp, cr = sum(p) / len(p), sum(r) / len(r)
    op, orr = sum(hit) / sum(called) if sum(called) else 0.0, sum(hit) / sum(true)
    join = lambda a, b: 2 * a * b / (a + b) if a + b else 0.0  # noqa: E731
    values = (cp, cr, join(cp, cr), op, orr, join(op, orr), sum(f) / len(f))
    return dict(zip(("CP", "CR", "CF1", "OP", "OR", "OF1", "CF1_macro"), values, strict=True))


def case(seed: int, images: int = 25, labels: int = 6):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 8, (images, labels)) / 8
    targets = rng.random((images, labels)) < 0.4
    targets[0] = True
    known = rng.random((images, labels)) < 0.8
    known[0] = True
    return scores, targets, known


def test_hand_case():
    targets = np.array([[1, 1], [1, 0], [0, 0], [0, 0]])
    scores = np.array([[0.9, 0.9], [0.1, 0.9], [0.1, 0.9], [0.1, 0.9]], dtype=np.float32)
    names = ("CP", "CR", "CF1", "CF1_macro", "OP", "OR", "OF1")
    expected = dict(zip(names, (0.625, 0.75, 0.681818, 0.533333, 0.4, 0.666667, 0.5), strict=True))
    assert F.threshold_metrics(scores, targets) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from([None, 1, 3, 6, 9]), st.sampled_from(["and-threshold", "always"])
)
def test_slow_loop(seed, top_k, rule):
    scores, targets, known = case(seed)
    metrics = F.threshold_metrics(scores, targets, known, 0.5, top_k, rule)
    assert metrics == pytest.approx(slow(scores, targets, known, 0.5, top_k, rule), abs=1e-12)


@pytest.mark.parametrize("top_k", [16, 17, 20])
def test_many_kept(top_k):
    scores, targets, known = case(5, images=20, labels=30)
    metrics = F.threshold_metrics(scores, targets, known, 0.3, top_k)
    assert metrics == pytest.approx(slow(scores, targets, known, 0.3, top_k), abs=1e-12)


def test_scikit_learn():
    rng = np.random.default_rng(0)
    scores, targets = rng.random((3000, 80), dtype=np.float32), rng.random((3000, 80)) < 0.1
    metrics = F.threshold_metrics(scores, targets)
    p, r, f, _ = precision_recall_fscore_support(targets, scores >= 0.5, average="macro", zero_division=0)
    assert (metrics["CP"], metrics["CR"], metrics["CF1_macro"]) == pytest.approx((p, r, f), abs=1e-12)
    p, r, f, _ = precision_recall_fscore_support(targets, scores >= 0.5, average="micro")
    assert (metrics["OP"], metrics["OR"], metrics["OF1"]) == pytest.approx((p, r, f), abs=1e-12)


def test_labels_without_negatives_are_left_out():
    """Means over labels leave out a label without a known negative; without any negative all metrics are NaN."""
    scores, targets, known = case(3)
    known[:, 0] = targets[:, 0]
    targets[:, 1] = False
    metrics, fewer = F.threshold_metrics(scores, targets, known), np.s_[:, 2:]
    means = F.threshold_metrics(scores[fewer], targets[fewer], known[fewer])
    for name in ("CP", "CR", "CF1", "CF1_macro"):
        assert metrics[name] == means[name]
    pooled = slow(scores, targets, known, 0.5)
    assert (metrics["OP"], metrics["OR"]) == (pooled["OP"], pooled["OR"])  # all cells, as published
    assert np.isnan(list(F.threshold_metrics(scores, np.ones_like(targets), known).values())).all()


def test_equal_to_the_threshold_is_positive_and_strictness_of_ties():
    targets = np.array([[1], [0]])
    assert F.threshold_metrics(np.array([[0.5], [0.1]]), targets)["OR"] == 1
    single = np.array([[0.7], [0.1]], dtype=np.float32)
    assert F.threshold_metrics(single, targets, threshold=0.7)["OR"] == float(single[0, 0] >= 0.7)


def test_ties_at_rank_k_go_to_the_first_label():
    scores = np.array([[0.9, 0.4, 0.4, 0.4]])
    assert F.threshold_metrics(scores, np.array([[0, 1, 0, 0]]), top_k=2, top_k_rule="always")["OR"] == 1
    assert F.threshold_metrics(scores, np.array([[0, 0, 1, 0]]), top_k=2, top_k_rule="always")["OR"] == 0


def test_thresholds_per_label():
    scores, targets, known = case(1)
    limits = np.linspace(0.1, 0.9, 6)
    shifted = F.threshold_metrics(scores - limits, targets, known, threshold=0.0)
    assert F.threshold_metrics(scores, targets, known, limits) == pytest.approx(shifted)
    assert F.threshold_metrics(scores, targets, known, torch.from_numpy(limits)) == pytest.approx(shifted)
    assert F.threshold_metrics(scores, targets, known, limits.tolist()) == pytest.approx(shifted)


def test_labels_without_positives_leave_cp_and_cr_but_not_op():
    scores, targets = np.array([[0.9, 0.9], [0.1, 0.9]]), np.array([[1, 0], [0, 0]])
    metrics = F.threshold_metrics(scores, targets)
    assert (metrics["CP"], metrics["CR"]) == (1, 1)
    assert metrics["OP"] == pytest.approx(1 / 3)
    assert all(np.isnan(v) for v in F.threshold_metrics(scores, np.zeros((2, 2))).values())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([None, 3]))
def test_properties(seed, top_k):
    scores, targets, known = case(seed)
    value = F.threshold_metrics(scores, targets, known, top_k=top_k)
    order = np.random.default_rng(seed).permutation(len(scores))
    mixed = [a[order] for a in (scores, targets, known)]
    assert F.threshold_metrics(*mixed, top_k=top_k) == pytest.approx(value)
    assert F.threshold_metrics(scores**3, targets, known, 0.125, top_k) == pytest.approx(value)
    noise, lies = np.where(known, scores, np.nan), np.where(known, targets, 5)
    assert F.threshold_metrics(noise, lies, known, top_k=top_k) == pytest.approx(value)
    twice = [np.concatenate((a, a)) for a in (scores, targets, known)]
    assert F.threshold_metrics(*twice, top_k=top_k) == pytest.approx(value)


def test_tensors_give_the_same():
    scores, targets, known = case(8)
    tensors = [torch.from_numpy(a) for a in (scores, targets, known)]
    assert F.threshold_metrics(*tensors) == F.threshold_metrics(scores, targets, known)


@pytest.mark.parametrize("rows", [0, 1, 254, 255, 256, 1020, 1021])
def test_column_sums(rows):
    mask = np.random.default_rng(rows).random((rows, 7)) < 0.97
    assert column_sums(mask).tolist() == mask.sum(axis=0).tolist()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"top_k": 0}, "top_k=0; expected at least 1"),
        ({"top_k": 1, "top_k_rule": "both"}, "top_k_rule 'both'; expected one of: and-threshold, always"),
        ({"threshold": np.zeros(3)}, r"threshold of shape \(3,\); expected one number, or 2, one per label"),
        ({"threshold": float("nan")}, "a threshold that is NaN"),
    ],
)
def test_errors(options, text):
    with pytest.raises(LabelwiseError, match=text):
        F.threshold_metrics(np.zeros((2, 2)), np.zeros((2, 2)), **options)


def test_error_names_the_cell_far_down():
    targets = np.zeros((9000, 20))
    targets[8765, 4] = 2
    with pytest.raises(LabelwiseError, match=r"target 2\.0 at row 8765, column 4"):
        F.threshold_metrics(np.zeros((9000, 20)), targets)
    scores = np.full((2, 2), 1e308)
    metrics = F.threshold_metrics(scores, np.array([[1, 1], [1, 0]]))
    assert metrics["OF1"] == pytest.approx(6 / 7)  # finite, though their sum is not
    scores[1, 0] = np.inf
    with pytest.raises(LabelwiseError, match="score inf at row 1, column 0"):
        F.threshold_metrics(scores, np.ones((2, 2)))
