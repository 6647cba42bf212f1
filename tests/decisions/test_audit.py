"""Findings of the audit against hand-worked cells and planted errors."""

from __future__ import annotations

import numpy as np
import pytest

from labelwise.decisions.audit import Finding, label_errors, rank_findings
from labelwise.decisions.contradictions import (
    Implication,
    conflicting_duplicates,
    exclusive_conflicts,
    implications,
    implied_missing,
)
from labelwise.errors import LabelwiseError


def planted(rows: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities of two labels, their true states, and given states with 12 positives missing and 8 added."""
    rng = np.random.default_rng(seed)
    truth = rng.random((rows, 2)) < 0.3
    p = np.clip(np.where(truth, 0.85, 0.1) + 0.07 * rng.standard_normal(truth.shape), 0.01, 0.99)
    given = truth.copy()
    present, absent = np.argwhere(truth), np.argwhere(~truth)
    given[tuple(present[rng.choice(len(present), 12, replace=False)].T)] = False
    given[tuple(absent[rng.choice(len(absent), 8, replace=False)].T)] = True
    return p, truth, given


def wrong_of(p: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The probability of the other state."""
    return np.where(given, 1 - p, p)


def test_planted_errors_are_found_and_nothing_else() -> None:
    p, truth, given = planted()
    findings = label_errors(p, wrong_of(p, given), given, np.ones_like(given))
    cells = {(f.row, f.label) for f in findings}
    wrong = set(map(tuple, np.argwhere(truth != given).tolist()))
    assert len(cells & wrong) >= 18
    assert len(cells - wrong) <= 2
    for f in findings:
        assert f.kind == ("wrong" if given[f.row, f.label] else "missing")
        assert (f.current, f.proposed) == (int(given[f.row, f.label]), int(not given[f.row, f.label]))


def test_known_cells_are_listed_from_one_half_on_with_their_probability() -> None:
    given = np.array([[True, False], [True, False], [True, False]])
    wrong = np.array([[0.5, 0.49], [0.2, 0.9], [0.97, 0.1]])
    p = np.full((3, 2), 0.3)
    findings = label_errors(p, wrong, given, np.ones_like(given))
    assert [(f.row, f.label, f.kind, f.score, f.wrong, f.probability) for f in findings] == [
        (0, 0, "wrong", 0.5, 0.5, 0.3),
        (2, 0, "wrong", 0.97, 0.97, 0.3),
        (1, 1, "missing", 0.9, 0.9, 0.3),
    ]


def test_cells_that_are_not_judged_are_never_listed() -> None:
    given = np.array([[True, False], [True, False]])
    known = np.array([[True, True], [True, False]])
    sure = np.ones((2, 2))
    judged = np.array([[True, False], [False, False]])
    assert [(f.row, f.label) for f in label_errors(sure, sure, given, known, judged)] == [(0, 0)]


def test_unknown_cells_are_listed_from_the_mean_of_known_positives_on() -> None:
    given = np.array([True] * 6 + [False] * 6 + [False] * 4)[:, None]
    known = np.array([True] * 12 + [False] * 4)[:, None]
    p = np.array([0.8] * 6 + [0.1] * 6 + [0.85, 0.8, 0.79, 0.2])[:, None]
    findings = label_errors(p, wrong_of(p, given), given, known)
    assert [(f.row, f.current, f.proposed, f.kind, f.wrong) for f in findings] == [
        (12, None, 1, "missing", None),
        (13, None, 1, "missing", None),
    ]
    assert findings[0].score == pytest.approx(0.85)
    assert findings[0].reason.endswith("says 0.85, of known positives 0.80 on average")


def test_a_low_mean_of_known_positives_lists_no_unknown_below_one_half() -> None:
    given = np.array([True] * 6 + [False] * 6 + [False])[:, None]
    known = np.array([True] * 12 + [False])[:, None]
    p = np.array([0.3] * 6 + [0.1] * 6 + [0.45])[:, None]
    assert [f.row for f in label_errors(p, wrong_of(p, given), given, known) if f.current is None] == []


def test_scores_that_are_no_probabilities_are_refused() -> None:
    cell = np.ones((1, 1), bool)
    for value in (np.nan, 1.5, -0.1):
        with pytest.raises(LabelwiseError, match="probabilities outside"):
            label_errors(np.array([[value]]), np.array([[0.5]]), cell, cell)
        with pytest.raises(LabelwiseError, match="probabilities outside"):
            label_errors(np.array([[0.5]]), np.array([[value]]), cell, cell)


def test_copies_take_the_state_that_their_mean_probability_says() -> None:
    p = np.array([[0.9, 0.2], [0.8, 0.3], [0.4, 0.1], [0.5, 0.5]])
    given = np.array([[1, 1], [1, 0], [0, 0], [0, 1]], bool)
    known = np.array([[1, 1], [1, 1], [1, 0], [1, 1]], bool)
    findings = conflicting_duplicates([[0, 1, 2]], p, given, known, ["a", "b", "c", "d"])
    assert [(f.row, f.label, f.current, f.proposed) for f in findings] == [(2, 0, 0, 1), (0, 1, 1, 0)]
    assert findings[0].score == pytest.approx(0.7)
    assert findings[1].score == pytest.approx(1 - (0.2 + 0.3 + 0.1) / 3)
    assert findings[0].reason == "looks like a, which is given as present"
    assert findings[1].reason == "looks like b, which is given as absent"


def test_exclusive_labels_keep_the_most_probable() -> None:
    p = np.array([[0.6, 0.3, 0.9], [0.2, 0.1, 0.3], [0.0, 0.0, 0.0]])
    given = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool)
    known = np.array([[1, 1, 1], [1, 1, 0], [1, 1, 1]], bool)
    findings = exclusive_conflicts([(0, 1)], p, given, known, ["cat", "dog", "sofa"])
    assert [(f.row, f.label, f.proposed) for f in findings] == [(0, 1, 0), (2, 1, 0)]
    assert findings[0].score == pytest.approx(0.6 / 0.9)
    assert findings[0].reason == "given together with cat, which rules it out"


def by_hand(present: np.ndarray, known: np.ndarray, support: int, most: float) -> list[Implication]:
    """A direct implementation of the rule."""
    rules = []
    for a in range(present.shape[1]):
        for b in range(present.shape[1]):
            rows = [n for n in range(len(present)) if known[n, a] and present[n, a] and known[n, b]]
            without = [n for n in rows if not present[n, b]]
            seen = [n for n in range(len(present)) if known[n, b]]
            absent = sum(not present[n, b] for n in seen)
            if (
                a != b
                and len(rows) >= support
                and len(without) <= most * len(rows)
                and 5 * absent >= len(seen)
            ):
                rules.append(Implication(a, b, len(rows) - len(without), len(without)))
    return rules


@pytest.mark.parametrize("seed", range(4))
def test_implications_follow_the_rule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dog = rng.random(200) < 0.5
    present = np.stack([dog & (rng.random(200) < 0.5), dog, rng.random(200) < 0.95, rng.random(200) < 0.1], 1)
    present[rng.random(200) < 0.01, 0] = True
    known = rng.random(present.shape) < 0.9
    rules = implications(present, known)
    assert rules == by_hand(present, known, 20, 0.05)
    assert (0, 1) in {(rule.label, rule.implied) for rule in rules}


def test_exceptions_propose_the_likelier_change() -> None:
    given = np.array([[1, 0], [1, 0], [1, 1], [1, 0]], bool)
    known = np.array([[1, 1], [1, 1], [1, 1], [1, 0]], bool)
    p = np.array([[0.9, 0.8], [0.1, 0.2], [0.5, 0.5], [0.9, 0.9]])
    findings = implied_missing([Implication(0, 1, 98, 2)], p, given, known, ["poodle", "dog"])
    assert [(f.row, f.label, f.proposed) for f in findings] == [(0, 1, 1), (1, 0, 0)]
    assert [f.score for f in findings] == pytest.approx([0.8, 0.9])
    assert findings[0].reason == "poodle comes with it in 98 of 100 images"


def test_rank_keeps_one_finding_a_cell_with_all_reasons() -> None:
    low = Finding(0, 0, 0, 1, "missing", 0.6, 0.6, "scored")
    high = Finding(0, 0, 0, 1, "duplicate", 0.9, 0.6, "a copy")
    other = Finding(1, 0, 1, 0, "wrong", 0.7, 0.3, "scored")
    first, second = rank_findings([low, other, high])
    assert (first.kind, first.score, first.reason) == ("duplicate", 0.9, "a copy; scored")
    assert second == other
    assert rank_findings([high, low]) == rank_findings([low, high])
