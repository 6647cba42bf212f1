"""Significance of the difference between two rows of a sweep, over images and seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from labelwise.errors import LabelwiseError
from labelwise.evaluation.scores import StoredScores
from labelwise.metrics.bootstrap import RESAMPLES, bootstrap_counts
from labelwise.runs.files import save_csv

COLUMNS = ("row", "against", "known_proportion", "difference", "low", "high", "sd", "seeds", "verdict")

Cell = tuple[float, int]
"""Known proportion and seed of a run."""


@dataclass(frozen=True)
class Difference:
    """The mAP of one row minus that of another, in fractions.

    Args:
        row: the row that is compared.
        against: the row that it is compared with.
        proportion: share of known labels, or `None` for the mean over several.
        mean: mean over the seeds that both rows have.
        low, high: ends of the 95 % interval over paired resamples of the test images.
        sd: sample standard deviation over seeds; `None` for one seed.
        seeds: number of seeds that both rows have.
    """

    row: str
    against: str
    proportion: float | None
    mean: float
    low: float
    high: float
    sd: float | None
    seeds: int

    @property
    def verdict(self) -> str:
        """`within noise` if the interval contains 0 or the mean is under 2 standard errors over seeds."""
        error = 0.0 if self.sd is None else self.sd / math.sqrt(self.seeds)
        if self.low <= 0 <= self.high or abs(self.mean) < 2 * error:
            return "within noise"
        return ("higher" if self.mean > 0 else "lower") + (", 1 seed" if self.seeds == 1 else "")


def differences(
    files: Mapping[str, Mapping[Cell, Path]], against: str, number: int = RESAMPLES
) -> list[Difference]:
    """Differences of each row to one of them, by known proportion, and over all proportions if there are several.

    Every run is evaluated on the same resamples of the test images, so that the difficulty of images cancels out.

    Args:
        files: row -> (known proportion, seed) -> file of test scores.
        against: name of the row that the others are compared with.
        number: number of resamples.

    Raises:
        LabelwiseError: no such row, or runs that were evaluated on other images or have no mAP.
    """
    if against not in files:
        raise LabelwiseError(f"row {against!r}", f"one of {', '.join(files)}", "correct --against")
    resampled = _ResampledMAP(number)
    rows = []
    for row, cells in files.items():
        common = [cell for cell in cells if cell in files[against]] if row != against else []
        gaps = {cell: resampled.of(cells[cell]) - resampled.of(files[against][cell]) for cell in common}
        proportions = list(dict.fromkeys(p for p, _ in common))
        for p in proportions:
            rows.append(_difference(row, against, p, [gap for (q, _), gap in gaps.items() if q == p]))
        if len(proportions) > 1:
            seeds = [
                s for s in dict.fromkeys(s for _, s in common) if all((p, s) in gaps for p in proportions)
            ]
            means = [np.mean([gaps[p, s] for p in proportions], axis=0) for s in seeds]
            rows += [_difference(row, against, None, means)] if means else []
    return rows


def difference_table(rows: list[Difference], number: int = RESAMPLES) -> str:
    """Differences as text, in points."""
    if not rows:
        return "no other row with a seed in common"
    lines = [
        f"difference in test mAP, in points; interval: 95 % of {number:,} paired draws of images, or of their groups",
        f"{'row':24} {'against':24} {'known':>6} {'difference':>11} {'interval':>18} {'sd over seeds':>14}  seeds",
    ]
    for d in rows:
        known = "mean" if d.proportion is None else f"{d.proportion:g}"
        sd = "-" if d.sd is None else f"{100 * d.sd:.2f}"
        interval = f"[{100 * d.low:+.2f}, {100 * d.high:+.2f}]"
        lines.append(
            f"{d.row:24} {d.against:24} {known:>6} {100 * d.mean:+11.2f} {interval:>18} {sd:>14} {d.seeds:6}"
            f"  {d.verdict}"
        )
    return "\n".join(lines)


def write_differences(path: Path, rows: Sequence[Difference]) -> None:
    """Writes differences as CSV, in fractions, atomically; `known_proportion` is empty for the mean over several."""
    lines: list[Sequence[object]] = [COLUMNS]
    for d in rows:
        sd = "" if d.sd is None else round(d.sd, 6)
        gap = round(d.mean, 6), round(d.low, 6), round(d.high, 6)
        lines.append((d.row, d.against, d.proportion, *gap, sd, d.seeds, d.verdict))
    save_csv(path, lines, "\r\n")


class _ResampledMAP:
    """mAP of each file, on all images and on shared resamples; every file is read once."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._reference: tuple[Path, StoredScores] | None = None
        self._counts = np.zeros((0, 0), np.int32)
        self._values: dict[Path, np.ndarray] = {}

    def of(self, path: Path) -> Float[np.ndarray, " R1"]:
        """The mAP, then that of each resample."""
        if path not in self._values:
            scores = StoredScores.read(path)
            if self._reference is None:
                self._reference = path, scores
                counts = bootstrap_counts(len(scores.ids), self.number, 0, scores.group)
                self._counts = np.concatenate((np.ones((len(counts), 1), np.int32), counts), axis=1)
            _check_same(path, scores, *self._reference)
            values = scores.resampled_map(self._counts)
            if np.isnan(values[0]):
                raise LabelwiseError(
                    f"{path} in which no label has both a known positive and a known negative",
                    "scores with an mAP",
                    "evaluate the runs on other images",
                )
            self._values[path] = values
        return self._values[path]


def _check_same(path: Path, scores: StoredScores, reference_path: Path, reference: StoredScores) -> None:
    """Raises an error if two files are not of the same images and annotations."""
    if not (
        np.array_equal(scores.ids, reference.ids)
        and np.array_equal(scores.values, reference.values)
        and np.array_equal(scores.known, reference.known)
    ):
        raise LabelwiseError(
            f"{path} of other images or labels than {reference_path}",
            "runs evaluated on the same split",
            "compare those",
        )


def _difference(row: str, against: str, proportion: float | None, gaps: list[np.ndarray]) -> Difference:
    """From one array per seed: the difference on all images, then that of each resample."""
    means = np.mean(gaps, axis=0)
    resampled = means[1:][~np.isnan(means[1:])]
    low, high = np.quantile(resampled, (0.025, 0.975)) if len(resampled) else (math.nan, math.nan)
    seed_means = [float(gap[0]) for gap in gaps]
    sd = statistics.stdev(seed_means) if len(seed_means) > 1 else None
    return Difference(row, against, proportion, float(means[0]), float(low), float(high), sd, len(seed_means))
