"""Forgetting and groups of labels by hand."""

from __future__ import annotations

import numpy as np
import pytest

from labelwise.errors import LabelwiseError
from labelwise.metrics.continual import forgetting, frequency_groups


def test_forgetting_by_hand() -> None:
    nan = np.nan
    history = np.array([[0.6, nan, nan], [0.5, 0.0, nan], [0.4, 0.2, 0.9]])
    assert forgetting(history).tolist() == pytest.approx([1 / 3, -0.2])
    history[2, 1] = 0.0
    assert forgetting(history)[1] == 1.0
    history[2, 0] = 0.9
    assert forgetting(history)[0] == pytest.approx(-0.5)


def test_a_peak_between_counts() -> None:
    history = np.array([[0.2, np.nan, np.nan], [0.8, 0.5, np.nan], [0.4, 0.5, 0.5]])
    assert forgetting(history)[0] == pytest.approx(0.5)


def test_a_task_that_was_never_judged() -> None:
    assert np.isnan(forgetting(np.array([[np.nan, np.nan], [0.5, 0.5]])))


def test_a_table_that_is_not_square() -> None:
    with pytest.raises(LabelwiseError, match=r"a history of shape \(2, 3\); expected \[tasks, tasks\]"):
        forgetting(np.zeros((2, 3)))


def test_groups_at_given_limits() -> None:
    groups, limits = frequency_groups(np.array([100, 99, 20, 19, 0]), (20, 100))
    assert groups == {"major": [0], "moderate": [1, 2], "minor": [3, 4]}
    assert limits == (20, 100)


def test_thirds_where_no_limits_are_given() -> None:
    counts = np.array([5, 50, 7, 70, 9, 90])
    groups, limits = frequency_groups(counts)
    assert [len(groups[name]) for name in ("major", "moderate", "minor")] == [2, 2, 2]
    assert limits == (9, 70)
    assert sorted(j for group in groups.values() for j in group) == list(range(6))
