"""Whether a difference between two rows of a sweep is more than chance of images and seeds."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int32

from labelwise.errors import LabelwiseError
from labelwise.evaluation.scores import StoredScores
from labelwise.metrics import bootstrap
from labelwise.metrics.bootstrap import DRAWS, draw
from labelwise.training.files import write_text

COLUMNS = ("row", "against", "known_proportion", "difference", "low", "high", "sd", "seeds", "verdict")

Cell = tuple[float, int]
"""Known proportion and seed of a run."""


@dataclass(frozen=True)
class Difference:
    """The mAP of one row less that of another, in fractions.

    Args:
        row: the row that is compared.
        against: the row that it is compared with.
        proportion: share of known labels, or `None` for the mean over several.
        mean: mean over the seeds that both rows have.
        low, high: ends of the 95 % interval over paired draws of the test images.
        sd: sample standard deviation over seeds; `None` for one seed.
        seeds: how many seeds both rows have.
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
        """`within noise` where the interval holds 0 or the mean is under 2 standard errors over seeds."""
        error = 0.0 if self.sd is None else self.sd / math.sqrt(self.seeds)
        if self.low <= 0 <= self.high or abs(self.mean) < 2 * error:
            return "within noise"
        return ("higher" if self.mean > 0 else "lower") + (", 1 seed" if self.seeds == 1 else "")


def drawn_map(scores: StoredScores, counts: Int32[np.ndarray, "N R"]) -> Float[np.ndarray, " R"]:
    """mAP under each draw, unknown cells left out and labels without a drawn positive or negative skipped."""
    return bootstrap.drawn_map(scores.logits, scores.values, scores.known.astype(bool), counts)


def differences(
    files: Mapping[str, Mapping[Cell, Path]], against: str, number: int = DRAWS
) -> list[Difference]:
    """Each row against one of them, by known proportion, and over all proportions where there are several.

    Every run is judged on the same draws of the test images, so that what is hard for all cancels out.

    Args:
        files: row -> (known proportion, seed) -> file of test scores.
        against: name of the row that the others are compared with.
        number: how many draws.

    Raises:
        LabelwiseError: no such row, or runs that were judged on other images or without an mAP.
    """
    if against not in files:
        raise LabelwiseError(f"row {against!r}", f"one of {', '.join(files)}", "correct --against")
    drawn = _Drawn(number)
    found = []
    for row, cells in files.items():
        common = [cell for cell in cells if cell in files[against]] if row != against else []
        gaps = {cell: drawn.of(cells[cell]) - drawn.of(files[against][cell]) for cell in common}
        proportions = list(dict.fromkeys(p for p, _ in common))
        for p in proportions:
            found.append(_difference(row, against, p, [gap for (q, _), gap in gaps.items() if q == p]))
        if len(proportions) > 1:
            seeds = [
                s for s in dict.fromkeys(s for _, s in common) if all((p, s) in gaps for p in proportions)
            ]
            means = [np.mean([gaps[p, s] for p in proportions], axis=0) for s in seeds]
            found += [_difference(row, against, None, means)] if means else []
    return found


def table(found: list[Difference], number: int = DRAWS) -> str:
    """Differences as text, in points."""
    if not found:
        return "no other row with a seed in common"
    lines = [
        f"difference in test mAP, in points; interval: 95 % of {number:,} paired draws of images",
        f"{'row':24} {'against':24} {'known':>6} {'difference':>11} {'interval':>18} {'sd over seeds':>14}  seeds",
    ]
    for d in found:
        known = "mean" if d.proportion is None else f"{d.proportion:g}"
        sd = "-" if d.sd is None else f"{100 * d.sd:.2f}"
        interval = f"[{100 * d.low:+.2f}, {100 * d.high:+.2f}]"
        lines.append(
            f"{d.row:24} {d.against:24} {known:>6} {100 * d.mean:+11.2f} {interval:>18} {sd:>14} {d.seeds:6}"
            f"  {d.verdict}"
        )
    return "\n".join(lines)


def write(path: Path, found: Sequence[Difference]) -> None:
    """Differences as CSV, in fractions, atomically; `known_proportion` is empty for the mean over several."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for d in found:
        sd = "" if d.sd is None else round(d.sd, 6)
        gap = round(d.mean, 6), round(d.low, 6), round(d.high, 6)
        writer.writerow((d.row, d.against, d.proportion, *gap, sd, d.seeds, d.verdict))
    write_text(path, text.getvalue())


class _Drawn:
    """mAP of each file as it stands and under the same draws; every file is read once."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._first: tuple[Path, StoredScores] | None = None
        self._counts = np.zeros((0, 0), np.int32)
        self._done: dict[Path, np.ndarray] = {}

    def of(self, path: Path) -> Float[np.ndarray, " R1"]:
        """The mAP, then that of each draw."""
        if path not in self._done:
            scores = StoredScores.read(path)
            if self._first is None:
                self._first = path, scores
                counts = draw(len(scores.ids), self.number, 0)
                self._counts = np.concatenate((np.ones((len(counts), 1), np.int32), counts), axis=1)
            _check_same(path, scores, *self._first)
            found = drawn_map(scores, self._counts)
            if np.isnan(found[0]):
                raise LabelwiseError(
                    f"{path} in which no label has both a known positive and a known negative",
                    "scores with an mAP",
                    "judge the runs on other images",
                )
            self._done[path] = found
        return self._done[path]


def _check_same(path: Path, scores: StoredScores, other: Path, first: StoredScores) -> None:
    if not (
        np.array_equal(scores.ids, first.ids)
        and np.array_equal(scores.values, first.values)
        and np.array_equal(scores.known, first.known)
    ):
        raise LabelwiseError(
            f"{path} of other images or labels than {other}", "runs judged on the same split", "compare those"
        )


def _difference(row: str, against: str, proportion: float | None, gaps: list[np.ndarray]) -> Difference:
    """From one array a seed: the difference as it stands, then that of each draw."""
    means = np.mean(gaps, axis=0)
    drawn = means[1:][~np.isnan(means[1:])]
    low, high = np.quantile(drawn, (0.025, 0.975)) if len(drawn) else (math.nan, math.nan)
    each = [float(gap[0]) for gap in gaps]
    sd = statistics.stdev(each) if len(each) > 1 else None
    return Difference(row, against, proportion, float(means[0]), float(low), float(high), sd, len(each))
