"""The prediction for one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelwise.errors import LabelwiseError
from labelwise.labels import Group

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
        groups: the groups of the labels.
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
    groups: Mapping[str, Group] = field(default_factory=dict, repr=False)

    @property
    def unfamiliar(self) -> bool:
        """Whether the model has seen nothing like the image, at a p-value of 1 %."""
        return self.familiar is not None and self.familiar <= LEVEL

    @property
    def selected(self) -> list[str]:
        """Labels over their own thresholds that no rule forbids, highest probability first."""
        return [name for name, score in self.scores.items() if self._selects(name, score)]

    @property
    def choices(self) -> dict[str, dict[str, float]]:
        """For each exclusive group, the probability that each of its labels is the one present, highest first.

        With `o_l = p_l / (1 - p_l)`, it is `o_l / (1 + sum of o)`: that of independent labels, given that at most one
        is present. What is missing to 1 is the probability of none.

        >>> age = {"age": Group(("young", "old"), exclusive=True)}
        >>> Prediction("", {"young": 0.5, "old": 0.5, "hat": 0.9}, {}, groups=age).choices["age"]["young"].__round__(4)
        0.3333
        """
        result = {}
        for name, group in self.groups.items():
            members = [label for label in group.labels if label in self.scores]
            if not group.exclusive or len(members) < 2:
                continue
            # Divided by the largest odds, so that no product overflows.
            p = np.clip([self.scores[label] for label in members], 1e-12, 1 - 1e-12)
            logs = np.log(p) - np.log1p(-p)
            largest = max(0.0, float(logs.max()))
            odds = np.exp(logs - largest)
            shares = odds / (np.exp(-largest) + odds.sum())
            ranked = sorted(zip(members, shares.tolist(), strict=True), key=lambda item: -item[1])
            result[name] = dict(ranked)
        return result

    def by_group(self) -> dict[str, list[str]]:
        """The selected labels of each group that has one, in the order of the groups; those in none under "".

        A label in several groups is listed in the exclusive one, else in the first.
        """
        ordered = sorted(self.groups.items(), key=lambda item: not item[1].exclusive)
        group_of: dict[str, str] = {}
        for name, group in ordered:
            for label in group.labels:
                group_of.setdefault(label, name)
        by_group: dict[str, list[str]] = {"": [], **{name: [] for name in self.groups}}
        for label in self.selected:
            by_group[group_of.get(label, "")].append(label)
        return {name: labels for name, labels in by_group.items() if labels}

    def summary(self) -> str:
        """The selected labels with their probabilities, by group if the labels have groups.

        A label of an exclusive group has its probability as the one choice of the group, see `choices`.
        """
        parts = []
        for name, labels in self.by_group().items():
            scores = {**self.scores, **self.choices.get(name, {})}
            text = ", ".join(f"{label} {scores[label]:.2f}" for label in labels)
            parts.append(f"{name}: {text}" if name else text)
        return "; ".join(parts)

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
        if choices := self.choices:
            line["choices"] = choices
        if self.familiar is not None:
            line |= {"familiar": self.familiar, "unfamiliar": self.unfamiliar}
        return line

    def _selects(self, name: str, score: float) -> bool:
        return score >= self.thresholds[name] if self.chosen is None else name in self.chosen
