"""A data set's labels compared with scores of models that were not trained on them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from labelwise.data.complete import AUDIT_COLUMNS
from labelwise.data.dataset import Dataset
from labelwise.data.duplicates import connected, fingerprints, near_duplicates
from labelwise.data.splits import together
from labelwise.decisions.audit import Finding, label_errors, rank
from labelwise.decisions.calibration import calibrate
from labelwise.decisions.contradictions import (
    conflicting_duplicates,
    exclusive_conflicts,
    implications,
    implied_missing,
    stated_implications,
)
from labelwise.decisions.decisions import sigmoid
from labelwise.evaluation.evaluate import evaluate
from labelwise.evaluation.labels import same_labels, unlike
from labelwise.evaluation.out_of_fold import out_of_fold
from labelwise.evaluation.scores import Scores
from labelwise.training.files import write_text
from labelwise.training.progress import Watch
from labelwise.training.run import Run


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Args:
        rows: the images that were scored.
        probabilities: `[N, L]`, calibrated, of models that were not trained on the image; NaN if it is unreadable.
        findings: most suspicious first; their rows are those of `rows`.
        scored_by: how the scores were computed, as text for the report.
    """

    rows: Dataset
    probabilities: np.ndarray
    findings: list[Finding]
    scored_by: str

    def table(self, pictures: Mapping[int, str] | None = None) -> str:
        """The findings as CSV; `pictures` maps the index of a finding (from 0) to its evidence file."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(AUDIT_COLUMNS)
        for index, f in enumerate(self.findings):
            writer.writerow(
                [
                    index + 1,
                    self.rows.image_id(f.row),
                    self.rows.labels.names[f.label],
                    *("" if state is None else state for state in (f.current, f.proposed)),
                    f.kind,
                    f"{f.score:.4f}",
                    f"{f.probability:.4f}",
                    f.reason,
                    (pictures or {}).get(index, ""),
                ]
            )
        return text.getvalue()

    def save(self, path: Path, pictures: Mapping[int, str] | None = None) -> None:
        """Writes `table` to a file atomically."""
        write_text(path, self.table(pictures))


def audit(
    run: Run | str | Path,
    data: Dataset,
    split: str = "train",
    folds: int = 5,
    limit: int = 0,
    watch: Watch | None = None,
) -> Audit:
    """Ranks the cells of a split that are likely missing or wrong, differ between copies, or break a rule.

    Images of `train` are scored out of fold, those of other splits by the run itself, which was not trained on them.
    Logits become probabilities by a calibration on the same cells, with two shrunken parameters per label.

    Args:
        run: provides the settings, and the weights for splits other than `train`.
        data: images with the run's labels in any order; its `train` split is what the run was trained on. A label
            that the data lack has no findings.
        split: a split, several as `train+val`, or `all`.
        folds: models to train for the images of `train`.
        limit: findings to keep; 0 keeps all.
        watch: prints progress; silent by default.

    Raises:
        LabelwiseError: no such split, other labels, or too few images for the folds.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    watch = watch or Watch(quiet=True)
    given, data = data, same_labels(data, run.labels.names)
    for note in unlike(given, data):
        watch.say(f"note: {note}")
    parts = list(data.splits()) if split == "all" else list(dict.fromkeys(split.split("+")))
    rows_of_parts = [data.rows_of(part) for part in parts]
    rows = data.take(np.concatenate(rows_of_parts))
    watch.say(f"looking for copies among {len(rows):,} images")
    copies = near_duplicates(fingerprints(rows))
    probabilities = np.full(rows.values.shape, np.nan)
    start = 0
    for part, part_rows in zip(parts, rows_of_parts, strict=True):
        positions = np.arange(start, start + len(part_rows))
        groups = _group(rows, copies)[positions] if part == "train" else None
        scores = _scores(run, data, part, rows.take(positions), folds, groups, watch)
        probabilities[positions[scores.rows]] = _calibrated(scores)
        start += len(part_rows)
    findings = [
        f for f in find(rows, probabilities, copies) if rows.labels.names[f.label] in given.labels.names
    ]
    scored_by = f"{folds} folds" + ("" if parts == ["train"] else " for train, the run itself elsewhere")
    return Audit(rows, probabilities, findings[:limit] if limit else findings, scored_by)


def find(rows: Dataset, probabilities: Float[np.ndarray, "N L"], copies: list[list[int]]) -> list[Finding]:
    """Findings of every kind, ranked; a row of NaN was not scored and has no findings.

    Args:
        rows: the images with their labels.
        probabilities: `[N, L]`, calibrated.
        copies: groups of rows that look the same.
    """
    scored = ~np.isnan(probabilities).any(axis=1)
    p = np.where(scored[:, None], probabilities, 0.0)
    known, positive = rows.known & scored[:, None], rows.positive & scored[:, None]
    names = rows.labels.names
    groups = [kept for group in copies if len(kept := [row for row in group if scored[row]]) > 1]
    images = [rows.image_id(row) for row in range(len(rows))]
    rules = rows.labels.every_rule.over(names)
    given = stated_implications(rules.above, positive, known)
    given_pairs = {(rule.label, rule.implied) for rule in given}
    mined = [rule for rule in implications(positive, known) if (rule.label, rule.implied) not in given_pairs]
    return rank(
        [
            *label_errors(p, positive, known),
            *conflicting_duplicates(groups, p, positive, known, images),
            *exclusive_conflicts((*rules.at_most_one, *rules.exactly_one), p, positive, known, names),
            *implied_missing([*given, *mined], p, positive, known, names),
        ]
    )


def _scores(
    run: Run,
    data: Dataset,
    part: str,
    rows: Dataset,
    folds: int,
    group: np.ndarray | None,
    watch: Watch,
) -> Scores:
    """Out-of-fold scores of the run's training images, the run's own scores of the others."""
    if part == "train":
        return out_of_fold(run, rows, folds, group, watch)
    watch.say(f"{part}: {len(rows):,} images scored by the run itself")
    return evaluate(run, data, part, pointing=False).scores


def _group(rows: Dataset, copies: list[list[int]]) -> np.ndarray:
    """`[N]` codes of rows that must share a fold: one group, the same bytes, or the same look."""
    codes_by_bytes = together(rows)
    codes = np.arange(len(rows)) if codes_by_bytes is None else codes_by_bytes
    pairs = [(codes[group[0]], codes[row]) for group in copies for row in group[1:]]
    if not pairs:
        return codes.astype(np.int64)
    return connected(int(codes.max()) + 1, np.array(pairs, np.int64))[codes]


def _calibrated(scores: Scores) -> np.ndarray:
    fitted = calibrate(scores.logits, scores.hard, scores.known)
    return sigmoid(scores.logits.astype(np.float64) * fitted.scale + fitted.bias)
