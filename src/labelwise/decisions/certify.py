"""Thresholds that pass an exact test of a precision or recall floor, corrected for their selection."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from labelwise.decisions.floors import tail
from labelwise.decisions.thresholds import HIGHEST, LOWEST

FEW = 10
"""The first candidate is chosen as for at least this many labels; with fewer cells it could not afford a miss."""
_LARGEST_SIZE, _SIZES = 100_000, 80


@dataclass(frozen=True)
class Certified:
    """Thresholds that passed the test.

    Args:
        thresholds: `[L]` float64 on the scores; NaN for a label without one.
        level: highest p-value that passes.
    """

    thresholds: np.ndarray
    level: float


def fewest(floor: float, level: float) -> int:
    """The smallest number of trials that, all hits, reaches a level.

    >>> fewest(0.9, 0.1), fewest(0.8, 0.1)
    (22, 11)
    """
    # 1e-9 keeps a whole number whole that rounding left a little larger.
    return max(1, math.ceil(math.log(level) / math.log(floor) - 1e-9))


def certify(
    kind: str,
    scores: np.ndarray,
    targets: np.ndarray,
    known: np.ndarray,
    usable: np.ndarray,
    floor: float,
    confidence: float,
) -> Certified:
    """Thresholds whose precision or recall is at least the floor; see `certify_precision` and `certify_recall`.

    Only known cells count. They are taken to be a random sample of the cells to be decided. A label whose known cells
    are all positive has no threshold of a certified precision, since they are no such sample.

    Args:
        kind: `precision` or `recall`.
        scores: `[N, L]` in [0, 1].
        targets: `[N, L]`, 0 or 1 where known.
        known: `[N, L]` bool.
        usable: `[L]` bool, labels to test.
        floor: in (0, 1).
        confidence: in (0, 1).
    """
    p, mask = np.asarray(scores).T, np.asarray(known, bool).T
    positive = mask & (np.asarray(targets).T == 1)
    if kind == "recall":
        return certify_recall(p, positive, mask, usable, floor, confidence)
    usable = usable & (positive.sum(1) < mask.sum(1))
    return certify_precision(p, positive, mask, usable, floor, confidence)


def certify_recall(
    p: np.ndarray,
    positive: np.ndarray,
    known: np.ndarray,
    usable: np.ndarray,
    floor: float,
    confidence: float,
) -> Certified:
    """The highest threshold of each label whose recall is at least the floor, at the confidence.

    With `P` known positives, the hits at a fixed threshold are binomial in `P` trials. Candidates are tested from the
    lowest threshold up, until one fails (fixed sequence). Recall never rises with the threshold, so the first failure
    is the only chance to err: a label errs with probability `1 - confidence` at most. `P` alone decides which labels
    have a threshold, so the same bounds the expected share of those that err.

    Args:
        p: `[L, N]` scores in [0, 1].
        positive: `[L, N]` bool, known positives.
        known: `[L, N]` bool.
        usable: `[L]` bool, labels to test.
        floor: in (0, 1).
        confidence: in (0, 1).
    """
    level, needed = 1 - confidence, fewest(floor, 1 - confidence)
    thresholds = np.full(len(p), np.nan)
    for label in np.flatnonzero(usable & (positive.sum(1) >= needed)):
        ranked = np.sort(_in_range(p[label][positive[label]]))[::-1]
        hits = int(binom.isf(level, len(ranked), floor)) + 1
        thresholds[label] = _below(ranked[hits - 1], _in_range(p[label][known[label]]))
    return Certified(thresholds, level)


def certify_precision(
    p: np.ndarray,
    positive: np.ndarray,
    known: np.ndarray,
    usable: np.ndarray,
    floor: float,
    confidence: float,
) -> Certified:
    """The lowest threshold of each label whose precision is at least the floor, such that few of them err.

    A candidate selects the `m` highest known cells, where the series of `m` is fixed beforehand. Given the next lower
    score, the hits among these cells are binomial in `m` trials. Candidates are tested from the highest threshold
    down, until one fails (fixed sequence). A label errs with probability `level` at most, if its precision, once below
    the floor, stays there as the threshold falls.

    Labels just below the floor pass by chance, and each that passes errs. So the level is that of the step-up rule of
    Benjamini and Hochberg over the p-values of first candidates: `(1 - confidence) R / L` with `R` of `L` labels
    passing. The expected share of the labels with a threshold that err is then `1 - confidence` at most. The first
    candidate has as many cells as a label needs that has no miss and passes alone.

    Args:
        p: `[L, N]` scores in [0, 1].
        positive: `[L, N]` bool, known positives.
        known: `[L, N]` bool.
        usable: `[L]` bool, labels to test.
        floor: in (0, 1).
        confidence: in (0, 1).

    Source: Angelopoulos et al. 2021, "Learn then Test" (fixed sequence); Benjamini and Yekutieli 2005, "False Discovery
    Rate-Adjusted Multiple Confidence Intervals for Selected Parameters" (level of selected labels).
    Differs: candidates are ranks instead of thresholds, so that they do not depend on the scale of the scores.
    """
    error_rate = 1 - confidence
    first_size = fewest(floor, error_rate / max(FEW, int(usable.sum())))
    tests: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for label in np.flatnonzero(usable & (known.sum(1) >= first_size)).tolist():
        scores, hits, trials = _by_rank(p[label][known[label]], positive[label][known[label]])
        tested = np.searchsorted(trials, candidates(int(trials[-1]), first_size))
        tests[label] = scores[tested], tail(hits[tested], trials[tested], floor)
    count = max(1, len(tests))
    passing = step_up(np.array([p_values[0] for _, p_values in tests.values()]), error_rate)
    thresholds, level = np.full(len(p), np.nan), error_rate * max(1, passing) / count
    for label, (scores, p_values) in tests.items() if passing else ():
        if passed := int(np.argmin(np.append(p_values <= level, False))):
            thresholds[label] = _below(scores[passed - 1], _in_range(p[label][known[label]]))
    return Certified(thresholds, level)


def more_positives(kind: str, p: np.ndarray, positives: int, floor: float, level: float) -> int:
    """About how many more known positives a label needs to pass; -1 if more positives alone do not help.

    For precision, each cell is taken to be positive with its calibrated probability, and more images to have the same
    mix of scores. So the estimate is as good as the calibration, and the test then passes about every second time.

    Args:
        kind: `precision` or `recall`.
        p: `[N]` calibrated probabilities of the known cells.
        positives: known positives.
        floor: in (0, 1).
        level: highest p-value that passes.
    """
    needed = fewest(floor, level)
    if kind == "recall":
        return max(1, needed - positives)
    ranked = np.sort(p)[::-1]
    trials = candidates(len(p), 1) if len(p) else np.zeros(0, np.int64)
    rate = np.cumsum(ranked)[trials - 1] / trials
    rate, trials = rate[rate > floor], trials[rate > floor]
    sizes = np.unique(np.geomspace(needed, _LARGEST_SIZE, _SIZES).astype(np.int64))
    passes = tail(np.floor(rate[:, None] * sizes), sizes, floor) <= level
    cells = sizes[passes.argmax(1)][passes.any(1)] / trials[passes.any(1)]
    return max(1, math.ceil(ranked.sum() * cells.min()) - positives) if len(cells) else -1


def candidates(cells: int, first: int) -> np.ndarray:
    """Numbers of selected cells of the candidates, in the order of the tests; the last one is all cells.

    The next one has `sqrt(m)` more cells than `m`, since this is how far the number of hits varies by chance.

    >>> candidates(60, 22).tolist()
    [22, 27, 33, 39, 46, 53, 60]
    """
    numbers = [min(first, cells)]
    while numbers[-1] < cells:
        numbers.append(min(cells, numbers[-1] + math.ceil(math.sqrt(numbers[-1]))))
    return np.array(numbers)


def step_up(p_values: np.ndarray, rate: float) -> int:
    """The number of hypotheses that the step-up rule rejects at a false discovery rate.

    Source: Benjamini and Hochberg 1995, "Controlling the False Discovery Rate".

    >>> step_up(np.array([0.01, 0.04, 0.2, 0.9]), 0.1)
    2
    """
    count = len(p_values)
    passed = np.flatnonzero(np.sort(p_values) <= rate * np.arange(1, count + 1) / max(1, count))
    return int(passed[-1]) + 1 if len(passed) else 0


def _by_rank(p: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct scores, highest first, with the positives and cells at or above each."""
    scores = _in_range(p)
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(positive[order])
    ends = np.flatnonzero(np.diff(ranked, append=-1.0))
    return ranked[ends], hits[ends], ends + 1


def _in_range(p: np.ndarray) -> np.ndarray:
    """Scores as thresholds distinguish them."""
    return np.clip(p.astype(np.float64), LOWEST, HIGHEST)


def _below(score: float, cells: np.ndarray) -> float:
    """A threshold midway between a score and the next lower one."""
    lower = float(cells[cells < score].max(initial=0.0))
    middle = (score + lower) / 2
    return float(max(LOWEST, middle if middle > lower else score))
