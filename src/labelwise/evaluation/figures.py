"""Metrics of scores: ranking, decisions, calibration, and their bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labelwise.decisions import Decisions, Tuning
from labelwise.evaluation.scores import Scores, StoredScores
from labelwise.metrics import functional as F
from labelwise.metrics.arrays import as_numpy
from labelwise.metrics.bootstrap import bootstrap_counts, bootstrap_macro_f1, bootstrap_map, interval
from labelwise.rarity import FEWEST, format_rare, rare_labels

PLAIN = 0.5
SHOWN = 10
"""Maximum number of labels listed in a sentence."""
FLOOR = "floor"
"""Key of the test of a floor: in a label's metrics its record, in the conditions its summary."""
CROSS_FITTED = "cross_fitted"
"""Key in the conditions of figures in which each image is decided by a fit without its fold."""


def figures(
    scores: Scores | StoredScores, names: Sequence[str], decisions: Decisions, tuning: Tuning | None = None
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """All metrics of scores, over labels and per label; decided at logit 0 and by the run's own decisions.

    If the decisions have rules, `tuned_without_rules` holds the metrics of the thresholds alone.

    A label that lacks a known positive or a known negative has no AP and no F1; `labels_without_AP` lists it with
    what it lacks, and means over labels exclude it.

    Args:
        scores: logits `[N, L]` with values and known cells.
        names: of the labels.
        decisions: the run's own.
        tuning: passed if the decisions were fitted on these images, which are then decided without their folds.
    """
    z, k = scores.logits, scores.known
    y = (scores.values >= PLAIN).astype(np.uint8)
    if tuning is None:
        p = decisions.probabilities(z)
        selected, by_thresholds = decisions.select(p), decisions.select(p, with_rules=False)
    else:
        p, selected, by_thresholds = tuning.probabilities, tuning.selected, tuning.without_rules
    sigmoid = Decisions(decisions.thresholds, np.ones(len(names)), np.zeros(len(names)))
    uncalibrated = sigmoid.probabilities(z)
    metrics = {
        "mAP": F.mean_average_precision(z, y, k),
        "mAP_envelope": F.mean_average_precision(z, y, k, kind="envelope"),
        **F.threshold_metrics(z, y, k, threshold=0.0),
        "top3": F.threshold_metrics(z, y, k, threshold=0.0, top_k=min(3, z.shape[1])),
        "tuned": F.threshold_metrics(selected.astype(np.float32), y, k, threshold=PLAIN),
        **_without_rules(selected, by_thresholds, y, k, decisions),
        "calibration": {
            "before": F.calibration_metrics(uncalibrated, y, k),
            "after": F.calibration_metrics(p, y, k),
        },
        "intervals": _intervals(z, y, k, selected, scores.group),
    }
    lacking = F.without_average_precision(y, k)
    columns = {
        "AP": as_numpy(F.average_precision(z, y, k)),
        "ECE": as_numpy(F.calibration_error(p, y, k)),
        "ECE_before": as_numpy(F.calibration_error(uncalibrated, y, k)),
    }
    counts = [_label_figures(k[:, j], y[:, j] == 1, selected[:, j]) for j in range(len(names))]
    floor_tests = decisions.floors.to_json(names)["labels"] if decisions.floors is not None else {}
    per_label = {
        name: {
            **{key: None if np.isnan(column[j]) else float(column[j]) for key, column in columns.items()},
            **counts[j],
            "threshold": float(decisions.thresholds[j]),
            **({FLOOR: floor_tests[name]} if name in floor_tests else {}),
        }
        for j, name in enumerate(names)
    }
    labels_without = {"labels_without_AP": {names[j]: why for j, why in lacking.items()}}
    return {**replace_nan(metrics), **labels_without, **without_rare(per_label)}, per_label


def without_rare(per_label: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`mAP_without_rare`, the mean AP of the labels that are not rare, and `rare_labels`, these with their positives.

    Args:
        per_label: metrics of each label with its `AP`, or `None`, and `positives`.

    >>> rare = without_rare({"dog": {"AP": 0.5, "positives": 40}, "fox": {"AP": 1.0, "positives": 1}})
    >>> rare["mAP_without_rare"], rare["rare_labels"]
    (0.5, {'fox': '1'})
    """
    rare = rare_labels({name: row["positives"] for name, row in per_label.items()})
    aps = [row["AP"] for name, row in per_label.items() if name not in rare and row["AP"] is not None]
    return {
        "mAP_without_rare": float(np.mean(aps)) if aps else None,
        "rare_labels": {name: str(count) for name, count in rare.items()},
    }


def rare_left_out(metrics: Mapping[str, Any]) -> str:
    """A sentence on the mAP without rare labels; empty if there are none.

    >>> rare_left_out({"mAP_without_rare": 0.5, "rare_labels": {"fox": "1"}})
    'mAP without rare labels 0.5000; fewer than 10 positives: fox (1)'
    """
    rare = metrics.get("rare_labels") or {}
    counted = {name: int(count) for name, count in rare.items()}
    value = decimals(metrics.get("mAP_without_rare"))
    return (
        f"mAP without rare labels {value}; fewer than {FEWEST} positives: {format_rare(counted)}"
        if rare
        else ""
    )


def replaced(before: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics of a label, or conditions, with the entries that changed under new decisions."""
    unchanged = {name: value for name, value in before.items() if name not in (FLOOR, CROSS_FITTED)}
    return {**unchanged, **changed}


def decision_conditions(decisions: Decisions, cross_fitted: bool) -> dict[str, Any]:
    """The conditions of figures by a run's decisions: where they come from, and what is promised of a floor."""
    return {
        "decisions_from": decisions.source,
        **({CROSS_FITTED: True} if cross_fitted else {}),
        **({FLOOR: decisions.floors.summary()} if decisions.floors is not None else {}),
    }


def main_figures(metrics: Mapping[str, Any], conditions: Mapping[str, Any]) -> list[str]:
    """CF1 and OF1 at one half and by the run's decisions, as texts that name the rule."""
    own_rule = "by the run's decisions" + (", cross-fitted" if conditions.get(CROSS_FITTED) else "")
    return [
        f"{rule}: CF1 {decimals(figures['CF1'])}, OF1 {decimals(figures['OF1'])}"
        for rule, figures in (("at 0.5", metrics), (own_rule, metrics["tuned"]))
    ]


def _without_rules(
    selected: np.ndarray, by_thresholds: np.ndarray, y: np.ndarray, k: np.ndarray, decisions: Decisions
) -> dict[str, Any]:
    """Metrics of the thresholds alone, and how often they break a rule; empty without rules."""
    if not decisions.rules:
        return {}
    metrics = F.threshold_metrics(by_thresholds.astype(np.float32), y, k, threshold=PLAIN)
    violating = 1 - float(decisions.rules.kept(by_thresholds).mean()) if len(by_thresholds) else math.nan
    changed = float((selected != by_thresholds).any(1).mean()) if len(by_thresholds) else math.nan
    return {"tuned_without_rules": {**metrics, "images_against_a_rule": violating, "images_changed": changed}}


def _intervals(
    z: np.ndarray, y: np.ndarray, k: np.ndarray, selected: np.ndarray, group: np.ndarray | None
) -> dict[str, Any]:
    """95 % bootstrap intervals of the means over labels."""
    counts = bootstrap_counts(len(z), group=group)
    return {
        "mAP": interval(bootstrap_map(z, y, k, counts)),
        "CF1_macro": interval(bootstrap_macro_f1(z >= 0, y, k, counts)),
        "tuned_CF1_macro": interval(bootstrap_macro_f1(selected, y, k, counts)),
    }


def _label_figures(known: np.ndarray, positive: np.ndarray, selected: np.ndarray) -> dict[str, Any]:
    """Counts of a label's cells, with precision, recall and F1; `None` where they are not defined."""
    true_positives = int((known & positive & selected).sum())
    positives, negatives = int((known & positive).sum()), int((known & ~positive).sum())
    predicted = int((known & selected).sum())
    return {
        "positives": positives,
        "negatives": negatives,
        "unknown": int((~known).sum()),
        "precision": true_positives / predicted if predicted and negatives else None,
        "recall": true_positives / positives if positives else None,
        "F1": 2 * true_positives / (positives + predicted) if positives and negatives else None,
    }


def replace_nan(value: Any) -> Any:
    """Nested metrics as JSON data: `None` for NaN."""
    if isinstance(value, dict):
        return {k: replace_nan(v) for k, v in value.items()}
    return None if math.isnan(value) else float(value)


def decimals(value: float | None, digits: int = 4) -> str:
    """A metric as text, a dash for `None`.

    >>> decimals(0.5), decimals(None, 2)
    ('0.5000', '-')
    """
    return "-" if value is None else f"{value:.{digits}f}"


def without_ap(metrics: Mapping[str, Any]) -> str:
    """A sentence that lists the labels without an average precision and what each lacks; empty if there are none.

    >>> without_ap({"labels_without_AP": {"sun": "no known negative", "fog": "no known positive"}})
    'left out of the mAP: sun (no known negative), fog (no known positive)'
    """
    without = metrics.get("labels_without_AP") or {}
    named = [f"{name} ({why})" for name, why in without.items()]
    more = f" and {len(named) - SHOWN:,} more" if len(named) > SHOWN else ""
    return f"left out of the mAP: {', '.join(named[:SHOWN])}{more}" if named else ""
