"""What a precision or recall floor was found to hold for: the record of each label's exact test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


def tail(hits: np.ndarray, trials: np.ndarray, floor: float) -> np.ndarray:
    """p-value of "the rate is below the floor": the probability of `hits` or more in `trials` at the rate `floor`.

    >>> tail(np.array([22, 21, 0]), np.array([22, 22, 0]), 0.9).round(3).tolist()
    [0.098, 0.339, 1.0]
    """
    from scipy.stats import binom  # slow to import, and only fits need it

    return np.asarray(binom.sf(np.asarray(hits) - 1, trials, floor), dtype=np.float64)


def bounds(hits: np.ndarray, trials: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper Clopper-Pearson bound of a rate, each at the given level; 0 and 1 without a trial.

    The lower bound is `floor` or more exactly where `tail(hits, trials, floor) <= level`.

    Source: Clopper and Pearson 1934, "The Use of Confidence or Fiducial Limits Illustrated in the Case of the
    Binomial".

    >>> [float(bound.round(3)) for bound in bounds(np.array(22), np.array(22), 0.1)]
    [0.901, 1.0]
    """
    from scipy.stats import beta

    hits, trials = np.asarray(hits, np.float64), np.asarray(trials, np.float64)
    low = beta.ppf(level, np.maximum(hits, 1), trials - hits + 1)
    high = beta.isf(level, hits + 1, np.maximum(trials - hits, 1))
    return np.where(hits > 0, low, 0.0), np.where(hits < trials, high, 1.0)


@dataclass(frozen=True)
class Floors:
    """The floor that thresholds were fitted to, and the labels that it is promised for.

    Args:
        kind: `precision` or `recall`.
        floor: in (0, 1).
        confidence: in (0, 1).
        level: highest p-value of a promised label; at most `1 - confidence`.
        promised: `[L]` bool.
        hits: `[L]` int64, known positives selected by the label's threshold.
        trials: `[L]` int64, known cells selected by it (precision), or known positives (recall).
        short: `[L]` int64, about how many more known positives the promise needs; 0 if it is given, -1 if more
            positives alone do not help.
    """

    kind: str
    floor: float
    confidence: float
    level: float
    promised: np.ndarray
    hits: np.ndarray
    trials: np.ndarray
    short: np.ndarray

    @property
    def reached(self) -> np.ndarray:
        """`[L]` float64, the rate on the images of the fit; NaN without a trial."""
        return np.where(self.trials > 0, self.hits / np.maximum(self.trials, 1), np.nan)

    def reason(self, column: int) -> str:
        """The result of a label's test."""
        if not self.promised[column]:
            return f"not supported: {self.lacks(column)}"
        counted = f"{self.hits[column]:,} of {self.trials[column]:,}"
        return f"promised: {counted}, at least {self.floor:g} at {100 * self.confidence:g} % confidence"

    def lacks(self, column: int) -> str:
        """Why the floor is not promised for a label."""
        more = int(self.short[column])
        return f"needs about {more:,} more positives" if more > 0 else "the scores do not reach it"

    def summary(self) -> str:
        """One sentence: what is promised, for how many labels and at which confidence."""
        return (
            f"{self.kind} of at least {self.floor:g}: promised for {self.promised.sum():,} of {len(self.promised):,} "
            f"labels at {100 * self.confidence:g} % confidence"
        )

    def without(self, names: Sequence[str]) -> str:
        """One sentence that names every label without a promise; empty if there are none."""
        lacking = [f"{name} ({self.lacks(j)})" for j, name in enumerate(names) if not self.promised[j]]
        what = f"{self.kind} of at least {self.floor:g} is not supported, best-effort thresholds"
        return f"{what}: {', '.join(lacking)}" if lacking else ""

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """JSON data by label name."""
        low, high = bounds(self.hits, self.trials, self.level)
        labels = {
            name: {
                "promised": bool(self.promised[j]),
                "reached": float(self.reached[j]) if self.trials[j] else None,
                "low": float(low[j]),
                "high": float(high[j]),
                "hits": int(self.hits[j]),
                "trials": int(self.trials[j]),
                "more_positives": None if self.short[j] < 0 else int(self.short[j]),
            }
            for j, name in enumerate(names)
        }
        return {
            "kind": self.kind,
            "floor": self.floor,
            "confidence": self.confidence,
            "level": self.level,
            "labels": labels,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], names: Sequence[str]) -> Floors:
        """The record of a labels.json, matched by name; nothing is promised for a label that it lacks.

        Raises:
            ValueError: entries that are missing or no numbers.
        """
        absent = {"promised": False, "hits": 0, "trials": 0, "more_positives": None}
        try:
            rows = [{**absent, **stored["labels"].get(name, {})} for name in names]
            return cls(
                str(stored["kind"]),
                float(stored["floor"]),
                float(stored["confidence"]),
                float(stored["level"]),
                np.array([row["promised"] is True for row in rows], bool),
                np.array([int(row["hits"]) for row in rows], np.int64),
                np.array([int(row["trials"]) for row in rows], np.int64),
                np.array(
                    [-1 if (more := row["more_positives"]) is None else int(more) for row in rows], np.int64
                ),
            )
        except KeyError as error:
            raise ValueError(f"floors without {error}") from None
