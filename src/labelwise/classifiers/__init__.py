"""label features -> logits."""

from labelwise.classifiers.per_label import PerLabelClassifier

__all__ = ["PerLabelClassifier"]
