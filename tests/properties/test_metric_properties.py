"""Invariants of every metric: order of images and labels, unknown cells, repeated images, the scale of scores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.metrics import functional as F

Metric = Callable[..., Any]

PER_LABEL: dict[str, Metric] = {
    "average_precision": F.average_precision,
    "average_precision, envelope": partial(F.average_precision, kind="envelope"),
    "average_precision, 11point": partial(F.average_precision, kind="11point"),
    "calibration_error": F.calibration_error,
    "calibration_error, count": partial(F.calibration_error, binning="count"),
    "brier_score": F.brier_score,
    "log_loss": F.log_loss,
}
WHOLE: dict[str, Metric] = {
    "mean_average_precision": F.mean_average_precision,
    "mean_average_precision, zero": partial(F.mean_average_precision, empty="zero"),
    "threshold_metrics": F.threshold_metrics,
    "threshold_metrics, top_k": partial(F.threshold_metrics, top_k=2),
    "attribute_metrics": F.attribute_metrics,
    "calibration_metrics": F.calibration_metrics,
    "pooled_calibration_error": F.pooled_calibration_error,
}
METRICS = {**PER_LABEL, **WHOLE}
RANKING = [name for name in METRICS if "average_precision" in name]
every_metric = pytest.mark.parametrize("name", METRICS)

# Exceptions, each with its reason; a name here is left out of the property.
NOT_UNDER_REPETITION = {
    "calibration_error, count": "bins of equal count are cut by the number of images, so that a cut may move",
}


@st.composite
def tables(draw: st.DrawFn, ties: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, targets and known cells `[N, L]`; scores are seldom alike, or drawn from a few where `ties`."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    scores = rng.random(shape)
    if ties and draw(st.booleans()):
        scores = np.round(scores, 1)
    return scores, rng.integers(0, 2, shape), rng.random(shape) < draw(st.sampled_from([0.3, 0.8, 1.0]))


def close(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            close(one[key], other[key])
    else:
        np.testing.assert_allclose(np.asarray(one, float), np.asarray(other, float), rtol=1e-9, atol=1e-12)


def test_every_metric_of_scores_is_here() -> None:
    others = {  # they do not read scores and targets, or give counts and curves rather than figures
        "attention_entropy", "attention_overlap", "boundary_angles", "energy", "label_angles", "one_sided",
        "pointing", "pointing_area", "pointing_centre", "precision_recall", "reliability", "shared_limit",
        "without_average_precision",
    }  # fmt: skip
    assert {name.split(",")[0] for name in METRICS} == set(F.__all__) - others


@every_metric
@settings(max_examples=25, deadline=None)
@given(table=tables(ties=False), seed=st.integers(0, 2**16))
def test_the_order_of_images_does_not_matter(name: str, table: tuple[np.ndarray, ...], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(table[0]))
    close(METRICS[name](*(a[order] for a in table)), METRICS[name](*table))


@every_metric
@settings(max_examples=25, deadline=None)
@given(table=tables(ties=False), seed=st.integers(0, 2**16))
def test_the_order_of_labels_does_not_matter(name: str, table: tuple[np.ndarray, ...], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(table[0].shape[1])
    found, before = METRICS[name](*(a[:, order] for a in table)), METRICS[name](*table)
    close(found, np.asarray(before)[order] if name in PER_LABEL else before)


@every_metric
@settings(max_examples=25, deadline=None)
@given(table=tables(), other=st.sampled_from([0, 1]), score=st.floats(0, 1))
def test_unknown_cells_have_no_influence(
    name: str, table: tuple[np.ndarray, ...], other: int, score: float
) -> None:
    scores, targets, known = table
    changed = np.where(known, scores, score), np.where(known, targets, other), known
    close(METRICS[name](*changed), METRICS[name](*table))


@pytest.mark.parametrize("name", [n for n in METRICS if n not in NOT_UNDER_REPETITION])
@settings(max_examples=25, deadline=None)
@given(table=tables(), times=st.integers(2, 3))
def test_every_image_several_times_changes_nothing(
    name: str, table: tuple[np.ndarray, ...], times: int
) -> None:
    close(METRICS[name](*(np.repeat(a, times, axis=0) for a in table)), METRICS[name](*table))


@pytest.mark.parametrize("name", RANKING)
@settings(max_examples=25, deadline=None)
@given(table=tables(), power=st.integers(-6, 6))
def test_the_scale_of_scores_does_not_change_a_ranking(
    name: str, table: tuple[np.ndarray, ...], power: int
) -> None:
    scores, *rest = table
    before = METRICS[name](scores, *rest)
    close(METRICS[name](scores * 2.0**power, *rest), before)
    close(METRICS[name](np.arctanh(scores * 0.5), *rest), before)
