"""Metrics of a model after each task of a stream."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from labelwise.continual.streams import Stream
from labelwise.metrics import functional as F
from labelwise.metrics.continual import forgetting, frequency_groups
from labelwise.model import LabelModel
from labelwise.training.maps import MapSource

OVER_HALF = float(np.nextafter(0.5, 1))  # the published code predicts a label where p > .5, strictly
FIGURES = ("mAP", "CF1", "OF1")


@torch.inference_mode()
def scores_of(model: LabelModel, source: MapSource, rows: np.ndarray) -> np.ndarray:
    """`[N, K]` float64 probabilities of the labels that the model has."""
    training = model.training
    model.eval()
    parts = [rows[start : start + 128] for start in range(0, len(rows), 128)]
    z = [model(b.images, is_map=True).logits.double() for b in source.batches([(0, p) for p in parts])]
    model.train(training)
    return torch.sigmoid(torch.cat(z)).numpy()


def figures_at_threshold(
    p: np.ndarray, positive: np.ndarray, known: np.ndarray, threshold: float = OVER_HALF
) -> dict[str, float | None]:
    """mAP, and CF1 and OF1 at a threshold; labels without a positive or a negative are left out of mAP and CF1.

    A figure is `None` if no label remains.
    """
    metrics = F.threshold_metrics(p, positive, known, threshold)
    metrics["mAP"] = F.mean_average_precision(p, positive, known)
    return {name: metrics[name] if math.isfinite(metrics[name]) else None for name in FIGURES}


def evaluate_tasks(
    stream: Stream,
    after: int,
    model: LabelModel,
    source: MapSource,
    remembered: tuple[np.ndarray, ...] | None,
) -> dict[str, Any]:
    """Figures after a task: of each task so far, of their images and labels pooled, and by frequency.

    `labels_without_AP` lists the labels that the pooled mAP leaves out, each with the reason.

    Args:
        source: maps of the stream's test rows.
        remembered: probabilities, positives and known cells of the rows in memory, on which one threshold for all
            labels is fitted; `None` without a memory.
    """
    test, labels = stream.test, stream.known_labels(after)
    columns = np.arange(labels)
    all_rows = np.unique(np.concatenate([task.test for task in stream.tasks[: after + 1]]))
    p = np.zeros((len(test), labels))
    p[all_rows] = scores_of(model, source, all_rows)
    positive, known = test.positive[:, :labels], test.known[:, :labels]

    def figures_of(
        rows: np.ndarray, chosen: np.ndarray, threshold: float = OVER_HALF
    ) -> dict[str, float | None]:
        cells = np.ix_(rows, chosen)
        return figures_at_threshold(p[cells], positive[cells], known[cells], threshold)

    by_task = [figures_of(task.test, stream.judged(t)) for t, task in enumerate(stream.tasks[: after + 1])]
    groups, limits = frequency_groups(stream.train.positive.sum(0))
    metrics: dict[str, Any] = {"tasks": by_task, "pooled": figures_of(all_rows, columns), "limits": limits}
    lacking = F.without_average_precision(positive[all_rows], known[all_rows])
    names = stream.train.labels.names
    metrics["labels_without_AP"] = {names[j]: why for j, why in lacking.items()}
    members = {name: np.array([j for j in group if j < labels], np.int64) for name, group in groups.items()}
    metrics["groups"] = {
        name: figures_of(all_rows, group) if len(group) else None for name, group in members.items()
    }
    if remembered is not None:
        threshold = best_threshold(*remembered)
        metrics["threshold"] = threshold
        metrics["fitted"] = figures_of(all_rows, columns, threshold)
    return metrics


def best_threshold(p: np.ndarray, positive: np.ndarray, known: np.ndarray) -> float:
    """The single threshold with the highest F1 over all known cells; 0.5 without a positive.

    >>> best_threshold(np.array([[0.9, 0.2, 0.1]]), np.array([[True, True, False]]), np.ones((1, 3), bool))
    0.2
    """
    score, true = p[known], positive[known]
    if not true.any():
        return 0.5
    order = np.argsort(-score, kind="stable")
    hits = true[order].cumsum()
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + true.sum())
    ends = np.append(score[order][1:] < score[order][:-1], True)  # equal scores share one decision
    return float(score[order][np.where(ends, f1, -1).argmax()])


def summary(history: list[dict[str, Any]], tasks: int) -> dict[str, Any]:
    """The last figures, and forgetting from the figures of each task after each; `None` for joint training."""
    last = history[-1]
    metrics = {k: last.get(k) for k in ("pooled", "fitted", "threshold", "groups", "limits")}
    metrics["labels_without_AP"] = last.get("labels_without_AP", {})
    metrics["task_mean"] = {name: _mean([t[name] for t in last["tasks"]]) for name in FIGURES}
    metrics["forgetting"] = metrics["forgetting_of"] = None
    if len(history) == tasks > 1:
        forgotten = {name: forgetting(task_matrix(history, name)).tolist() for name in FIGURES}
        metrics["forgetting"] = {name: _mean(values) for name, values in forgotten.items()}
        metrics["forgetting_of"] = forgotten
    return metrics


def _mean(values: list[float | None]) -> float | None:
    """Mean of the finite values; `None` without any."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    return sum(known) / len(known) if known else None


def task_matrix(history: list[dict[str, Any]], name: str) -> np.ndarray:
    """`[T, T]` of one figure, after each task (row) on each task so far (column), NaN above."""
    scores = np.full((len(history), len(history)), np.nan)
    for t, figures in enumerate(history):
        scores[t, : t + 1] = [task[name] for task in figures["tasks"]]
    return scores
