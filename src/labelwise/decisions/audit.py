"""Suspicious label cells: likely missing, likely wrong, different between duplicates, or against a rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from labelwise.errors import LabelwiseError

KINDS = ("missing", "wrong", "duplicate", "contradiction")
LIKELY = 0.5
"""Probability from which a known cell is listed."""


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
        probability: calibrated probability that the label is present, from the image alone, in [0, 1].
        reason: explanation in one clause.
        wrong: probability that the annotation is wrong, in [0, 1]; `None` for an unknown cell.
    """

    row: int
    label: int
    current: int | None
    proposed: int | None
    kind: str
    score: float
    probability: float
    reason: str
    wrong: float | None = None


def label_errors(
    probabilities: Float[np.ndarray, "N L"],
    wrong: Float[np.ndarray, "N L"],
    positive: Bool[np.ndarray, "N L"],
    known: Bool[np.ndarray, "N L"],
    judged: Bool[np.ndarray, "N L"] | None = None,
) -> list[Finding]:
    """Cells that are likely missing (absent or unknown, but scored high) or wrong (present, but scored low).

    A known cell is listed, with score `wrong`, if that is at least 0.5. An unknown cell is listed, with score `p`, if
    `p` is at least 0.5 and the mean of the label's known positives.

    Args:
        probabilities: `[N, L]` in [0, 1], calibrated, of models that were not trained on the cell; finite.
        wrong: `[N, L]` in [0, 1], probability that the annotation is wrong, as `Noise.wrong`; used where known.
        positive: `[N, L]`, whether the label is given as present; used where known.
        known: `[N, L]`.
        judged: `[N, L]`, cells that may have a finding; all if `None`.

    Raises:
        LabelwiseError: a probability is not in [0, 1].
    """
    p, w = np.asarray(probabilities, np.float64), np.asarray(wrong, np.float64)
    if not (((p >= 0) & (p <= 1)).all() and ((w[known] >= 0) & (w[known] <= 1)).all()):
        raise LabelwiseError(
            "probabilities outside [0, 1] or NaN", "numbers in [0, 1]", "calibrate the scores"
        )
    allowed = np.ones(p.shape, bool) if judged is None else judged
    findings = []
    for label in range(p.shape[1]):
        annotated, is_known, column = positive[:, label], known[:, label], p[:, label]
        suspicious = is_known & allowed[:, label] & (w[:, label] >= LIKELY)
        findings += [
            _known_error(int(row), label, bool(annotated[row]), float(column[row]), float(w[row, label]))
            for row in np.flatnonzero(suspicious)
        ]
        mean_positive = column[is_known & annotated].mean() if (is_known & annotated).any() else 0.5
        lowest = max(LIKELY, float(mean_positive))
        findings += [
            _unknown_finding(int(row), label, float(column[row]), lowest)
            for row in np.flatnonzero(~is_known & allowed[:, label] & (column >= lowest))
        ]
    return findings


def _known_error(row: int, label: int, annotated: bool, p: float, wrong: float) -> Finding:
    """The finding of a known cell whose annotation is likely wrong."""
    state = "present" if annotated else "absent"
    reason = f"given as {state}; a model that did not see it says {_as_text(p)}"
    return Finding(
        row,
        label,
        int(annotated),
        int(not annotated),
        "wrong" if annotated else "missing",
        wrong,
        p,
        reason,
        wrong,
    )


def _unknown_finding(row: int, label: int, p: float, usual: float) -> Finding:
    """The finding of an unknown cell that is likely present."""
    reason = f"unknown; a model that did not see it says {_as_text(p)}, of known positives {_as_text(usual)} on average"
    return Finding(row, label, None, 1, "missing", p, p, reason)


def _as_text(p: float) -> str:
    """A probability as text, never rounded to 0 or 1.

    >>> _as_text(0.001), _as_text(0.5), _as_text(0.9999)
    ('under 0.01', '0.50', 'over 0.99')
    """
    return "under 0.01" if p < 0.01 else "over 0.99" if p > 0.99 else f"{p:.2f}"


def rank_findings(findings: Iterable[Finding]) -> list[Finding]:
    """One finding per cell, highest score first; of several on a cell the highest is kept, with all their reasons.

    The same rule applies to findings on one cell that propose different states.
    """
    by_cell: dict[tuple[int, int], Finding] = {}
    for finding in findings:
        earlier = by_cell.setdefault((finding.row, finding.label), finding)
        if earlier is finding:
            continue
        first, second = sorted((earlier, finding), key=lambda f: -f.score)
        reasons = first.reason if second.reason in first.reason else f"{first.reason}; {second.reason}"
        by_cell[finding.row, finding.label] = replace(first, reason=reasons)
    return sorted(by_cell.values(), key=lambda f: (-f.score, f.row, f.label))
