"""Named protocols -> a result that carries its own conditions."""

from labelwise.evaluation.evaluate import Result, evaluate
from labelwise.evaluation.scores import Scores, collect

__all__ = ["Result", "Scores", "collect", "evaluate"]
