from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from labelwise.errors import LabelwiseError
from labelwise.metrics import functional as F


def slow_curve(scores: np.ndarray, targets: np.ndarray) -> tuple[list[float], list[float]]:
    """Precision and recall at every distinct score, straight from the definition."""
    precision, recall = [], []
    for limit in sorted(set(scores.tolist()), reverse=True):
        called = [bool(y) for s, y in zip(scores, targets, strict=True) if s >= limit]
        precision.append(sum(called) / len(called))
        recall.append(sum(called) / max(1, int(targets.sum())))
    return precision, recall


def slow_ap(scores: np.ndarray, targets: np.ndarray, kind: str) -> float:
    if not targets.any():
        return float("nan")
    precision, recall = slow_curve(scores, targets)
    if kind == "11point":
        steps = [k / 10 for k in range(11)]
        return (
            sum(
                max((p for p, r in zip(precision, recall, strict=True) if r >= s - 1e-12), default=0.0)
                for s in steps
            )
            / 11
        )
    total, before = 0.0, 0.0
    for j, (p, r) in enumerate(zip(precision, recall, strict=True)):
        total += (r - before) * (max(precision[j:]) if kind == "envelope" else p)
        before = r
    return total


def random_case(seed: int, images: int = 60, labels: int = 5, levels: int | None = None):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((images, labels))
    if levels:
        scores = np.round(scores * levels) / levels
    return (
        scores,
        rng.random((images, labels)) < rng.uniform(0.05, 0.7, labels),
        rng.random((images, labels)) < 0.7,
    )


@pytest.mark.parametrize(
    ("kind", "value"), [("raw", 0.588889), ("envelope", 0.644444), ("11point", 0.642424)]
)
def test_hand_ranking(kind, value):
    scores, targets = np.arange(5.0)[::-1, None], np.array([[0], [1], [1], [0], [1]])
    assert F.average_precision(scores, targets, kind=kind)[0] == pytest.approx(value, abs=1e-6)


def test_hand_ties():
    assert F.average_precision(np.array([[0.5], [0.5], [0.2]]), np.array([[1], [0], [1]]))[
        0
    ] == pytest.approx(0.583333, abs=1e-6)


@pytest.mark.parametrize("kind", ["raw", "envelope", "11point"])
@pytest.mark.parametrize("levels", [None, 3, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_slow_loop(kind, levels, dtype):
    scores, targets, known = random_case(4, levels=levels)
    scores = scores.astype(dtype)
    values = F.average_precision(scores, targets, known, kind=kind)
    for label in range(scores.shape[1]):
        rows = known[:, label]
        assert values[label] == pytest.approx(
            slow_ap(scores[rows, label], targets[rows, label], kind), abs=1e-12
        )


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
@pytest.mark.parametrize("levels", [None, 2])
def test_scikit_learn(scale, levels):
    scores, targets, _ = random_case(9, images=4000, labels=80, levels=levels)
    scores = (scores * scale).astype(np.float32)
    peer = [average_precision_score(targets[:, i], scores[:, i]) for i in range(80)]
    np.testing.assert_allclose(F.average_precision(scores, targets), peer, atol=1e-9, rtol=0)


def test_threads_and_blocks_do_not_matter():
    scores, targets, known = random_case(1, images=5000, labels=67)  # above the size at which threads start
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        single = F.average_precision(scores, targets, known)
        torch.set_num_threads(3)
        assert (F.average_precision(scores, targets, known) == single).all()
    finally:
        torch.set_num_threads(before)
    assert single[7] == pytest.approx(
        F.average_precision(scores[:, 7:8], targets[:, 7:8], known[:, 7:8])[0], abs=1e-15
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["raw", "envelope", "11point"]))
def test_properties(seed, kind):
    scores, targets, known = random_case(seed, images=30, labels=3, levels=4)
    value = F.average_precision(scores, targets, known, kind=kind)
    order = np.random.default_rng(seed).permutation(30)
    np.testing.assert_allclose(
        F.average_precision(np.exp(scores), targets, known, kind=kind), value, atol=1e-12
    )
    np.testing.assert_allclose(
        F.average_precision(scores[order], targets[order], known[order], kind=kind), value, atol=1e-12
    )
    noise, lies = np.where(known, scores, np.nan), np.where(known, targets, -7.0)
    np.testing.assert_allclose(F.average_precision(noise, lies, known, kind=kind), value, atol=1e-12)
    twice = [np.concatenate((a, a)) for a in (scores, targets, known)]
    np.testing.assert_allclose(F.average_precision(*twice, kind=kind), value, atol=1e-12)
    raw, envelope = (F.average_precision(scores, targets, known, kind=k) for k in ("raw", "envelope"))
    assert (raw <= envelope + 1e-12)[~np.isnan(raw)].all()


def test_empty_labels():
    scores, targets = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[1, 0], [0, 0]])
    assert np.isnan(F.average_precision(scores, targets)[1])
    assert F.mean_average_precision(scores, targets) == 1
    assert F.mean_average_precision(scores, targets, empty="zero") == 0.5
    assert np.isnan(F.mean_average_precision(scores, np.zeros((2, 2))))


@pytest.mark.parametrize("kind", ["raw", "envelope", "11point"])
def test_a_label_without_a_known_negative_has_none(kind):
    """Any order of its images has AP 1; the label is left out for both values of `empty`."""
    scores, targets, known = random_case(5, labels=6)
    known[:, 0] = targets[:, 0]  # 1 or blank
    targets[:, 1] = True  # 1 everywhere
    targets[:, 2] = False
    known[:, 3] = False
    values = F.average_precision(scores, targets, known, kind)
    assert np.isnan(values).tolist() == [True] * 4 + [False] * 2
    assert F.mean_average_precision(scores, targets, known, kind) == values[4:].mean()
    zero = F.mean_average_precision(scores, targets, known, kind, empty="zero")
    assert zero == pytest.approx(values[4:].sum() / 4)  # columns 2 and 3 count as 0, 0 and 1 do not count
    assert F.without_average_precision(targets, known) == {
        0: "no known negative",
        1: "no known negative",
        2: "no known positive",
        3: "nothing known",
    }
    assert np.isnan(F.mean_average_precision(scores, np.ones_like(targets), kind=kind))
    assert np.isnan(F.mean_average_precision(scores, np.ones_like(targets), kind=kind, empty="zero"))


def test_the_labels_that_can_be_judged_agree_with_other_libraries():
    from torchmetrics.functional.classification import multilabel_average_precision

    scores, targets, known = random_case(6, images=200, labels=8)
    targets[:, 0], targets[:, 1] = True, False
    states = np.where(known, targets, -1)
    theirs = multilabel_average_precision(
        torch.from_numpy(scores), torch.from_numpy(states), num_labels=8, average="none", ignore_index=-1
    )
    assert theirs[0] == 1  # left out by labelwise
    assert torch.isnan(theirs[1]) or theirs[1] == 0
    ours = F.average_precision(scores, targets, known)
    assert np.isnan(ours[:2]).all()
    np.testing.assert_allclose(ours[2:], theirs[2:].numpy(), atol=1e-5)
    ranked = [
        average_precision_score(targets[k, j], scores[k, j]) for j in range(2, 8) if (k := known[:, j]).any()
    ]
    np.testing.assert_allclose(ours[2:], ranked, atol=1e-12)
    assert F.mean_average_precision(scores, targets, known) == pytest.approx(np.mean(ranked), abs=1e-12)


def test_without_images_there_is_none():
    assert np.isnan(F.average_precision(np.zeros((0, 2)), np.zeros((0, 2)))).all()


def test_library_of_the_result():
    scores, targets, known = random_case(2)
    as_tensors = [torch.from_numpy(a) for a in (scores, targets, known)]
    result = F.average_precision(*as_tensors)
    assert isinstance(result, torch.Tensor)
    assert result.dtype == torch.float64
    np.testing.assert_array_equal(result.numpy(), F.average_precision(scores, targets, known))
    half = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.bfloat16, requires_grad=True)
    assert F.average_precision(half, torch.tensor([[0], [0], [1]])).tolist() == [1.0]


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_target_types(dtype):
    scores, targets, _ = random_case(3)
    np.testing.assert_array_equal(
        F.average_precision(scores, targets.astype(dtype)), F.average_precision(scores, targets)
    )


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        (
            (np.zeros(3), np.zeros(3)),
            {},
            r"scores of shape \(3,\); expected \[images, labels\]; add the missing axis",
        ),
        ((np.zeros((2, 1)), np.zeros((1, 2))), {}, r"targets of shape \(1, 2\); expected \(2, 1\)"),
        ((np.zeros((2, 1)), np.zeros((2, 1)), np.ones((2, 2))), {}, r"known of shape \(2, 2\)"),
        (
            (np.array([[0.0], [np.nan]]), np.ones((2, 1))),
            {},
            "score nan at row 1, column 0; expected a finite number",
        ),
        ((np.array([[0.0], [-np.inf]]), np.ones((2, 1))), {}, "score -inf at row 1, column 0"),
        (
            (np.zeros((2, 1)), np.array([[0.0], [0.5]])),
            {},
            "target 0.5 at row 1, column 0; expected 0 or 1 where known",
        ),
        ((np.zeros((2, 1)), np.array([[0], [-1]])), {}, r"target -1 at row 1.*mark the cell unknown"),
        (
            (np.zeros((2, 1)), np.zeros((2, 1))),
            {"kind": "voc"},
            "kind 'voc'; expected one of: raw, envelope, 11point",
        ),
        ((np.zeros((2, 1)), np.zeros((2, 1))), {"empty": "one"}, "empty 'one'; expected one of: skip, zero"),
    ],
)
def test_errors(arguments, options, text):
    with pytest.raises(LabelwiseError, match=text):
        F.mean_average_precision(*arguments, **options)


def test_curve_is_exact_when_short():
    scores, targets = np.array([0.9, 0.8, 0.7, 0.7, 0.1]), np.array([0, 1, 1, 0, 1])
    precision, recall, thresholds = F.precision_recall(scores, targets)
    assert precision.tolist() == pytest.approx([0.5, 0.5, 0.6])
    assert recall.tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert thresholds.tolist() == [0.8, 0.7, 0.1]


def test_curve_thinned_without_moving():
    rng = np.random.default_rng(0)
    targets = rng.random(20_000) < 0.3
    scores = rng.standard_normal(20_000) + targets
    precision, recall, thresholds = F.precision_recall(scores, targets)
    assert len(precision) <= 200
    ranked = targets[np.argsort(-scores)]
    full_p, full_r = np.cumsum(ranked) / np.arange(1, 20_001), np.cumsum(ranked) / ranked.sum()
    where = ranked & (full_r > 0.02)
    assert np.abs(np.interp(full_r[where], recall, precision) - full_p[where]).max() < 0.005
    at = [(scores >= t) for t in thresholds]
    np.testing.assert_allclose(precision, [targets[a].mean() for a in at])
    np.testing.assert_allclose(recall, [(a & targets).sum() / targets.sum() for a in at])


def test_curve_borders():
    for part in F.precision_recall(torch.rand(4), torch.zeros(4)):
        assert part.shape == (0,)
    assert [len(a) for a in F.precision_recall(np.ones(4), np.array([1, 0, 1, 1]))] == [1, 1, 1]
    scores, targets = np.array([0.3, np.nan, 0.1]), np.array([1, 9, 0])
    hidden = F.precision_recall(scores, targets, np.array([True, False, True]))
    assert [a.tolist() for a in hidden] == [[1.0], [1.0], [0.3]]
    for part in F.precision_recall(scores, targets, np.array([True, False, False])):
        assert part.shape == (0,)
    with pytest.raises(LabelwiseError, match=r"scores of shape \(2, 2\); expected \[images\] of one label"):
        F.precision_recall(np.zeros((2, 2)), np.zeros((2, 2)))
    with pytest.raises(LabelwiseError, match="points=1; expected at least 2"):
        F.precision_recall(np.zeros(2), np.zeros(2), points=1)
