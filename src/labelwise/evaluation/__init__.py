"""Named protocols -> a result that carries its own conditions."""

from labelwise.evaluation.companions import companions, cooccurrence_shift
from labelwise.evaluation.corrupt import corruption_table
from labelwise.evaluation.evaluate import Result, evaluate
from labelwise.evaluation.labels import same_labels
from labelwise.evaluation.scores import Scores, StoredScores, collect

__all__ = [
    "Result",
    "Scores",
    "StoredScores",
    "collect",
    "companions",
    "cooccurrence_shift",
    "corruption_table",
    "evaluate",
    "same_labels",
]
