"""Decisions fitted on a validation split, with cross-fitted decisions of the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from labelwise.decisions.calibration import calibrate
from labelwise.decisions.certify import Certified, certify, more_positives
from labelwise.decisions.decisions import Decisions, sigmoid
from labelwise.decisions.floors import Floors, tail
from labelwise.decisions.objective import Objective
from labelwise.decisions.thresholds import LOWEST
from labelwise.errors import LabelwiseError
from labelwise.metrics.arrays import one_of
from labelwise.types import LabelSet

FOLDS = 5
NEVER = "no positive in train: never selected"
KEPT = "kept from the run that training started from"
STORED = ("platt", "temperature", "none")
CONFIDENCE = 0.9
_TOLERANCE = 1e-3  # scores of another engine or batch size differ in the last digits


@dataclass(frozen=True)
class KeptDecisions:
    """Decisions of some labels that stay as they are while those of the others are fitted.

    Args:
        columns: `[K]` columns of these labels.
        decisions: of the `K` labels, in the order of the columns.
    """

    columns: Sequence[int]
    decisions: Decisions

    def over(self, fitted: Decisions) -> Decisions:
        """Fitted decisions with the kept thresholds and calibration in place of theirs."""
        arrays = {}
        for name in ("thresholds", "scale", "bias"):
            arrays[name] = getattr(fitted, name).copy()
            arrays[name][list(self.columns)] = getattr(self.decisions, name)
        return replace(fitted, **arrays)


@dataclass(frozen=True)
class Tuning:
    """Fitted decisions with cross-fitted probabilities and selections.

    Args:
        decisions: fitted on all images.
        probabilities: `[N, L]` float64, each image's by decisions fitted without its fold.
        selected: `[N, L]` bool, by the same fits.
        without_rules: `[N, L]` bool, the selection of thresholds alone, by the same fits.
        reasons: `[L]` texts, the origin of each threshold.
        shared: names of the labels with too few known cells for a calibration and a threshold of their own.
    """

    decisions: Decisions
    probabilities: np.ndarray
    selected: np.ndarray
    without_rules: np.ndarray
    reasons: list[str]
    shared: tuple[str, ...]

    @property
    def warning(self) -> str:
        """A warning that lists labels with too few cells; empty if there are none."""
        if not self.shared:
            return ""
        names = ", ".join(self.shared[:10]) + (", ..." if len(self.shared) > 10 else "")
        return (
            "warning: fewer than 2 known positives, or no known negative, to fit decisions on, "
            f"so all labels' calibration decides: {names}"
        )


def tune(
    logits: np.ndarray,
    targets: np.ndarray,
    known: np.ndarray,
    labels: LabelSet,
    objective: str = "f1",
    calibration: str = "platt",
    source: str = "",
    never: Sequence[int] = (),
    kept: KeptDecisions | None = None,
    confidence: float = CONFIDENCE,
) -> Tuning:
    """Calibrates each label, then fits its threshold; repeats both without each of five folds of the images.

    For `precision=P` and `recall=R`, the threshold of a label that passes an exact test of the floor is the one that
    passed; `decisions.floors` has these labels and what the others lack, which keep a best-effort threshold.

    Decisions look better on the images that they were fitted on than on others. Metrics of a validation split
    therefore use the decisions of each fold by a fit on the other four.

    Args:
        logits: `[N, L]` finite where known.
        targets: `[N, L]`, 0 or 1 where known.
        known: `[N, L]` bool.
        labels: the label set; its exclusive groups become rules.
        objective: `f1`, `precision=P`, `recall=R`, `cost=FP:FN` or `top=K`.
        calibration: `platt`, `temperature`, or `none`, which leaves probabilities unchanged.
        source: description of the images.
        never: columns of labels without a positive in training, which are never selected.
        kept: labels whose thresholds and calibration are not fitted.
        confidence: of the test of a floor, in (0, 1).

    Raises:
        LabelwiseError: unknown objective or calibration, a confidence out of range, soft targets, NaN, different
            shapes, or a floor without any known positive to test it on.
    """
    aim = Objective.parse(objective)
    one_of("calibration", calibration, STORED)
    _refuse_untestable(aim, confidence, source, targets, known)
    z = np.asarray(logits, dtype=np.float64)
    images = f"{source.removesuffix(':') or 'these images'}, {len(z)} images"
    text = f"{aim.text} on {images}, {calibration} calibration"
    fit = partial(
        _fit,
        labels=labels,
        aim=aim,
        calibration=calibration,
        source=text,
        never=never,
        kept=kept,
        confidence=confidence,
    )
    full_fit = fit(z, targets, known)
    decisions, reasons, has_own = full_fit.decisions, full_fit.reasons, full_fit.own
    if full_fit.certified is not None:
        floors = _floor_record(full_fit, z, targets, known, aim, confidence)
        decisions = replace(decisions, floors=floors)
        for j in set(range(len(labels))) - {*never, *(kept.columns if kept else ())}:
            reasons[j] = floors.reason(j) if floors.promised[j] else f"{floors.reason(j)}; {reasons[j]}"
    p, selected, by_thresholds = np.zeros(z.shape), np.zeros(z.shape, bool), np.zeros(z.shape, bool)
    fold = np.random.default_rng(0).permutation(len(z)) % FOLDS
    for number in range(min(FOLDS, len(z))):
        training, held_out = fold != number, fold == number
        fitted = fit(z[training], targets[training], known[training]).decisions
        p[held_out] = fitted.probabilities(z[held_out])
        selected[held_out] = fitted.select(p[held_out])
        by_thresholds[held_out] = fitted.select(p[held_out], with_rules=False)
    # Never selected or not fitted: no warning is needed.
    has_own[[*never, *(kept.columns if kept else ())]] = True
    shared = tuple(name for name, enough in zip(labels.names, has_own, strict=True) if not enough)
    return Tuning(decisions, p, selected, by_thresholds, reasons, shared)


def tune_again(
    decisions: Decisions,
    logits: np.ndarray,
    targets: np.ndarray,
    known: np.ndarray,
    labels: LabelSet,
    split: str,
    kept: KeptDecisions | None = None,
) -> Tuning | None:
    """Repeats the fit that stored decisions came from, to decide its images without their folds again.

    Args:
        decisions: the stored ones.
        logits: `[N, L]` of the images that they may have been fitted on.
        targets: `[N, L]`, 0 or 1 where known.
        known: `[N, L]` bool.
        labels: the label set.
        split: of these images.
        kept: labels that the fit may have left as they were.

    Returns:
        `None` if the same fit on these images gives other thresholds, so that they were fitted on others.
    """
    objective, _, description = decisions.source.partition(" on ")
    calibration = description.removesuffix(" calibration").rpartition(" ")[2]
    if not description.startswith(f"{split} of ") or calibration not in STORED:
        return None
    aim, source = Objective.parse(objective), description.rpartition(f", {len(logits)} images, ")[0]
    if not source:
        return None
    confidence = CONFIDENCE if decisions.floors is None else decisions.floors.confidence
    for fixed in (None, kept) if kept is not None else (None,):
        refit = tune(
            logits, targets, known, labels, aim.text, calibration, source, decisions.never, fixed, confidence
        )
        if np.allclose(refit.decisions.thresholds, decisions.thresholds, rtol=0, atol=_TOLERANCE):
            return refit
    return None


@dataclass(frozen=True)
class _Fitted:
    """One fit: the origin of each threshold, labels with their own calibration, calibrated scores, a floor's test."""

    decisions: Decisions
    reasons: list[str]
    own: np.ndarray
    calibrated: np.ndarray
    certified: Certified | None


def _fit(
    z: np.ndarray,
    targets: np.ndarray,
    known: np.ndarray,
    labels: LabelSet,
    aim: Objective,
    calibration: str,
    source: str,
    never: Sequence[int],
    kept: KeptDecisions | None,
    confidence: float,
) -> _Fitted:
    """Calibration and thresholds on one set of scores, with those kept from an earlier fit."""
    # Thresholds are fitted on calibrated probabilities; without calibration they are mapped back to plain ones.
    fit = calibrate(z, targets, known, kind="platt" if calibration == "none" else calibration)
    calibrated = sigmoid(z * fit.scale + fit.bias)
    fitted_thresholds, info = aim.thresholds(calibrated, targets, known)
    thresholds = np.asarray(fitted_thresholds)
    certified = None
    if aim.floor:
        is_fitted = np.ones(len(labels), bool)
        is_fitted[[*never, *(kept.columns if kept else ())]] = False
        certified = certify(aim.kind, calibrated, targets, known, is_fitted, aim.floor, confidence)
        thresholds = np.where(np.isnan(certified.thresholds), thresholds, certified.thresholds)
    scale, bias = fit.scale, fit.bias
    if calibration == "none":
        logits = np.log(thresholds) - np.log1p(-thresholds)
        thresholds = sigmoid((logits - bias) / scale).clip(LOWEST, 1 - LOWEST)
        scale, bias = np.ones(len(labels)), np.zeros(len(labels))
    decisions = replace(
        Decisions.plain(labels),
        thresholds=thresholds,
        scale=scale,
        bias=bias,
        top_k=aim.top_k,
        source=source,
        never=tuple(never),
    )
    reasons = [NEVER if j in decisions.never else reason for j, reason in enumerate(info.reasons)]
    if kept is not None:
        decisions = kept.over(decisions)
        for column in kept.columns:
            reasons[column] = KEPT
    return _Fitted(decisions, reasons, fit.own.copy(), calibrated, certified)


def _floor_record(
    fit: _Fitted, z: np.ndarray, targets: np.ndarray, known: np.ndarray, aim: Objective, confidence: float
) -> Floors:
    """The record of the test, counted by the stored thresholds."""
    assert fit.certified is not None
    decisions, level = fit.decisions, fit.certified.level
    p, positive = decisions.probabilities(z), known & (np.asarray(targets) == 1)
    selected = known & (p >= decisions.thresholds)
    hits, trials = (positive & selected).sum(0), (selected if aim.kind == "precision" else positive).sum(0)
    promised = np.isfinite(fit.certified.thresholds) & (tail(hits, trials, aim.floor) <= level)
    short = np.zeros(len(decisions), np.int64)
    for j in np.flatnonzero(~promised):
        cells = fit.calibrated[known[:, j], j]
        short[j] = more_positives(aim.kind, cells, int(positive[:, j].sum()), aim.floor, level)
    return Floors(aim.kind, aim.floor, confidence, level, promised, hits, trials, short)


def _refuse_untestable(
    aim: Objective, confidence: float, source: str, targets: np.ndarray, known: np.ndarray
) -> None:
    """Raise `LabelwiseError` for a confidence out of range, or a floor without a known positive to test it on."""
    if not 0 < confidence < 1:
        raise LabelwiseError(
            f"confidence={confidence}", "a number over 0 and under 1", "give, for example, 0.9"
        )
    if aim.floor and not (np.asarray(known, bool) & (np.asarray(targets) == 1)).any():
        raise LabelwiseError(
            f"objective {aim.text!r} on {source.removesuffix(':') or 'these images'} without a known positive",
            "known positives, on which the floor is tested",
            "label some images of the split, or use the objective f1",
        )
