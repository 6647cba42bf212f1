"""Folds: stratified, groups whole, and positives of every label outside each fold where that is possible."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.data.dataset import Dataset
from labelwise.data.folds import fold_codes
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet


def dataset(positive: np.ndarray) -> Dataset:
    """Rows without images that are opened."""
    names = tuple(f"label{j}" for j in range(positive.shape[1]))
    images = pa.array([f"{i}.jpg" for i in range(len(positive))])
    return Dataset(LabelSet(names), images, None, positive.astype(np.uint8), np.ones(positive.shape, bool))


def confined(positive: np.ndarray, codes: np.ndarray) -> int:
    """Labels with positives in one fold alone, counted label by label."""
    return sum(len(set(codes[column].tolist())) == 1 for column in positive.T if column.any())


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Labels of few positives that often stand in the same images, groups of 1 to 3 rows, and a number of folds."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    rows, labels = draw(st.integers(12, 40)), draw(st.integers(1, 8))
    positive = rng.random((rows, labels)) < rng.choice([0.05, 0.1, 0.3], labels)
    few = rng.choice(rows, 5)
    positive[np.ix_(few, range(labels))] |= rng.random((5, labels)) < 0.3
    group = np.sort(rng.integers(0, rows, rows)) if draw(st.booleans()) else np.arange(rows)
    return positive, group, draw(st.integers(2, min(5, len(np.unique(group)))))


@settings(max_examples=60, deadline=None)
@given(cases())
def test_no_move_of_a_group_frees_a_label_that_one_fold_holds(
    case: tuple[np.ndarray, np.ndarray, int],
) -> None:
    positive, group, folds = case
    codes = fold_codes(dataset(positive), folds, 0, group)
    assert set(codes.tolist()) == set(range(folds))
    assert all(len(set(codes[group == g].tolist())) == 1 for g in np.unique(group))
    now = confined(positive, codes)
    for g in np.unique(group) if now else ():
        for fold in range(folds):
            moved = np.where(group == g, fold, codes)
            if len(set(moved.tolist())) == folds:
                assert confined(positive, moved) >= now
    np.testing.assert_array_equal(codes, fold_codes(dataset(positive), folds, 0, group))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 5), st.integers(2, 6))
def test_separate_rare_labels_are_never_in_one_fold(seed: int, folds: int, each: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.permutation(60)
    positive = np.zeros((60, 8), bool)
    for label in range(8):
        positive[rows[label * each : (label + 1) * each], label] = True
    codes = fold_codes(dataset(positive), folds, seed)
    assert confined(positive, codes) == 0
    assert np.ptp(np.bincount(codes, minlength=folds)) <= 1, (
        "stratification alone suffices, so sizes are equal"
    )


def test_a_label_of_one_group_stays_in_its_fold() -> None:
    positive = np.zeros((20, 1), bool)
    positive[:4] = True
    group = np.array([0] * 4 + list(range(1, 17)))
    codes = fold_codes(dataset(positive), 5, 0, group)
    assert confined(positive, codes) == 1


def test_folds_share_every_label_and_repeat() -> None:
    positive = np.random.default_rng(0).random((45, 3)) < 0.4
    data = dataset(positive)
    codes = fold_codes(data, 3, 0)
    assert np.bincount(codes).tolist() == [15, 15, 15]
    assert all(positive[codes == fold].any(axis=0).all() for fold in range(3))
    np.testing.assert_array_equal(codes, fold_codes(data, 3, 0))


@pytest.mark.parametrize("folds", [1, 16])
def test_a_wrong_number_of_folds_is_refused(folds: int) -> None:
    with pytest.raises(
        LabelwiseError, match=f"{folds} folds of 15 images that may be apart; expected 2 to 15"
    ):
        fold_codes(dataset(np.ones((15, 1), bool)), folds, 0)
