"""label features -> logits."""

from labelwise.classifiers.graph import GraphClassifier
from labelwise.classifiers.per_label import PerLabelClassifier

__all__ = ["GraphClassifier", "PerLabelClassifier"]
