"""The objective that thresholds are fitted for, in its text form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelwise.decisions.thresholds import (
    ThresholdInfo,
    cost_thresholds,
    f1_thresholds,
    precision_thresholds,
    recall_thresholds,
)
from labelwise.errors import LabelwiseError
from labelwise.metrics.arrays import Array

FLOORS = ("precision", "recall")
FORMS = "f1, precision=0.9, recall=0.8, cost=FP:FN or top=3"


@dataclass(frozen=True)
class Objective:
    """An objective with its parameters.

    Args:
        kind: `f1`, `precision`, `recall`, `cost` or `top`.
        numbers: the floor; the costs of a false positive and a false negative; the maximum of labels per image.
        text: the text that it was parsed from.
    """

    kind: str
    numbers: tuple[float, ...]
    text: str

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Parses an objective.

        Raises:
            LabelwiseError: unknown form, or a number out of range.

        >>> Objective.parse("cost=1:5").numbers
        (1.0, 5.0)
        """
        kind, _, values = text.strip().partition("=")
        lengths = {"f1": 0, "precision": 1, "recall": 1, "cost": 2, "top": 1}
        try:
            numbers = tuple(float(n) for n in values.split(":")) if values else ()
        except ValueError:
            numbers = ()
        invalid = kind not in lengths or len(numbers) != lengths[kind] or not np.isfinite(numbers).all()
        if kind == "top" and not invalid:
            invalid = numbers[0] < 1 or numbers[0] % 1 != 0
        if kind in FLOORS and not invalid and not 0 < numbers[0] < 1:
            raise LabelwiseError(f"objective {text!r}", FORMS, f"give a {kind} over 0 and under 1")
        if kind == "cost" and not invalid:
            invalid = min(numbers) <= 0
        if invalid or (kind == "f1" and "=" in text):
            raise LabelwiseError(f"objective {text!r}", FORMS, "write one of these forms")
        return cls(kind, numbers, text.strip())

    @property
    def floor(self) -> float:
        """The precision or recall that is required; 0 for other objectives."""
        return self.numbers[0] if self.kind in FLOORS else 0.0

    @property
    def top_k(self) -> int:
        """The maximum number of labels per image; 0 for no limit."""
        return int(self.numbers[0]) if self.kind == "top" else 0

    def thresholds(self, p: Array, targets: Array, known: Array | None = None) -> tuple[Array, ThresholdInfo]:
        """Thresholds `[L]` on calibrated probabilities `[N, L]`; `top` uses those of F1."""
        if self.kind == "precision":
            return precision_thresholds(p, targets, known, precision=self.floor)
        if self.kind == "recall":
            return recall_thresholds(p, targets, known, recall=self.floor)
        if self.kind == "cost":
            false_positive, false_negative = self.numbers
            return cost_thresholds(p, targets, known, false_positive, false_negative)
        return f1_thresholds(p, targets, known)
