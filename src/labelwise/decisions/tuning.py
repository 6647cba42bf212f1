"""Decisions fitted on a validation split, with cross-fitted decisions of the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from labelwise.decisions.calibration import calibrate
from labelwise.decisions.decisions import Decisions, sigmoid
from labelwise.decisions.objective import Objective
from labelwise.decisions.thresholds import LOWEST
from labelwise.metrics.arrays import one_of
from labelwise.types import LabelSet

FOLDS = 5
NEVER = "no positive in train: never selected"
KEPT = "kept from the run that training started from"
STORED = ("platt", "temperature", "none")


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
) -> Tuning:
    """Calibrates each label, then fits its threshold; repeats both without each of five folds of the images.

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

    Raises:
        LabelwiseError: unknown objective or calibration, soft targets, NaN, or different shapes.
    """
    aim = Objective.parse(objective)
    one_of("calibration", calibration, STORED)
    z = np.asarray(logits, dtype=np.float64)
    text = f"{aim.text} on {source.removesuffix(':') or 'these images'}, {len(z)} images, {calibration} calibration"
    decisions, reasons, own = _fit(z, targets, known, labels, aim, calibration, text, never, kept)
    p, selected, without = np.zeros(z.shape), np.zeros(z.shape, bool), np.zeros(z.shape, bool)
    fold = np.random.default_rng(0).permutation(len(z)) % FOLDS
    for number in range(min(FOLDS, len(z))):
        rest, held_out = fold != number, fold == number
        fitted = _fit(z[rest], targets[rest], known[rest], labels, aim, calibration, text, never, kept)[0]
        p[held_out] = fitted.probabilities(z[held_out])
        selected[held_out] = fitted.select(p[held_out])
        without[held_out] = fitted.select(p[held_out], with_rules=False)
    own[[*never, *(kept.columns if kept else ())]] = (
        True  # never selected or not fitted: no warning is needed
    )
    shared = tuple(name for name, enough in zip(labels.names, own, strict=True) if not enough)
    return Tuning(decisions, p, selected, without, reasons, shared)


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
) -> tuple[Decisions, list[str], np.ndarray]:
    # Thresholds are fitted on calibrated probabilities; without calibration they are mapped back to plain ones.
    fit = calibrate(z, targets, known, kind="platt" if calibration == "none" else calibration)
    calibrated = sigmoid(z * fit.scale + fit.bias)
    fitted_thresholds, info = aim.thresholds(calibrated, targets, known)
    thresholds = np.asarray(fitted_thresholds)
    scale, bias = fit.scale, fit.bias
    if calibration == "none":
        cut = np.log(thresholds) - np.log1p(-thresholds)
        thresholds = sigmoid((cut - bias) / scale).clip(LOWEST, 1 - LOWEST)
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
    return decisions, reasons, fit.own.copy()
