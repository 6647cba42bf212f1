"""The fit of a run's decisions, repeated on the same scores, so that each image is decided without its fold."""

from __future__ import annotations

from labelwise.decisions import Decisions, Tuning, tune_again
from labelwise.errors import LabelwiseError
from labelwise.evaluation.scores import Scores, StoredScores
from labelwise.runs.kept_decisions import kept_decisions
from labelwise.types import LabelSet


def fit_of(
    decisions: Decisions, labels: LabelSet, init_from: str, scores: Scores | StoredScores, split: str
) -> Tuning | None:
    """The fit that stored decisions came from, if it was on these scores; `None` if it was on others.

    Args:
        decisions: as stored in a run.
        labels: the run's.
        init_from: the run that its training started from, or "".
        scores: of a split.
        split: its name.
    """
    if not decisions.fitted:
        return None
    try:
        kept = kept_decisions(init_from, labels) if init_from else None
    except LabelwiseError:  # that run is gone
        kept = None
    hard = (scores.values >= 0.5).astype("uint8")
    return tune_again(decisions, scores.logits, hard, scores.known, labels, split, kept)
