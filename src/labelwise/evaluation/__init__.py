"""Named protocols -> a result that carries its own conditions."""

import labelwise.training  # noqa: F401  judging reads runs and training judges: this order lets either come first
from labelwise.evaluation.evaluate import Result, evaluate
from labelwise.evaluation.scores import Scores, StoredScores, collect

__all__ = ["Result", "Scores", "StoredScores", "collect", "evaluate"]
