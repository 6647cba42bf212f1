"""Exact tests of a floor: slow forms, other libraries, and how often a promise fails on known distributions."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.stats import binomtest, false_discovery_control, norm

from labelwise.decisions import (
    Decisions,
    Floors,
    KeptDecisions,
    precision_thresholds,
    recall_thresholds,
    tune,
)
from labelwise.decisions.certify import certify, fewest, more_positives, step_up
from labelwise.decisions.floors import bounds, tail
from labelwise.errors import LabelwiseError
from labelwise.types import Group, LabelSet

CONFIDENCE = 0.9


def slow_tail(hits: int, trials: int, floor: float) -> float:
    terms = (math.comb(trials, h) * floor**h * (1 - floor) ** (trials - h) for h in range(hits, trials + 1))
    return sum(terms)


@pytest.mark.parametrize("floor", [0.5, 0.8, 0.95])
def test_p_values_and_bounds_are_exact(floor: float) -> None:
    for trials in (1, 7, 40):
        for hits in range(trials + 1):
            p = float(tail(np.array(hits), np.array(trials), floor))
            assert p == pytest.approx(slow_tail(hits, trials, floor), rel=1e-9)
            low, high = (float(end) for end in bounds(np.array(hits), np.array(trials), 0.07))
            exact = binomtest(hits, trials).proportion_ci(1 - 2 * 0.07, "exact")
            assert (low, high) == (pytest.approx(exact.low, abs=1e-9), pytest.approx(exact.high, abs=1e-9))
            assert (low >= floor) == (p <= 0.07)


def test_step_up_rule_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.random(12) ** 3
        assert step_up(p, 0.1) == (false_discovery_control(p) <= 0.1).sum()
    assert step_up(np.zeros(0), 0.1) == 0


def slow_precision(scores, positive, floor: float, level: float, first: int) -> int | None:
    """Selected cells of the last candidate that passes, scores without ties."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    m, found = first, None
    while m <= len(scores):
        if slow_tail(sum(bool(positive[i]) for i in order[:m]), m, floor) > level:
            return found
        found = m
        m = len(scores) + 1 if m == len(scores) else min(len(scores), m + math.ceil(math.sqrt(m)))
    return found


@pytest.mark.parametrize("kind", ["precision", "recall"])
def test_thresholds_are_those_of_loops(kind: str) -> None:
    """Independent loops over candidates give the same selections; unknown cells change nothing."""
    rng = np.random.default_rng(3)
    y = rng.random((300, 5)) < [0.4, 0.3, 0.2, 0.1, 0.3]
    z = rng.normal(size=y.shape) + [3.0, 2.0, 3.0, 3.0, 0.3] * y
    p, known = 1 / (1 + np.exp(-z)), rng.random(y.shape) < 0.8
    lies = np.where(known, y, ~y)
    result = certify(kind, p, lies, known, np.ones(5, bool), 0.8, CONFIDENCE)
    first = fewest(0.8, 0.1 / 10)
    for label in range(5):
        s, hit = p[known[:, label], label], y[known[:, label], label]
        t = result.thresholds[label]
        if kind == "precision":
            expected = slow_precision(s, hit, 0.8, result.level, first)
            assert (None if np.isnan(t) else int((s >= t).sum())) == expected
        else:
            assert result.level == pytest.approx(0.1)
            passing = [c for c in s if slow_tail(int((s[hit] >= c).sum()), int(hit.sum()), 0.8) <= 0.1]
            assert ((s >= t) == (s >= max(passing))).all()
    assert np.isnan(result.thresholds[4]) == (kind == "precision")


def draws(count: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Scores `[N, L]`, states, and each label's true precision where a score is the threshold, `[L, N]`.

    Four labels are learned well. Of twenty, the upper half of the scores holds 78 % positives and the lower half none:
    whatever the threshold, their precision is below .8.
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        s = rng.normal(size=(400, 24))
        y = rng.random(s.shape) < np.where(s > 0, 0.78, 0.0)
        y[:, :4] = rng.random((400, 4)) < 0.3
        s[:, :4] += 3 * y[:, :4]
        true = 0.78 * np.minimum(1, 0.5 / norm.sf(s.T))
        hits, misses = 0.3 * norm.sf(s[:, :4].T - 3), 0.7 * norm.sf(s[:, :4].T)
        true[:4] = hits / (hits + misses)
        yield s, y, true


def failing(s: np.ndarray, true: np.ndarray, thresholds: np.ndarray, promised: np.ndarray) -> np.ndarray:
    """Promised labels whose true precision at the threshold is below .8, by the next score above it."""
    p = norm.cdf(s.T)
    at = np.where(p >= thresholds[:, None], p, 2.0).argmin(1)
    return promised & (true[np.arange(len(true)), at] < 0.8)


def test_of_the_promised_labels_few_fail() -> None:
    """Over many draws the share of promised labels that fail stays under a tenth; under the former rule it does not.

    A test of each label alone is not enough: a tenth of twenty labels just below the floor pass by chance.
    """
    shares, plain, alone, learned = [], [], [], []
    every, known = np.ones(24, bool), np.ones((400, 24), bool)
    for number, (s, y, true) in enumerate(draws(100, seed=1)):
        p = norm.cdf(s)
        found = certify("precision", p, y, known, every, 0.8, CONFIDENCE).thresholds
        promised = np.isfinite(found)
        shares.append(failing(s, true, found, promised).sum() / max(1, promised.sum()))
        learned.append(promised[:4].sum())
        if number < 30:
            before = np.asarray(precision_thresholds(p, y, precision=0.8)[0])
            plain.append(failing(s, true, before, every).mean())
            own = [
                certify("precision", p, y, known, of, 0.8, CONFIDENCE).thresholds
                for of in np.eye(24, dtype=bool)
            ]
            found = np.array([thresholds[j] for j, thresholds in enumerate(own)])
            promised = np.isfinite(found)
            alone.append(failing(s, true, found, promised).sum() / max(1, promised.sum()))
    slack = 3 * np.std(shares) / math.sqrt(len(shares))
    assert np.mean(shares) <= 0.1 + slack
    assert np.mean(learned) > 3
    assert np.mean(plain) > 0.5
    assert np.mean(alone) > 0.15


def test_recall_floors_fail_as_seldom_as_stated() -> None:
    """Known distribution of positives: the share of failures is at most a tenth, and not far below it."""
    rng = np.random.default_rng(2)
    failed, before = [], []
    for _ in range(40):
        y = rng.random((300, 20)) < 0.3
        s = rng.normal(size=y.shape) + y
        p = norm.cdf(s)
        result = certify("recall", p, y, np.ones(y.shape, bool), np.ones(20, bool), 0.9, CONFIDENCE)
        failed += (norm.sf(norm.ppf(result.thresholds) - 1) < 0.9).tolist()
        plain = np.asarray(recall_thresholds(p, y, recall=0.9)[0])
        before += (norm.sf(norm.ppf(plain) - 1) < 0.9).tolist()
    slack = 3 * math.sqrt(0.1 * 0.9 / len(failed))
    assert 0.03 < np.mean(failed) <= 0.1 + slack
    assert np.mean(before) > 0.3


def case(images: int = 600):
    rng = np.random.default_rng(5)
    y = rng.random((images, 4)) < [0.4, 0.3, 0.03, 0.3]
    return rng.normal(size=y.shape) + [4.0, 4.0, 4.0, 0.1] * y - 2, y, np.ones(y.shape, bool)


LABELS = LabelSet(("day", "night", "comet", "noise"))


@pytest.mark.parametrize("calibration", ["platt", "none"])
def test_the_record_says_what_the_stored_thresholds_reach(calibration: str) -> None:
    z, y, known = case()
    known[:50, 1] = False
    tuning = tune(z, y, known, LABELS, "precision=0.9", calibration)
    d, floors = tuning.decisions, tuning.decisions.floors
    assert floors is not None
    assert floors.promised.tolist() == [True, True, False, False]
    called = (d.probabilities(z) >= d.thresholds) & known
    assert floors.trials.tolist() == called.sum(0).tolist()
    assert floors.hits.tolist() == (called & y).sum(0).tolist()
    assert (floors.short[:2] == 0).all()
    assert floors.short[2] > 20
    assert floors.short[3] == -1
    assert tuning.reasons[0].startswith("promised: ")
    assert tuning.reasons[2].startswith("not supported: needs about ")
    assert "comet (needs about" in floors.without(LABELS.names)
    assert "noise (the scores do not reach it)" in floors.without(LABELS.names)
    again = Decisions.from_json(d.to_json(LABELS.names), LABELS).floors
    assert again is not None
    assert again.to_json(LABELS.names) == floors.to_json(LABELS.names)
    more = Decisions.from_json(d.to_json(LABELS.names), LabelSet((*LABELS.names, "new"))).floors
    assert more is not None
    assert not more.promised[4]


def test_the_estimate_of_missing_positives_is_about_right() -> None:
    """With as many positives as estimated, about every second label of the same kind passes."""
    rng = np.random.default_rng(0)

    def one(images: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.random(images) < 0.1
        s = rng.normal(size=images) + 3 * y
        odds = 0.1 / 0.9 * np.exp(3 * s - 4.5)
        return odds / (1 + odds), y

    p, y = one(400)
    more = more_positives("precision", p, int(y.sum()), 0.8, 0.1)
    assert more > 0
    passes = []
    for _ in range(60):
        p, y = one(round((40 + more) / 0.1))
        found = certify(
            "precision", p[:, None], y[:, None], np.ones((len(p), 1), bool), np.ones(1, bool), 0.8, 0.9
        )
        passes.append(np.isfinite(found.thresholds[0]))
    assert 0.25 < np.mean(passes) < 0.95
    assert more_positives("recall", p, 15, 0.9, 0.1) == 22 - 15


def test_labels_that_cannot_be_tested_are_not_promised() -> None:
    """Those without a positive, with positives alone, never selected, or kept from another run; ties stay together."""
    z, y, known = case()
    y[:, 0], y[:, 3] = False, True
    kept = KeptDecisions((1,), Decisions(np.array([0.5]), np.ones(1), np.zeros(1)))
    floors = tune(z, y, known, LABELS, "precision=0.5", kept=kept, never=(2,)).decisions.floors
    assert floors is not None
    assert not floors.promised.any()
    tied = np.where(case()[1], 60.0, -60.0)
    floors = tune(tied, case()[1], known, LABELS, "precision=0.9").decisions.floors
    assert floors is not None
    assert floors.promised.tolist() == [True, True, False, True]
    assert floors.reached.tolist() == [1.0] * 4
    constant = tune(np.zeros(z.shape), case()[1], known, LABELS, "recall=0.9").decisions.floors
    assert constant is not None
    assert constant.reached[0] == 1.0


def test_a_floor_is_tested_without_rules() -> None:
    z, y, known = case()
    labels = LabelSet(LABELS.names, {"time": Group(("day", "night"), True)})
    with_rules, plain = (tune(z, y, known, of, "precision=0.9").decisions for of in (labels, LABELS))
    assert with_rules.floors is not None
    assert plain.floors is not None
    assert with_rules.floors.hits.tolist() == plain.floors.hits.tolist()


@pytest.mark.parametrize("objective", ["precision=0.9", "recall=0.9"])
def test_nothing_to_test_on_is_refused(objective: str) -> None:
    z, y, known = case()
    message = f"objective '{objective}' on val of x without a known positive; expected known positives"
    for targets, cells in ((np.zeros_like(y), known), (y, np.zeros_like(known))):
        with pytest.raises(LabelwiseError, match=message):
            tune(z, targets, cells, LABELS, objective, source="val of x")


@pytest.mark.parametrize("confidence", [0.0, 1.0, 90.0, float("nan")])
def test_a_confidence_out_of_range_is_refused(confidence: float) -> None:
    with pytest.raises(
        LabelwiseError, match=f"confidence={confidence}; expected a number over 0 and under 1"
    ):
        tune(*case(), LABELS, "precision=0.9", confidence=confidence)


def test_a_damaged_record_is_refused() -> None:
    stored = tune(*case(), LABELS, "precision=0.9").decisions.to_json(LABELS.names)
    for broken in ({"floors": {"kind": "precision"}}, {"floors": {**stored["floors"], "level": "x"}}):
        with pytest.raises(LabelwiseError, match="run `labelwise tune` again"):
            Decisions.from_json({**stored, **broken}, LABELS)
    assert Floors.from_json(stored["floors"], LABELS.names).kind == "precision"
