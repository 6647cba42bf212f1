from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from labelwise.reports.record import RecordedScores
from labelwise.reports.tallies import (
    confident_errors,
    count_confusions,
    margins,
    most_confused,
    score_shares,
    strongest_pairs,
    typical_finds,
)


def some_scores(seed: int = 0, images: int = 60, labels: int = 5) -> tuple[RecordedScores, np.ndarray]:
    generator = np.random.default_rng(seed)
    shape = (images, labels)
    ids = np.array([str(i) for i in range(images)])
    probabilities = generator.random(shape).astype(np.float32)
    true, known = generator.random(shape) < 0.4, generator.random(shape) < 0.9
    thresholds = generator.uniform(0.3, 0.7, labels)
    return RecordedScores(ids, probabilities, true, known, probabilities >= thresholds), thresholds


def test_confusions_equal_a_count_by_hand() -> None:
    scores, thresholds = some_scores()
    counted = count_confusions(scores)
    images, labels = scores.true.shape
    for i in range(labels):
        for j in range(labels):
            chances = wrong = 0
            for row in range(images):
                shows = scores.known[row, i] and scores.true[row, i]
                lacks = scores.known[row, j] and not scores.true[row, j]
                chances += shows and lacks
                wrong += shows and lacks and scores.probabilities[row, j] >= thresholds[j]
            assert (counted.wrong[i, j], counted.chances[i, j]) == (wrong, chances)
            if i != j:
                assert counted.rate[i, j] == pytest.approx(wrong / chances)
    assert np.isnan(np.diag(counted.rate)).all()


def test_unknown_cells_do_not_count_as_confusions() -> None:
    scores, _ = some_scores()
    nowhere = replace(scores, known=np.zeros_like(scores.known))
    counted = count_confusions(nowhere)
    assert counted.wrong.sum() == counted.chances.sum() == 0
    assert most_confused(counted) == []
    assert strongest_pairs(counted) == []


def test_the_planted_confusion_comes_first() -> None:
    true = np.zeros((40, 3), dtype=bool)
    true[:20, 0] = True
    true[20:, 1] = True
    probabilities = np.full((40, 3), 0.1, dtype=np.float32)
    probabilities[:15, 2] = 0.9
    probabilities[22, 0] = 0.9
    scores = RecordedScores(
        np.arange(40).astype(str), probabilities, true, np.ones_like(true), probabilities >= 0.5
    )
    counted = count_confusions(scores)
    assert strongest_pairs(counted)[0] == (0, 2)
    assert counted.rate[0, 2] == pytest.approx(0.75)
    assert counted.usual[2] == pytest.approx(15 / 40)
    assert most_confused(counted) == [0, 2, 1]


def test_shares_sum_to_one_on_each_side_and_skip_unknown() -> None:
    scores, _ = some_scores()
    positives, negatives = score_shares(scores, 0, bins=10)
    assert positives.sum() == pytest.approx(1)
    assert negatives.sum() == pytest.approx(1)
    kept = scores.known[:, 0] & scores.true[:, 0]
    low = (scores.probabilities[kept, 0] < 0.1).mean()
    assert positives[0] == pytest.approx(low)


def test_shares_of_nothing_are_zero() -> None:
    scores, _ = some_scores()
    none = replace(scores, true=np.zeros_like(scores.true))
    assert score_shares(none, 0)[0].sum() == 0


def test_a_margin_is_the_difference_of_log_odds() -> None:
    scores, thresholds = some_scores()
    p, t = float(scores.probabilities[3, 2]), float(thresholds[2])
    expected = math.log(p / (1 - p)) - math.log(t / (1 - t))
    assert margins(scores, thresholds)[3, 2] == pytest.approx(expected, rel=1e-5)


def test_errors_are_errors_furthest_first() -> None:
    scores, thresholds = some_scores(images=200)
    invented, missed = confident_errors(scores, thresholds, count=6)
    assert len(invented) == len(missed) == 6
    for pick in invented:
        assert not scores.true[pick.row, pick.label]
        assert scores.probabilities[pick.row, pick.label] >= thresholds[pick.label]
    for pick in missed:
        assert scores.true[pick.row, pick.label]
        assert scores.probabilities[pick.row, pick.label] < thresholds[pick.label]
    for picks, sign in ((invented, 1), (missed, -1)):
        assert all(scores.known[pick.row, pick.label] for pick in picks)
        distances = [sign * pick.margin for pick in picks]
        assert distances == sorted(distances, reverse=True)
        assert len({pick.row for pick in picks}) == len(picks)
    distance = np.where(scores.known & ~scores.true, margins(scores, thresholds), -np.inf)
    assert invented[0].margin == pytest.approx(distance.max())


def test_one_bad_label_does_not_fill_the_page() -> None:
    probabilities = np.full((50, 10), 0.01, dtype=np.float32)
    probabilities[:, 4] = 0.99
    probabilities[7, 2] = 0.6
    cells = np.zeros((50, 10), dtype=bool)
    scores = RecordedScores(np.arange(50).astype(str), probabilities, cells, ~cells, probabilities >= 0.5)
    invented, _ = confident_errors(scores, np.full(10, 0.5), count=12)
    assert [pick.label for pick in invented] == [4, 4, 2]


def test_typical_finds_are_the_median_ones() -> None:
    true = np.zeros((9, 2), dtype=bool)
    true[:5, 0] = True
    probabilities = np.zeros((9, 2), dtype=np.float32)
    probabilities[:5, 0] = [0.95, 0.6, 0.8, 0.99, 0.7]
    scores = RecordedScores(
        np.arange(9).astype(str), probabilities, true, np.ones_like(true), probabilities >= 0.5
    )
    picks = typical_finds(scores, np.full(2, 0.5))
    assert [(pick.row, pick.label) for pick in picks] == [(2, 0)]


def test_what_a_rule_takes_back_is_no_find_and_no_error() -> None:
    scores, thresholds = some_scores()
    nothing = replace(scores, selected=np.zeros_like(scores.selected))
    assert typical_finds(nothing, thresholds) == []
    assert confident_errors(nothing, thresholds)[0] == []
    assert count_confusions(nothing).wrong.sum() == 0
