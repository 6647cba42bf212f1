"""Figures of parts of the images, such as cameras, heights and people of one sex: where a run fails, and for whom."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int32, Int64

from labelwise.data.dataset import Dataset
from labelwise.data.decode import image_size
from labelwise.errors import LabelwiseError
from labelwise.evaluation.figures import replace_nan
from labelwise.evaluation.protocols import ATTRIBUTE_CONVENTIONS
from labelwise.evaluation.scores import Scores, StoredScores
from labelwise.metrics import functional as F
from labelwise.metrics.bootstrap import bootstrap_attributes, bootstrap_counts, bootstrap_map, interval
from labelwise.rarity import FEWEST
from labelwise.types import LabelSet

FORMS = "folder, height, label:NAME or group:NAME"
ALL = "all"
QUARTERS = (0.25, 0.5, 0.75)
Masks = dict[str, np.ndarray]


def parts_of(
    by: str,
    ids: Sequence[str],
    labels: LabelSet,
    positive: Bool[np.ndarray, "N L"],
    known: Bool[np.ndarray, "N L"],
    heights: Callable[[], np.ndarray] | None = None,
) -> Masks:
    """Masks `[N]` of the images of each part, in order of their names.

    Args:
        by: `folder`: the image's folder, such as one of a camera; `height`: quarters of the images by their height in
            pixels; `label:NAME`: with and without a label; `group:NAME`: with each label of a group.
        ids: of the images, their paths.
        labels: of the columns.
        positive: known positives.
        known: known cells; an image where `label:NAME` is unknown is in no part.
        heights: returns the height of each image; `None` if the pictures are not at hand.

    Raises:
        LabelwiseError: another form, a label or group that the labels lack, or fewer than two parts.
    """
    kind, _, name = by.partition(":")
    if by == "folder":
        parts = folders_of(ids)
    elif by == "height" and heights is not None:
        parts = _quarters(heights())
    elif kind == "label" and name:
        j = labels.index(name)
        parts = {name: positive[:, j], f"not {name}": known[:, j] & ~positive[:, j]}
    elif kind == "group" and name in labels.groups:
        parts = {label: positive[:, labels.index(label)] for label in labels.groups[name].labels}
    else:
        have = ", ".join(labels.groups) or "none"
        raise LabelwiseError(f"--by {by}", f"{FORMS}; groups of these labels: {have}", "correct --by")
    parts = {part: mask for part, mask in parts.items() if mask.any()}
    if len(parts) < 2:
        raise LabelwiseError(
            f"--by {by}: all images in {next(iter(parts), 'no part')}",
            "images in two parts or more",
            "leave it out",
        )
    return parts


def heights_of(rows: Dataset) -> Int64[np.ndarray, " N"]:
    """The height of each image in pixels."""
    return np.array([image_size(rows.encoded(i))[1] for i in range(len(rows))], np.int64)


def folders_of(ids: Sequence[str]) -> Masks:
    """Masks `[N]` of image ids by folder, sorted and named by their paths below the common one."""
    parents = [str(PurePosixPath(name.replace("\\", "/")).parent) for name in ids]
    names = sorted(set(parents))
    common = (
        posixpath.commonpath(names)
        if len(names) > 1 and len({PureWindowsPath(n).anchor for n in names}) == 1
        else ""
    )
    folder = np.array(parents, dtype=object)
    return {posixpath.relpath(name, common) if common else name: folder == name for name in names}


def _quarters(heights: np.ndarray) -> Masks:
    """Masks of up to four parts of about equal size, named by their range of heights."""
    edges = np.unique(np.quantile(heights, QUARTERS, method="lower"))
    quarter = np.searchsorted(edges, heights, side="left")
    parts = {}
    for code in np.unique(quarter):
        inside = quarter == code
        parts[f"{heights[inside].min()} to {heights[inside].max()} px"] = inside
    return parts


def excluded(by: str, labels: LabelSet) -> tuple[str, ...]:
    """The labels that define the parts: they are left out of comparisons between them."""
    kind, _, name = by.partition(":")
    if kind == "label":
        return next((g.labels for g in labels.groups.values() if g.exclusive and name in g.labels), (name,))
    return labels.groups[name].labels if kind == "group" else ()


def part_figures(
    scores: Scores | StoredScores,
    probabilities: Float[np.ndarray, "N L"],
    selected: Bool[np.ndarray, "N L"],
    labels: LabelSet,
    parts: Mapping[str, np.ndarray],
    without: Sequence[str] = (),
) -> dict[str, dict[str, Any]]:
    """Figures of all images and of each part, with intervals over images or, where declared, over their groups.

    `mAP`, `mA` and the figures over images are as in the protocols of pedestrian attributes: from p > 0.5,
    `F1_instance` from p > 0.45, by the plain sigmoid. Means over labels skip those without a known positive or negative
    in the part.
    `label_recall` and `ECE` are of the run's own decisions and calibration: means over the labels with at least 10
    positives in the part and in the rest. `gap` is the difference of `label_recall` between the part and the rest, zero
    under equal opportunity; `widest` is the label with the largest one.

    Args:
        scores: logits `[N, L]` with values, known cells and groups.
        probabilities: calibrated.
        selected: by the run's decisions.
        labels: of the columns.
        parts: masks of the images.
        without: names of the labels that define the parts: not in `label_recall`, `gap` and `ECE`.

    Source: equal opportunity: Hardt et al., "Equality of Opportunity in Supervised Learning" (2016).
    Differs: recall is averaged over labels.
    """
    y = (scores.values >= 0.5).astype(np.uint8)
    counts = bootstrap_counts(len(y), group=scores.group)
    used = np.array([name not in without for name in labels.names])
    inside = np.any(list(parts.values()), axis=0)
    all_parts = {ALL: np.ones(len(y), bool), **parts}
    rests = {name: None if name == ALL else inside & ~mask for name, mask in all_parts.items()}
    positive = scores.known & (y == 1)
    return {
        name: {
            **_figures(scores, y, counts, mask),
            **_against_rest(
                probabilities, selected, positive, scores.known, counts, mask, rests[name], used, labels.names
            ),
        }
        for name, mask in all_parts.items()
    }


def _figures(
    scores: Scores | StoredScores, y: np.ndarray, counts: Int32[np.ndarray, "N R"], mask: np.ndarray
) -> dict[str, Any]:
    """Figures of the images of a mask by the plain sigmoid, with intervals."""
    z, t, k = scores.logits[mask], y[mask], scores.known[mask]
    p = 1 / (1 + np.exp(-z.astype(np.float64)))
    (mean, _), (instance, _) = ATTRIBUTE_CONVENTIONS["par-mean.v1"], ATTRIBUTE_CONVENTIONS["par-inst.v1"]
    figures = []
    for weights in (np.ones((len(t), 1), np.int32), counts[mask]):
        values = bootstrap_attributes(p > mean, t, k, weights)
        values["F1_instance"] = bootstrap_attributes(p > instance, t, k, weights)["F1_instance"]
        figures.append(values)
    intervals = {name: interval(values) for name, values in figures[1].items()}
    row = {name: float(values[0]) for name, values in figures[0].items()}
    row["mAP"] = float(F.mean_average_precision(z, t, k))
    intervals["mAP"] = interval(bootstrap_map(z, t, k, counts[mask]))
    persons = len(t) if scores.group is None else len(np.unique(scores.group[mask]))
    return replace_nan({"images": float(len(t)), "units": float(persons), **row, "intervals": intervals})


def _against_rest(
    p: np.ndarray,
    selected: np.ndarray,
    positive: np.ndarray,
    known: np.ndarray,
    counts: Int32[np.ndarray, "N R"],
    mask: np.ndarray,
    rest: np.ndarray | None,
    used: np.ndarray,
    names: Sequence[str],
) -> dict[str, Any]:
    """Recall by label in a part and in the rest, its mean gap with an interval, and the calibration error."""
    sides = [mask] if rest is None else [mask, rest]
    enough = np.all([positive[side].sum(0) >= FEWEST for side in sides], axis=0) & used
    columns = np.flatnonzero(enough)
    if not len(columns):
        return {"judged": 0.0, "label_recall": None, "ECE": None, "gap": None, "widest": None}
    recalls = [
        _recall(positive, selected, np.ones((len(mask), 1), np.int32), side)[:, columns] for side in sides
    ]
    resampled = [_recall(positive, selected, counts, side)[:, columns] for side in sides]
    cells = np.ix_(mask, columns)
    ece = F.calibration_metrics(p[cells], positive[cells].astype(np.uint8), known[cells])["ECE"]
    row: dict[str, Any] = {
        "judged": float(len(columns)),
        "label_recall": float(recalls[0].mean()),
        "ECE": float(ece),
        "gap": None,
        "widest": None,
    }
    intervals = {"label_recall": interval(np.nanmean(resampled[0], 1))}
    if rest is not None:
        gaps, differences = (recalls[0] - recalls[1])[0], resampled[0] - resampled[1]
        j = int(np.abs(gaps).argmax())
        row["gap"] = float(gaps.mean())
        intervals["gap"] = interval(np.nanmean(differences, 1))
        row["widest"] = {
            "label": names[columns[j]],
            "recall": float(recalls[0][0, j]),
            "rest": float(recalls[1][0, j]),
            **interval(differences[:, j]),
        }
    return {**row, "recall_intervals": intervals}


def _recall(
    positive: np.ndarray, selected: np.ndarray, counts: Int32[np.ndarray, "N R"], mask: np.ndarray
) -> Float[np.ndarray, "R L"]:
    """Recall of each label among the images of a mask, for each resample; NaN without a positive."""
    weights = counts[mask].T.astype(np.float64)
    positives = weights @ positive[mask].astype(np.float64)
    with np.errstate(invalid="ignore"):
        return (weights @ (positive & selected)[mask].astype(np.float64)) / positives
