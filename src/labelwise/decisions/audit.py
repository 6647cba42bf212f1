"""Suspicious label cells: likely missing, likely wrong, different between duplicates, or against a rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from labelwise.errors import LabelwiseError

KINDS = ("missing", "wrong", "duplicate", "contradiction")
FEWEST = 5  # known positives, and negatives, that confident learning needs of a label


@dataclass(frozen=True)
class Finding:
    """One cell that the audit would change.

    Args:
        row: of the image.
        label: column of the label.
        current: the state in the table: 1, 0, or `None` for unknown.
        proposed: the state that the audit proposes: 1, 0, or `None`.
        kind: one of `KINDS`.
        score: probability of the proposed state, in [0, 1].
        probability: calibrated probability that the label is present, in [0, 1].
        reason: explanation in one clause.
    """

    row: int
    label: int
    current: int | None
    proposed: int | None
    kind: str
    score: float
    probability: float
    reason: str


def label_errors(
    probabilities: Float[np.ndarray, "N L"], positive: Bool[np.ndarray, "N L"], known: Bool[np.ndarray, "N L"]
) -> list[Finding]:
    """Cells that are likely missing (absent or unknown, but scored high) or wrong (present, but scored low).

    A known cell's score is `1 - q`, `q` the probability of its given state (self-confidence). It is listed if
    confident learning counts it among the label's errors: the confident joint of given and predicted states determines
    their number, and the cells with the least self-confidence are listed. An unknown cell is listed, with score `p`,
    if `p` is at least 0.5 and the mean of the label's known positives. A label with fewer than 5 known positives or
    negatives has no joint: its cells are listed if their score exceeds 0.5.

    Args:
        probabilities: `[N, L]` in [0, 1], calibrated, of models that were not trained on the cell; finite.
        positive: `[N, L]`, whether the label is given as present; used where known.
        known: `[N, L]`.

    Raises:
        LabelwiseError: cleanlab is not installed, or a probability is not in [0, 1].

    Source: Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", section 3,
    prune by noise rate, each label taken as a class and its absence as another.
    """
    p = np.asarray(probabilities, np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise LabelwiseError(
            "probabilities outside [0, 1] or NaN", "numbers in [0, 1]", "calibrate the scores"
        )
    findings = []
    for label in range(p.shape[1]):
        given, is_known, column = positive[:, label], known[:, label], p[:, label]
        rows = np.flatnonzero(is_known)
        findings += [
            _known_error(int(row), label, bool(given[row]), float(column[row]))
            for row in rows[_issues(column[rows], given[rows])]
        ]
        usual = column[is_known & given].mean() if (is_known & given).any() else 0.5
        least = max(0.5, float(usual))
        findings += [
            _unknown(int(row), label, float(column[row]), least)
            for row in np.flatnonzero(~is_known & (column >= least))
        ]
    return findings


def _issues(p: np.ndarray, given: np.ndarray) -> np.ndarray:
    """`[M]` bool: the cells of one label that confident learning classifies as errors."""
    if min(given.sum(), (~given).sum()) < FEWEST:
        return np.where(given, 1 - p, p) > 0.5
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise LabelwiseError(
            "cleanlab is not installed", "the extra `audit`", "pip install 'labelwise[audit]'"
        ) from None
    return np.asarray(find_label_issues(given.astype(int), np.stack([1 - p, p], axis=1), n_jobs=1), bool)


def _known_error(row: int, label: int, given: bool, p: float) -> Finding:
    state = "present" if given else "absent"
    reason = f"given as {state}; a model that did not see it says {_shown(p)}"
    return Finding(
        row,
        label,
        int(given),
        int(not given),
        "wrong" if given else "missing",
        1 - p if given else p,
        p,
        reason,
    )


def _unknown(row: int, label: int, p: float, usual: float) -> Finding:
    reason = f"unknown; a model that did not see it says {_shown(p)}, of known positives {_shown(usual)} on average"
    return Finding(row, label, None, 1, "missing", p, p, reason)


def _shown(p: float) -> str:
    """A probability as text, never rounded to 0 or 1.

    >>> _shown(0.001), _shown(0.5), _shown(0.9999)
    ('under 0.01', '0.50', 'over 0.99')
    """
    return "under 0.01" if p < 0.01 else "over 0.99" if p > 0.99 else f"{p:.2f}"


def rank(findings: Iterable[Finding]) -> list[Finding]:
    """One finding per cell, highest score first; of several on a cell the highest is kept, with all their reasons.

    The same rule applies to findings on one cell that propose different states.
    """
    by_cell: dict[tuple[int, int], Finding] = {}
    for finding in findings:
        held = by_cell.setdefault((finding.row, finding.label), finding)
        if held is finding:
            continue
        first, second = sorted((held, finding), key=lambda f: -f.score)
        reasons = first.reason if second.reason in first.reason else f"{first.reason}; {second.reason}"
        by_cell[finding.row, finding.label] = replace(first, reason=reasons)
    return sorted(by_cell.values(), key=lambda f: (-f.score, f.row, f.label))
