"""Fitting decisions: objectives, folds, plain probabilities, and labels with few cells."""

from __future__ import annotations

import numpy as np
import pytest

from labelwise.decisions import Decisions, KeptDecisions, Objective, tune
from labelwise.decisions.decisions import sigmoid
from labelwise.decisions.tuning import FOLDS, KEPT
from labelwise.errors import LabelwiseError
from labelwise.metrics import functional as F
from labelwise.types import Group, LabelSet

LABELS = LabelSet(("a", "b", "c", "d"), {"pair": Group(("a", "b"), True)})


def case(images: int = 400, seed: int = 0):
    """Logits far too low, as of a model trained with unknown as absent."""
    rng = np.random.default_rng(seed)
    y = rng.random((images, 4)) < [0.3, 0.2, 0.1, 0.05]
    z = rng.normal(size=y.shape) + 3.0 * y - 4.0
    return z, y, rng.random(y.shape) < 0.9


@pytest.mark.parametrize("text", ["f1", "precision=0.9", "recall=0.5", "cost=1:5", "top=3"])
def test_forms_of_objectives(text):
    aim = Objective.parse(text)
    assert (aim.kind, aim.text) == (text.partition("=")[0], text)
    assert aim.top_k == (3 if text == "top=3" else 0)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "F2",
            "f1=1",
            "f1=",
            "precision",
            "precision=90",
            "precision=1",
            "recall=0",
            "recall=-1",
            "cost=1",
            "cost=1:0",
            "cost=a:b",
        ),
        *("cost=1:2:3", "top=0", "top=1.5", "top=nan"),
    ],
)
def test_other_objectives_are_refused(text):
    with pytest.raises(LabelwiseError, match=f"objective '{text}'; expected f1, precision=0.9"):
        Objective.parse(text)


def test_tuned_decisions_gain_on_other_images():
    z, y, known = case()
    new_z, new_y, _ = case(4000, seed=1)
    tuned = tune(z, y, known, LabelSet(tuple("abcd"))).decisions
    metrics = F.threshold_metrics(tuned.select(tuned.probabilities(new_z)).astype(float), new_y)
    assert metrics["CF1_macro"] > F.threshold_metrics(new_z, new_y, threshold=0.0)["CF1_macro"] + 0.2
    p = tuned.probabilities(new_z)
    assert F.calibration_error(p, new_y).mean() < 0.3 * F.calibration_error(sigmoid(new_z), new_y).mean()


@pytest.mark.parametrize("objective", ["f1", "recall=0.9", "cost=1:9"])
def test_plain_probabilities_are_cut_where_calibrated_ones_are(objective):
    z, y, known = case()
    calibrated = tune(z, y, known, LABELS, objective).decisions
    plain = tune(z, y, known, LABELS, objective, "none").decisions
    assert (plain.scale.tolist(), plain.bias.tolist()) == ([1.0] * 4, [0.0] * 4)
    calls = [d.probabilities(z) >= d.thresholds for d in (plain, calibrated)]
    np.testing.assert_array_equal(*calls)


def test_floors_hold_on_other_images():
    new_z, new_y, _ = case(20_000, seed=1)
    for objective in ("precision=0.8", "recall=0.8"):
        d = tune(*case(2000), LabelSet(tuple("abcd")), objective).decisions
        called, kind = d.probabilities(new_z) >= d.thresholds, objective.partition("=")[0]
        rate = (called & new_y).sum(0) / (called if kind == "precision" else new_y).sum(0)
        assert d.floors.promised[:3].all()
        assert ((rate > 0.8) & (rate < 0.93))[d.floors.promised].all()


def test_rules_of_the_label_set_and_of_the_objective():
    z, y, known = case()
    tuning = tune(z, y, known, LABELS, "top=1")
    assert (tuning.decisions.exclusive, tuning.decisions.top_k) == (((0, 1),), 1)
    assert tuning.selected.sum(axis=1).max() == 1
    assert tune(z, y, known, LABELS).selected[:, :2].sum(axis=1).max() == 1


def test_every_image_is_decided_without_its_fold():
    z, y, known = case(100)
    tuning = tune(z, y, known, LABELS)
    fold = np.random.default_rng(0).permutation(100) % FOLDS
    for number in range(FOLDS):
        rest, held_out = fold != number, fold == number
        alone = tune(z[rest], y[rest], known[rest], LABELS).decisions
        np.testing.assert_array_equal(tuning.probabilities[held_out], alone.probabilities(z[held_out]))
        np.testing.assert_array_equal(
            tuning.selected[held_out], alone.select(alone.probabilities(z[held_out]))
        )


def test_cross_fitted_metrics_are_less_optimistic():
    """With weak scores, metrics of the fit on its own images are too optimistic, and those of the folds are not."""
    own, folds, true = [], [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        y = rng.random((2000, 20)) < 0.3
        z = rng.normal(size=y.shape) + y
        known = np.ones((80, 20), bool)
        tuning = tune(z[:80], y[:80], known, LabelSet(tuple(map(str, range(20)))), "precision=0.9")
        d = tuning.decisions
        calls = d.select(d.probabilities(z))
        for precisions, called, truth in (
            (own, calls[:80], y[:80]),
            (folds, tuning.selected, y[:80]),
            (true, calls[80:], y[80:]),
        ):
            precisions.append(F.threshold_metrics(called.astype(float), truth)["OP"])
    assert np.mean(own) > np.mean(true) + 0.02
    assert abs(np.mean(folds) - np.mean(true)) < np.mean(own) - np.mean(true)


def test_labels_with_one_positive_or_none_are_decided_and_named():
    z, y, known = case()
    y[:, 2], y[:, 3] = np.arange(400) == 5, False
    known[5, 2] = True
    tuning = tune(z, y, known, LABELS)
    assert tuning.shared == ("c", "d")
    assert tuning.warning.endswith("all labels' calibration decides: c, d")
    assert tuning.decisions.scale[2] == tuning.decisions.scale[3]
    assert ((tuning.decisions.thresholds > 0) & (tuning.decisions.thresholds < 1)).all()
    assert tuning.reasons[2] == "1 known positive: what the probabilities expect"
    assert tune(*case(), LABELS).warning == ""


@pytest.mark.parametrize("images", [0, 1, 3, 50])
def test_nothing_known_leaves_everything_plain(images):
    z, y, _ = case(images)
    tuning = tune(z, y, np.zeros(y.shape, bool), LABELS)
    plain = Decisions.plain(LABELS)
    np.testing.assert_array_equal(tuning.decisions.thresholds, plain.thresholds)
    np.testing.assert_array_equal(tuning.probabilities, plain.probabilities(z))
    assert tuning.shared == LABELS.names


def test_another_calibration_is_refused():
    with pytest.raises(LabelwiseError, match="calibration 'beta'; expected one of: platt, temperature, none"):
        tune(*case(), LABELS, calibration="beta")


@pytest.mark.parametrize(
    ("objective", "calibration"),
    [*((aim, "platt") for aim in ("f1", "recall=0.9", "precision=0.5", "cost=1:9", "top=2")), ("f1", "none")],
)
def test_no_objective_selects_a_label_without_positives(objective, calibration):
    z, y, known = case()
    tuning = tune(z, y, known, LABELS, objective, calibration, never=(1, 3))
    free = tune(z, y, known, LABELS, objective, calibration)
    assert tuning.decisions.never == (1, 3)
    assert free.selected[:, 3].any()
    assert not tuning.selected[:, [1, 3]].any()
    assert not tuning.decisions.select(np.ones((1, len(LABELS))))[:, [1, 3]].any()
    assert [tuning.reasons[j] for j in (1, 3)] == ["no positive in train: never selected"] * 2
    others = [j for j in range(len(LABELS)) if j not in (1, 3)]
    np.testing.assert_array_equal(tuning.decisions.thresholds[others], free.decisions.thresholds[others])


def test_a_label_that_is_never_selected_has_no_warning():
    z, y, known = case()
    y[:, 3], known[:, 3] = False, True
    assert "d" not in tune(z, y, known, LABELS, never=(3,)).warning


def test_kept_decisions_are_not_fitted():
    """Neither the whole fit nor that of any fold moves them; the other labels are fitted as without them."""
    z, y, known = case()
    own = Decisions(np.array([0.31, 0.62]), np.array([1.7, 0.4]), np.array([0.2, -3.0]))
    free = tune(z, y, known, LABELS)
    tuning = tune(z, y, known, LABELS, kept=KeptDecisions((3, 1), own))
    for name in ("thresholds", "scale", "bias"):
        assert getattr(tuning.decisions, name)[[3, 1]].tolist() == getattr(own, name).tolist()
        assert (
            getattr(tuning.decisions, name)[[0, 2]].tolist() == getattr(free.decisions, name)[[0, 2]].tolist()
        )
    np.testing.assert_allclose(tuning.probabilities[:, 3], sigmoid(1.7 * z[:, 3] + 0.2), rtol=1e-12)
    assert (tuning.selected[:, 3] == (tuning.probabilities[:, 3] >= 0.31)).all()
    assert (tuning.reasons[3], tuning.reasons[1]) == (KEPT, KEPT)
    assert KEPT not in (tuning.reasons[0], tuning.reasons[2])
