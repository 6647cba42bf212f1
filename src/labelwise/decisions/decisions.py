"""From logits to selected labels: calibration, thresholds and rules in one object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwise.decisions.floors import Floors
from labelwise.decisions.projection import projection
from labelwise.errors import LabelwiseError
from labelwise.labels import LabelSet
from labelwise.rules.indexed import IndexedRules

UNDECIDED = 0.5
NOTHING = "nothing fitted"


@dataclass(frozen=True)
class Decisions:
    """Computes probabilities from logits and selects labels by their probabilities.

    `p = sigmoid(scale z + bias)`; label `l` is selected if `p_l >= thresholds_l`. With rules, the set with the largest
    `sum of p_l - thresholds_l` among the sets that satisfy them is selected, see `Projection`; in an exclusive group
    this is the label that exceeds its threshold most. Then only the `top_k` most probable labels are kept, as far as
    the rules allow: the least probable label that no other selected label requires is removed first. A label without
    a positive in training is never selected, unless `exactly_one` leaves no other.

    Args:
        thresholds: `[L]` float64 in [0, 1], on the calibrated probability.
        scale: `[L]` float64, positive; ones where not calibrated.
        bias: `[L]` float64; zeros where not calibrated.
        exclusive: columns of each exclusive group; at most one of a group is selected.
        top_k: maximum number of labels per image; 0 sets no limit.
        source: description of the images that the decisions were fitted on.
        never: columns of the labels that are never selected; their thresholds become 1.
        implies: (child, parent) columns; a child is selected only with its parent.
        exactly_one: columns of each group of which exactly one is selected.
        floors: what is promised of the thresholds alone, without the rules; `None` if no floor was asked for.

    Raises:
        LabelwiseError: on numbers out of range, arrays of different length, or rules that cannot all be satisfied.

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
    implies: tuple[tuple[int, int], ...] = ()
    exactly_one: tuple[tuple[int, ...], ...] = ()
    floors: Floors | None = None

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
        for name, valid, expected in (
            ("thresholds", (self.thresholds >= 0) & (self.thresholds <= 1), "numbers in [0, 1]"),
            ("scale", (self.scale > 0) & np.isfinite(self.scale), "positive numbers"),
            ("bias", np.isfinite(self.bias), "finite numbers"),
        ):
            if not valid.all():
                value = getattr(self, name)[~valid][0]
                raise LabelwiseError(f"{name} with {value}", expected, "fit the decisions again")
        rules = (*self.exclusive, *self.implies, *self.exactly_one)
        columns = [column for group in (*rules, self.never) for column in group]
        if self.top_k < 0 or any(not 0 <= column < len(self) for column in columns):
            raise LabelwiseError(
                f"top_k {self.top_k}, groups and rules {rules}, never {self.never}",
                f"0 or more, and columns below {len(self)}",
                "correct the rules",
            )
        # Programs that read only the thresholds then rarely select these labels either.
        unlearned = np.isin(np.arange(len(self)), self.never)
        object.__setattr__(self, "never", tuple(np.flatnonzero(unlearned).tolist()))
        object.__setattr__(self, "thresholds", np.where(unlearned, 1.0, self.thresholds))
        projection(self.rules)

    @property
    def rules(self) -> IndexedRules:
        """The rules that every selected set satisfies."""
        groups = tuple(group for group in self.exclusive if len(group) > 1)
        return IndexedRules(len(self), self.implies, self.exactly_one, groups)

    def __len__(self) -> int:
        return len(self.thresholds)

    @classmethod
    def plain(cls, labels: LabelSet) -> Decisions:
        """Nothing fitted: 0.5 on the uncalibrated probability, and the label set's exclusive groups."""
        n, rules = len(labels), labels.every_rule.over(labels.names)
        return cls(
            np.full(n, UNDECIDED),
            np.ones(n),
            np.zeros(n),
            rules.at_most_one,
            0,
            NOTHING,
            implies=rules.implies,
            exactly_one=rules.exactly_one,
        )

    @property
    def fitted(self) -> bool:
        """Whether thresholds or calibration were fitted to data."""
        return self.source != NOTHING

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities `[N, L]` float64 of logits `[N, L]`; keeps the order of a label's images."""
        return sigmoid(np.asarray(logits, dtype=np.float64) * self.scale + self.bias)

    def select(self, probabilities: np.ndarray, with_rules: bool = True) -> np.ndarray:
        """Selected labels, `[N, L]` bool, of calibrated probabilities `[N, L]`.

        Args:
            probabilities: `[N, L]` in [0, 1].
            with_rules: `False` ignores rules and exclusive groups, to measure their effect.
        """
        p = np.asarray(probabilities, dtype=np.float64)
        gain = p - self.thresholds
        # All other labels together gain less, so it is only chosen if `exactly_one` leaves no other.
        gain[:, list(self.never)] -= len(self) + 1.0
        gain[np.isnan(gain)] = -(len(self) + 1.0)
        if not with_rules:
            chosen = gain >= 0
            return _most_probable(chosen, p, IndexedRules(len(self)), self.top_k)
        return _most_probable(projection(self.rules)(gain), p, self.rules, self.top_k)

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """JSON data by label name, which labels.json stores with the labels."""

        def by_name(values: np.ndarray) -> dict[str, float]:
            return dict(zip(names, map(float, values), strict=True))

        by_kind = {"implies": self.implies, "exactly_one": self.exactly_one}
        return {
            "thresholds": by_name(self.thresholds),
            "thresholds_from": self.source,
            **({} if self.floors is None else {"floors": self.floors.to_json(names)}),
            "calibration": {"scale": by_name(self.scale), "bias": by_name(self.bias)},
            "rules": {
                "exclusive": [[names[column] for column in group] for group in self.exclusive],
                "top_k": self.top_k,
                **({"never": [names[column] for column in self.never]} if self.never else {}),
                **{
                    kind: [[names[j] for j in rule] for rule in rules]
                    for kind, rules in by_kind.items()
                    if rules
                },
            },
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], labels: LabelSet) -> Decisions:
        """The decisions of a labels.json, matched by name; missing entries are as in `plain`.

        Raises:
            LabelwiseError: entries that are not numbers, or a rule on an unknown label.
        """
        defaults = cls.plain(labels)
        try:
            calibration, rules = stored.get("calibration") or {}, stored.get("rules") or {}
            thresholds = _by_column(stored.get("thresholds") or {}, labels, UNDECIDED)
            scale = _by_column(calibration.get("scale") or {}, labels, 1.0)
            bias = _by_column(calibration.get("bias") or {}, labels, 0.0)
            exclusive, exactly_one = (
                tuple(tuple(labels.index(name) for name in group) for group in rules[kind])
                if kind in rules
                else getattr(defaults, kind)
                for kind in ("exclusive", "exactly_one")
            )
            implies = defaults.implies
            if "implies" in rules:
                implies = tuple(
                    (labels.index(child), labels.index(parent)) for child, parent in rules["implies"]
                )
            top_k = int(rules.get("top_k", 0))
            never = tuple(labels.index(name) for name in rules.get("never", ()))
            floors = Floors.from_json(stored["floors"], labels.names) if stored.get("floors") else None
        except (TypeError, AttributeError, ValueError, OverflowError) as error:
            if isinstance(error, LabelwiseError):
                raise
            raise LabelwiseError(
                f"decisions in labels.json ({error})", "numbers by label name", "run `labelwise tune` again"
            ) from None
        source = str(stored.get("thresholds_from", defaults.source))
        return cls(thresholds, scale, bias, exclusive, top_k, source, never, implies, exactly_one, floors)


def never_selected_note(names: Sequence[str]) -> str:
    """A sentence that lists the labels that are never selected; "" if there are none.

    >>> never_selected_note(["gold", "silver"])
    'Never selected, no positive in train: gold, silver.'
    """
    listed = ", ".join(names[:20]) + (f" and {len(names) - 20:,} more" if len(names) > 20 else "")
    return f"Never selected, no positive in train: {listed}." if names else ""


def sigmoid(z: np.ndarray) -> np.ndarray:
    """`1 / (1 + exp(-z))` in float64 without overflow; exactly 0.5 at 0."""
    z = np.asarray(z, dtype=np.float64)
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


def _most_probable(chosen: np.ndarray, p: np.ndarray, rules: IndexedRules, top_k: int) -> np.ndarray:
    """Keeps at most `top_k` labels per image, as far as the rules allow; 0 keeps all."""
    if not top_k:
        return chosen
    if not (rules.implies or rules.exactly_one):  # no label needs another
        order = np.argsort(np.where(chosen, -p, np.inf), axis=1, kind="stable")
        np.put_along_axis(chosen, order[:, top_k:], False, axis=1)
        return chosen
    needed = {j for group in rules.exactly_one for j in group}
    children: dict[int, list[int]] = {}
    for child, parent in rules.implies:
        children.setdefault(parent, []).append(child)
    for row in np.flatnonzero(chosen.sum(1) > top_k):
        kept, count = chosen[row], int(chosen[row].sum())
        # The least probable label is removed first (of ties the last), a parent only after its children.
        removable = [int(j) for j in np.argsort(-p[row], kind="stable")[::-1] if kept[j] and j not in needed]
        while count > top_k:
            candidates = (j for j in removable if kept[j] and not any(kept[k] for k in children.get(j, ())))
            if (removed := next(candidates, None)) is None:
                break
            kept[removed], count = False, count - 1
    return chosen


def _by_column(by_name: Mapping[str, Any], labels: LabelSet, missing: float) -> np.ndarray:
    """The numbers of a mapping in the order of the labels; `missing` for a label that it lacks."""
    return np.array([float(by_name.get(name, missing)) for name in labels.names])
