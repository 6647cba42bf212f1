"""Decisions: from logits to selected labels, and to labels.json and back."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.decisions import Decisions, never_selected_note
from labelwise.decisions.decisions import sigmoid
from labelwise.errors import LabelwiseError
from labelwise.types import Group, LabelSet

NAMES = ("cat", "dog", "day", "night", "dusk")
LABELS = LabelSet(NAMES, {"time": Group(("day", "night", "dusk"), True), "pets": Group(("cat", "dog"))})


def some(seed: int = 0, top_k: int = 0) -> Decisions:
    rng = np.random.default_rng(seed)
    return Decisions(
        rng.random(5), rng.random(5) + 0.5, rng.normal(size=5), ((2, 3, 4),), top_k, "f1 on val, 9 images"
    )


def slow(d: Decisions, p: np.ndarray) -> np.ndarray:
    """The rules, image by image."""
    chosen = np.zeros(p.shape, bool)
    for i, row in enumerate(p):
        kept = [j for j in range(len(row)) if row[j] >= d.thresholds[j]]
        for group in d.exclusive:
            rivals = [j for j in kept if j in group]
            if rivals:
                winner = max(rivals, key=lambda j: row[j] - d.thresholds[j])
                kept = [j for j in kept if j not in group or j == winner]
        if d.top_k:
            kept = sorted(kept, key=lambda j: -row[j])[: d.top_k]
        chosen[i, kept] = True
    return chosen


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 6))
def test_selection_follows_the_rules(seed, top_k):
    d, p = some(seed, top_k), np.random.default_rng(seed + 1).random((20, 5))
    np.testing.assert_array_equal(d.select(p), slow(d, p))
    assert (d.select(p)[:, 2:].sum(axis=1) <= 1).all()


def test_probabilities_are_the_formula_and_survive_extremes():
    d, z = some(), np.random.default_rng(3).normal(size=(7, 5))
    np.testing.assert_allclose(d.probabilities(z), 1 / (1 + np.exp(-(d.scale * z + d.bias))))
    with np.errstate(all="raise", under="ignore"):
        assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
    assert d.probabilities(z.astype(np.float32)).dtype == np.float64


def test_plain_decides_at_logit_zero_and_knows_the_exclusive_groups():
    plain = Decisions.plain(LABELS)
    z = np.array([[0.0, -1e-9, 1.0, 2.0, -1.0]])
    assert plain.select(plain.probabilities(z)).tolist() == [[True, False, False, True, False]]
    assert plain.exclusive == ((2, 3, 4),)


def test_what_is_stored_is_read_back_by_name():
    d = some(top_k=2)
    stored = json.loads(json.dumps({**LABELS.to_json(), **d.to_json(NAMES)}))
    turned = LabelSet(NAMES[::-1], LABELS.groups)
    back = Decisions.from_json(stored, turned)
    for name in ("thresholds", "scale", "bias"):
        np.testing.assert_array_equal(getattr(back, name), getattr(d, name)[::-1])
    assert (back.exclusive, back.top_k, back.source) == (((2, 1, 0),), 2, "f1 on val, 9 images")
    p = np.random.default_rng(5).random((50, 5))
    np.testing.assert_array_equal(back.select(p[:, ::-1]), d.select(p)[:, ::-1])


def test_an_older_file_without_calibration_opens():
    stored = {**LABELS.to_json(), "thresholds": {"cat": 0.3}, "thresholds_from": "F1 on val"}
    d = Decisions.from_json(stored, LABELS)
    assert d.thresholds.tolist() == [0.3, 0.5, 0.5, 0.5, 0.5]
    assert (d.scale.tolist(), d.bias.tolist(), d.source) == ([1.0] * 5, [0.0] * 5, "F1 on val")
    assert Decisions.from_json(LABELS.to_json(), LABELS).source == "nothing fitted"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"thresholds": {"cat": "high"}},
            "decisions in labels.json .*numbers by label name; run `labelwise tu",
        ),
        ({"thresholds": [0.5]}, "decisions in labels.json"),
        ({"thresholds": {"cat": 1.5}}, r"thresholds with 1\.5; expected numbers in \[0, 1\]"),
        ({"calibration": {"scale": {"dog": -1}}}, r"scale with -1\.0; expected positive numbers"),
        ({"calibration": {"bias": {"dog": float("nan")}}}, "bias with nan; expected finite numbers"),
        ({"rules": {"exclusive": [["cat", "cow"]]}}, "label 'cow'; expected one of: cat"),
        ({"rules": {"top_k": -1}}, "top_k -1"),
    ],
)
def test_damaged_entries_are_refused(change, text):
    with pytest.raises(LabelwiseError, match=text):
        Decisions.from_json({**LABELS.to_json(), **change}, LABELS)


def test_arrays_of_different_length_are_refused():
    with pytest.raises(LabelwiseError, match="three arrays of one number per label"):
        Decisions(np.ones(3), np.ones(2), np.zeros(3))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sets(st.integers(0, 4)), st.integers(0, 3))
def test_a_label_without_positives_is_never_selected_and_does_not_affect_others(seed, never, top_k):
    free = some(seed, top_k)
    d = replace(free, never=tuple(never))
    p = np.random.default_rng(seed + 1).random((20, 5))
    p[0] = 1 - np.arange(5) * 1e-3
    without = np.where(np.isin(np.arange(5), list(never)), -1.0, p)
    np.testing.assert_array_equal(d.select(p), slow(free, without))
    assert not d.select(p)[:, sorted(never)].any()
    assert d.thresholds[sorted(never)].tolist() == [1.0] * len(never)
    stored = json.loads(json.dumps({**LABELS.to_json(), **d.to_json(NAMES)}))
    assert stored["rules"].get("never", []) == [NAMES[j] for j in sorted(never)]
    assert ("never" in stored["rules"]) is bool(never)
    back = Decisions.from_json(stored, LabelSet(NAMES[::-1], LABELS.groups))
    np.testing.assert_array_equal(back.select(p[:, ::-1]), d.select(p)[:, ::-1])


def test_a_rule_on_an_unknown_label_is_refused():
    with pytest.raises(LabelwiseError, match="never \\(5,\\); expected 0 or more, and columns below 5"):
        replace(some(), never=(5,))
    stored = {**LABELS.to_json(), "rules": {"never": ["unicorn"]}}
    with pytest.raises(LabelwiseError, match="label 'unicorn'"):
        Decisions.from_json(stored, LABELS)


def test_the_note_lists_labels_that_are_never_selected():
    assert never_selected_note([]) == ""
    assert never_selected_note([f"l{j}" for j in range(23)]).endswith("l19 and 3 more.")
