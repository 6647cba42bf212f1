"""A data set's labels compared with scores of models that were not trained on them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from labelwise.audit.out_of_fold import out_of_fold
from labelwise.data.complete import AUDIT_COLUMNS
from labelwise.data.dataset import Dataset
from labelwise.data.duplicates import connected, fingerprints, near_duplicates
from labelwise.data.folds import fold_codes
from labelwise.data.splits import together
from labelwise.decisions.audit import Finding, label_errors, rank_findings
from labelwise.decisions.contradictions import (
    conflicting_duplicates,
    exclusive_conflicts,
    implications,
    implied_missing,
    stated_implications,
)
from labelwise.decisions.judged import learned_from, not_judged
from labelwise.decisions.noise import Check, check_noise, fit_noise
from labelwise.evaluation.evaluate import evaluate
from labelwise.evaluation.labels import same_labels, unlike
from labelwise.evaluation.scores import Scores
from labelwise.runs.files import write_text
from labelwise.runs.run import Run
from labelwise.training.progress import ProgressBar


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Args:
        rows: the images that were scored.
        probabilities: `[N, L]`, calibrated, of models that were not trained on the image; NaN if it is unreadable.
        findings: most suspicious first; their rows are those of `rows`.
        scored_by: how the scores were computed, as text for the report.
        wrong: `[N, L]`, probability that the annotation is wrong; NaN if it is unknown, not scored or not judged.
        unjudged: labels that are not judged, each with the reason; none of their cells is among the findings.
        check: the estimate on a copy of the annotations with planted errors; `None` if no label is judged.
    """

    rows: Dataset
    probabilities: np.ndarray
    findings: list[Finding]
    scored_by: str
    wrong: np.ndarray | None = None
    unjudged: Mapping[str, str] = field(default_factory=dict)
    check: Check | None = None

    @property
    def expected(self) -> np.ndarray:
        """`[L]`, expected number of wrong annotations of each label: the sum of their probabilities."""
        if self.wrong is None:
            return np.full(len(self.rows.labels), np.nan)
        return np.asarray(np.nansum(self.wrong, axis=0))

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
                    "" if f.wrong is None else f"{f.wrong:.4f}",
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
    watch: ProgressBar | None = None,
) -> Audit:
    """Ranks the cells of a split that are likely missing or wrong, differ between copies, or break a rule.

    Images of `train` are scored out of fold, those of other splits by the run itself, which was not trained on them.
    In each split, the labels that the models have not learned are not judged (`not_judged`). For the others `fit_noise`
    estimates the probability that an annotation is wrong, and `check_noise` tests it on planted errors.

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
    watch = watch or ProgressBar(quiet=True)
    original, data = data, same_labels(data, run.labels.names)
    for note in unlike(original, data):
        watch.say(f"note: {note}")
    split_names = list(data.splits()) if split == "all" else list(dict.fromkeys(split.split("+")))
    rows_of_splits = [data.rows_of(split_name) for split_name in split_names]
    rows = data.take(np.concatenate(rows_of_splits))
    watch.say(f"looking for copies among {len(rows):,} images")
    copies = near_duplicates(fingerprints(rows))
    group = _fold_groups(rows, copies)
    probabilities, wrong = np.full((2, *rows.values.shape), np.nan)
    judged = np.zeros(rows.values.shape, bool)
    unjudged: dict[str, str] = {}
    checks: list[Check] = []
    start = 0
    for split_name, split_rows in zip(split_names, rows_of_splits, strict=True):
        positions = np.arange(start, start + len(split_rows))
        start += len(split_rows)
        scores, learned = _scores(run, data, split_name, rows.take(positions), folds, group[positions], watch)
        reasons = not_judged(scores.logits, scores.values >= 0.5, scores.known, learned)
        columns = np.array([label not in reasons for label in range(len(rows.labels))])
        positions = positions[scores.rows]
        judged[positions] = columns
        probabilities[positions], wrong[positions], check = _estimated(scores, columns)
        checks += [check] if check else []
        prefix = f"in {split_name}: " if len(split_names) > 1 else ""
        for name, reason in ((rows.labels.names[label], reason) for label, reason in reasons.items()):
            if name in original.labels.names:
                unjudged[name] = "; ".join(filter(None, (unjudged.get(name), prefix + reason)))
    findings = find(rows, probabilities, wrong, judged, copies)
    return Audit(
        rows,
        probabilities,
        findings[:limit] if limit else findings,
        f"{folds} folds" + ("" if split_names == ["train"] else " for train, the run itself elsewhere"),
        wrong,
        unjudged,
        Check(sum(c.planted for c in checks), sum(c.rise for c in checks)) if checks else None,
    )


def _estimated(scores: Scores, judged: np.ndarray) -> tuple[np.ndarray, np.ndarray, Check | None]:
    """`[N, L]` probabilities that a label is present and that its annotation is wrong, and the check of the latter.

    The second is NaN for an unknown annotation and for a label that is not judged.
    """
    z, y, known = scores.logits, scores.values >= 0.5, scores.known & judged
    if not known.any():
        return fit_noise(z, y, scores.known).present(z), np.full(z.shape, np.nan), None
    noise = fit_noise(z, y, known)
    check = check_noise(noise, z, y, known)
    return noise.present(z), np.where(known, noise.wrong(z, y), np.nan), check


def find(
    rows: Dataset,
    probabilities: Float[np.ndarray, "N L"],
    wrong: Float[np.ndarray, "N L"],
    judged: Bool[np.ndarray, "N L"],
    copies: list[list[int]],
) -> list[Finding]:
    """Findings of every kind, ranked.

    Args:
        rows: the images with their labels.
        probabilities: `[N, L]`, that the label is present; used where judged.
        wrong: `[N, L]`, that the annotation is wrong; used where known and judged.
        judged: `[N, L]`; other cells are in no finding.
        copies: groups of rows that look the same.
    """
    p, w = (np.where(judged & ~np.isnan(values), values, 0.0) for values in (probabilities, wrong))
    known = rows.known & judged
    positive = rows.positive & known
    names = rows.labels.names
    images = [rows.image_id(row) for row in range(len(rows))]
    rules = rows.labels.every_rule.over(names)
    stated = stated_implications(rules.above, positive, known)
    stated_pairs = {(rule.label, rule.implied) for rule in stated}
    mined = [rule for rule in implications(positive, known) if (rule.label, rule.implied) not in stated_pairs]
    findings = rank_findings(
        [
            *label_errors(p, w, positive, known, judged),
            *conflicting_duplicates(copies, p, positive, known, images),
            *exclusive_conflicts((*rules.at_most_one, *rules.exactly_one), p, positive, known, names),
            *implied_missing([*stated, *mined], p, positive, known, names),
        ]
    )
    return [replace(f, wrong=None if f.current is None else float(w[f.row, f.label])) for f in findings]


def _scores(
    run: Run, data: Dataset, split: str, rows: Dataset, folds: int, group: np.ndarray, watch: ProgressBar
) -> tuple[Scores, np.ndarray | None]:
    """Scores of models that were not trained on the rows, and the fewest annotations that a model learned from.

    The models are out of fold for the run's training images, and the run itself for others.
    """
    if split == "train":
        codes = fold_codes(rows, folds, run.config.seed, group)
        return out_of_fold(run, rows, folds, group, watch), learned_from(rows.positive, rows.known, codes)
    watch.say(f"{split}: {len(rows):,} images scored by the run itself")
    learned = None
    if data.splits().get("train"):
        train = data.split("train")
        learned = np.array([(train.known & (train.positive == state)).sum(0) for state in (True, False)])
    return evaluate(run, data, split, pointing=False).scores, learned


def _fold_groups(rows: Dataset, copies: list[list[int]]) -> np.ndarray:
    """`[N]` codes of rows that must share a fold: one group, the same bytes, or the same look."""
    codes_by_bytes = together(rows)
    codes = np.arange(len(rows)) if codes_by_bytes is None else codes_by_bytes
    pairs = [(codes[group[0]], codes[row]) for group in copies for row in group[1:]]
    if not pairs:
        return codes.astype(np.int64)
    return connected(int(codes.max()) + 1, np.array(pairs, np.int64))[codes]
