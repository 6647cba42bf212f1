"""The prediction for one image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelwise.errors import LabelwiseError

FAMILIARITY = "familiarity.safetensors"
"""The file that `labelwise familiarity` adds to a run."""
LEVEL = 0.01
"""p-value up to which an image is unfamiliar."""


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Args:
        image: the path as given, or "" for bytes and tensors.
        scores: label -> probability, highest first.
        thresholds: label -> threshold.
        error: the reason why the image is unreadable; `None` for a readable one.
        maps: `[L, h, w]` evidence in label order, if requested.
        names: labels in their order.
        chosen: the labels that the decisions select; `None` for all at or above their thresholds.
        shown: the part `(x0, y0, x1, y1)` of the photograph that is the model's input, which maps cover, in fractions.
        note: a note on how the image was decoded; "" for none.
        familiar: p-value of the image among the training images; `None` for a run without `labelwise familiarity`.
        familiar_labels: selected label -> p-value of its feature among those of its training images.
    """

    image: str
    scores: dict[str, float]
    thresholds: dict[str, float]
    error: str | None = None
    maps: np.ndarray | None = field(default=None, repr=False)
    names: tuple[str, ...] = field(default=(), repr=False)
    chosen: frozenset[str] | None = None
    shown: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    note: str = ""
    familiar: float | None = None
    familiar_labels: dict[str, float] = field(default_factory=dict)

    @property
    def unfamiliar(self) -> bool:
        """Whether the model has seen nothing like the image, at a p-value of 1 %."""
        return self.familiar is not None and self.familiar <= LEVEL

    @property
    def selected(self) -> list[str]:
        """Labels over their own thresholds that no rule forbids, highest probability first."""
        return [name for name, score in self.scores.items() if self._selects(name, score)]

    def map(self, label: str) -> np.ndarray:
        """`[h, w]` evidence of a label, non-negative, sum 1.

        Raises:
            LabelwiseError: maps were not requested, or no such label.
        """
        if self.maps is None:
            raise LabelwiseError("a prediction without maps", "predict(..., maps=True)", "predict again")
        if label not in self.names:
            raise LabelwiseError(
                f"label {label!r}", f"one of {', '.join(self.names[:8])}", "correct the name"
            )
        return self.maps[self.names.index(label)]

    def over_photograph(self, label: str) -> np.ndarray:
        """`map` over the whole photograph, on a grid of about the same step; 0 outside the model's input."""
        evidence = self.map(label)
        (h, w), (x0, y0, x1, y1) = evidence.shape, self.shown
        rows, columns = max(h, round(h / (y1 - y0))), max(w, round(w / (x1 - x0)))
        top, left = min(round(y0 * rows), rows - h), min(round(x0 * columns), columns - w)
        return np.pad(evidence, ((top, rows - h - top), (left, columns - w - left)))

    def to_json(self) -> dict[str, Any]:
        """The line that `labelwise predict --json` prints."""
        if self.error is not None:
            return {"image": self.image, "error": self.error}
        labels = [
            {"name": n, "score": s, "threshold": self.thresholds[n], "selected": self._selects(n, s)}
            for n, s in self.scores.items()
        ]
        for label in labels:
            if label["name"] in self.familiar_labels:
                label["familiar"] = self.familiar_labels[label["name"]]
        line: dict[str, Any] = {
            "image": self.image,
            "labels": labels,
            **({"note": self.note} if self.note else {}),
        }
        if self.familiar is not None:
            line |= {"familiar": self.familiar, "unfamiliar": self.unfamiliar}
        return line

    def _selects(self, name: str, score: float) -> bool:
        return score >= self.thresholds[name] if self.chosen is None else name in self.chosen
