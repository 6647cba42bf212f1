"""Statistics of the stored scores for the report: histograms, confusions and selected rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from labelwise.reports.record import RecordedScores


@dataclass(frozen=True)
class Pick:
    """One image and one label of it, chosen for the gallery.

    Args:
        row: row of the scores.
        label: label column.
        margin: log-odds of the score minus log-odds of the label's threshold.
    """

    row: int
    label: int
    margin: float


@dataclass(frozen=True)
class Confusions:
    """Counts of wrong predictions of a label on images where another label is true.

    Args:
        wrong: `[L, L]` images where i is true, j is false and j was predicted.
        chances: `[L, L]` images where i is true and j is known to be false.
        usual: `[L]` share of all images without j in which j was predicted.
    """

    wrong: Int[np.ndarray, "L L"]
    chances: Int[np.ndarray, "L L"]
    usual: Float[np.ndarray, " L"]

    @property
    def rate(self) -> Float[np.ndarray, "L L"]:
        """`P(j predicted | i true, j false)`; NaN without such images and on the diagonal."""
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = np.where(self.chances > 0, self.wrong / self.chances, np.nan)
        np.fill_diagonal(rate, np.nan)
        return rate


def margins(scores: RecordedScores, thresholds: Float[np.ndarray, " L"]) -> Float[np.ndarray, "N L"]:
    """Distance of every score to its label's threshold, `logit(p) - logit(t)`, comparable between labels."""
    p = np.clip(scores.probabilities.astype(np.float64), 1e-12, 1 - 1e-12)
    t = np.clip(thresholds, 1e-12, 1 - 1e-12)
    return np.log(p / (1 - p)) - np.log(t / (1 - t))


def score_shares(
    scores: RecordedScores, label: int, bins: int = 20
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]:
    """Shares of a label's positives and of its negatives in equal score bins over [0, 1], where known."""
    known, true = scores.known[:, label], scores.true[:, label]
    p = scores.probabilities[:, label]
    counts = [np.histogram(p[known & side], bins=bins, range=(0, 1))[0] for side in (true, ~true)]
    positives, negatives = (count / max(1, count.sum()) for count in counts)
    return positives, negatives


def count_confusions(scores: RecordedScores) -> Confusions:
    """Counts wrong predictions of each label j in the images where each other label i is true."""
    positives = (scores.true & scores.known).astype(np.float32)
    negatives = ~scores.true & scores.known
    false_positives = negatives & scores.selected
    wrong = (positives.T @ false_positives.astype(np.float32)).round().astype(np.int64)
    chances = (positives.T @ negatives.astype(np.float32)).round().astype(np.int64)
    usual_rates = false_positives.sum(0) / np.maximum(1, negatives.sum(0))
    return Confusions(wrong, chances, usual_rates)


def most_confused(confusions: Confusions) -> list[int]:
    """At most 20 labels with the most confusions, as true or as predicted label, most first; only those with any."""
    wrong = confusions.wrong.copy()
    np.fill_diagonal(wrong, 0)
    total = wrong.sum(0) + wrong.sum(1)
    order = np.argsort(-total, kind="stable")[:20]
    return [int(label) for label in order if total[label] > 0]


def strongest_pairs(confusions: Confusions) -> list[tuple[int, int]]:
    """At most 10 pairs (i true, j predicted) with the most wrong predictions beyond j's usual rate, most first."""
    excess = confusions.wrong - confusions.chances * confusions.usual[None, :]
    np.fill_diagonal(excess, 0)
    order = np.argsort(-excess, axis=None, kind="stable")[:10]
    pairs = [divmod(int(flat), excess.shape[1]) for flat in order]
    return [(i, j) for i, j in pairs if excess[i, j] > 0 and confusions.wrong[i, j] > 0]


def confident_errors(
    scores: RecordedScores, thresholds: Float[np.ndarray, " L"], count: int = 12
) -> tuple[list[Pick], list[Pick]]:
    """The false positives and the missed labels furthest from their thresholds: (false positives, missed).

    At most one pick per image and a few per label, so that one bad label does not fill the page.
    """
    distance = margins(scores, thresholds)
    predicted = scores.selected
    false_positives = _furthest(distance, scores.known & ~scores.true & predicted, count)
    selectable = np.asarray(thresholds) < 1  # the others are missed by rule, not by a wrong score
    missed = _furthest(-distance, scores.known & scores.true & ~predicted & selectable, count)
    return false_positives, [Pick(pick.row, pick.label, -pick.margin) for pick in missed]


def typical_finds(scores: RecordedScores, thresholds: Float[np.ndarray, " L"]) -> list[Pick]:
    """For the six labels with the most correct predictions, the one of median margin: typical, not best."""
    distance = margins(scores, thresholds)
    correct = scores.known & scores.true & scores.selected
    picks: list[Pick] = []
    used_rows: set[int] = set()
    for label in np.argsort(-correct.sum(0), kind="stable"):
        rows = np.flatnonzero(correct[:, label])
        rows = rows[np.argsort(distance[rows, label], kind="stable")]
        middle = len(rows) // 2
        unused = [int(row) for row in rows[middle : middle + 20] if int(row) not in used_rows]
        if unused and len(picks) < 6:
            used_rows.add(unused[0])
            picks.append(Pick(unused[0], int(label), float(distance[unused[0], label])))
    return picks


def _furthest(
    distance: Float[np.ndarray, "N L"], candidates: Bool[np.ndarray, "N L"], count: int
) -> list[Pick]:
    """At most `count` picks of these cells, the largest distance first."""
    cells = np.flatnonzero(candidates)
    examined = min(len(cells), 40 * count)
    values = distance.reshape(-1)[cells]
    order = np.argsort(-values, kind="stable")[:examined]
    per_label = max(2, math.ceil(count / distance.shape[1]))
    picks: list[Pick] = []
    used_rows: set[int] = set()
    label_counts: dict[int, int] = {}
    for position in order:
        row, label = divmod(int(cells[position]), distance.shape[1])
        if row in used_rows or label_counts.get(label, 0) >= per_label:
            continue
        used_rows.add(row)
        label_counts[label] = label_counts.get(label, 0) + 1
        picks.append(Pick(row, label, float(values[position])))
        if len(picks) == count:
            break
    return picks
