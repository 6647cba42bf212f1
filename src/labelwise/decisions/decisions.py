"""From logits to selected labels: calibration, thresholds and rules, kept together and applied alike everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet

UNDECIDED = 0.5
NOTHING = "nothing fitted"


@dataclass(frozen=True)
class Decisions:
    """How a logit becomes a probability, and probabilities become selected labels.

    `p = sigmoid(scale z + bias)`; label `l` is selected where `p_l >= thresholds_l`. Of an exclusive group only
    the label most over its threshold (largest `p - threshold`) stays; then only the `top_k` most probable stay.
    A label that training had no positive of is never selected, whatever its probability, which nothing taught.

    Args:
        thresholds: `[L]` float64 in [0, 1], on the calibrated probability.
        scale: `[L]` float64, positive; ones where not calibrated.
        bias: `[L]` float64; zeros where not calibrated.
        exclusive: columns of each exclusive group; at most one of a group is selected.
        top_k: at most so many labels an image; 0 sets no limit.
        source: what they were fitted on, for people.
        never: columns of the labels that are never selected; their thresholds become 1.

    Raises:
        LabelwiseError: on numbers out of range or arrays of differing length.

    >>> two = Decisions(np.array([0.5, 0.3]), np.ones(2), np.zeros(2), exclusive=((0, 1),))
    >>> two.select(two.probabilities(np.array([[1.0, 1.0], [0.2, -5.0]]))).tolist()
    [[False, True], [True, False]]
    """

    thresholds: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    exclusive: tuple[tuple[int, ...], ...] = ()
    top_k: int = 0
    source: str = ""
    never: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("thresholds", "scale", "bias"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        length = self.thresholds.shape
        if len(length) != 1 or self.scale.shape != length or self.bias.shape != length:
            raise LabelwiseError(
                f"thresholds {length}, scale {self.scale.shape}, bias {self.bias.shape}",
                "three arrays of one number per label",
                "fit the decisions again",
            )
        for name, good, expected in (
            ("thresholds", (self.thresholds >= 0) & (self.thresholds <= 1), "numbers in [0, 1]"),
            ("scale", (self.scale > 0) & np.isfinite(self.scale), "positive numbers"),
            ("bias", np.isfinite(self.bias), "finite numbers"),
        ):
            if not good.all():
                value = getattr(self, name)[~good][0]
                raise LabelwiseError(f"{name} with {value}", expected, "fit the decisions again")
        columns = [column for group in (*self.exclusive, self.never) for column in group]
        if self.top_k < 0 or any(not 0 <= column < len(self) for column in columns):
            raise LabelwiseError(
                f"top_k {self.top_k}, exclusive groups {self.exclusive}, never {self.never}",
                f"0 or more, and columns below {len(self)}",
                "correct the rules",
            )
        # Programs that read thresholds alone then hardly select them either.
        unlearned = np.isin(np.arange(len(self)), self.never)
        object.__setattr__(self, "never", tuple(np.flatnonzero(unlearned).tolist()))
        object.__setattr__(self, "thresholds", np.where(unlearned, 1.0, self.thresholds))

    def __len__(self) -> int:
        return len(self.thresholds)

    @classmethod
    def plain(cls, labels: LabelSet) -> Decisions:
        """Nothing fitted: 0.5 on the uncalibrated probability, and the label set's exclusive groups."""
        n = len(labels)
        return cls(np.full(n, UNDECIDED), np.ones(n), np.zeros(n), _exclusive(labels), 0, NOTHING)

    @property
    def fitted(self) -> bool:
        """Whether thresholds or calibration were fitted to data."""
        return self.source != NOTHING

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities `[N, L]` float64 of logits `[N, L]`; the order of a label's images stays."""
        return sigmoid(np.asarray(logits, dtype=np.float64) * self.scale + self.bias)

    def select(self, probabilities: np.ndarray) -> np.ndarray:
        """Selected labels, `[N, L]` bool, of calibrated probabilities `[N, L]`."""
        over = np.asarray(probabilities, dtype=np.float64) - self.thresholds
        over[:, list(self.never)] = -np.inf
        chosen = over >= 0
        for group in self.exclusive:
            columns = np.array(group, dtype=np.int64)
            best = np.zeros((len(over), len(columns)), bool)
            if len(columns):
                best[np.arange(len(over)), over[:, columns].argmax(axis=1)] = True
                chosen[:, columns] &= best
        if self.top_k:
            order = np.argsort(np.where(chosen, -np.asarray(probabilities), np.inf), axis=1, kind="stable")
            np.put_along_axis(chosen, order[:, self.top_k :], False, axis=1)
        return chosen

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """Plain data by label name, which stands in labels.json beside the labels."""

        def by_name(values: np.ndarray) -> dict[str, float]:
            return dict(zip(names, map(float, values), strict=True))

        return {
            "thresholds": by_name(self.thresholds),
            "thresholds_from": self.source,
            "calibration": {"scale": by_name(self.scale), "bias": by_name(self.bias)},
            "rules": {
                "exclusive": [[names[column] for column in group] for group in self.exclusive],
                "top_k": self.top_k,
                **({"never": [names[column] for column in self.never]} if self.never else {}),
            },
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], labels: LabelSet) -> Decisions:
        """The decisions in what a labels.json holds, matched by name; what it lacks is as in `plain`.

        Raises:
            LabelwiseError: entries that are no numbers, or a rule on an unknown label.
        """
        plain = cls.plain(labels)
        try:
            calibration, rules = stored.get("calibration") or {}, stored.get("rules") or {}
            thresholds = _column(stored.get("thresholds") or {}, labels, UNDECIDED)
            scale = _column(calibration.get("scale") or {}, labels, 1.0)
            bias = _column(calibration.get("bias") or {}, labels, 0.0)
            exclusive = plain.exclusive
            if "exclusive" in rules:
                exclusive = tuple(tuple(labels.index(name) for name in group) for group in rules["exclusive"])
            top_k = int(rules.get("top_k", 0))
            never = tuple(labels.index(name) for name in rules.get("never", ()))
        except (TypeError, AttributeError, ValueError, OverflowError) as error:
            if isinstance(error, LabelwiseError):
                raise
            raise LabelwiseError(
                f"decisions in labels.json ({error})", "numbers by label name", "run `labelwise tune` again"
            ) from None
        source = str(stored.get("thresholds_from", plain.source))
        return cls(thresholds, scale, bias, exclusive, top_k, source, never)


def never_told(names: Sequence[str]) -> str:
    """A sentence on labels that are never selected; "" without any.

    >>> never_told(["gold", "silver"])
    'Never selected, no positive in train: gold, silver.'
    """
    few = ", ".join(names[:20]) + (f" and {len(names) - 20:,} more" if len(names) > 20 else "")
    return f"Never selected, no positive in train: {few}." if names else ""


def sigmoid(z: np.ndarray) -> np.ndarray:
    """`1 / (1 + exp(-z))` in float64 without overflow; exactly 0.5 at 0."""
    z = np.asarray(z, dtype=np.float64)
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


def _exclusive(labels: LabelSet) -> tuple[tuple[int, ...], ...]:
    return tuple(
        tuple(labels.index(name) for name in group.labels)
        for group in labels.groups.values()
        if group.exclusive
    )


def _column(by_name: Mapping[str, Any], labels: LabelSet, missing: float) -> np.ndarray:
    return np.array([float(by_name.get(name, missing)) for name in labels.names])
