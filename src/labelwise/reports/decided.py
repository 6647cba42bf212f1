"""The effect of the run's own decisions, for the head of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelwise.evaluation.figures import CROSS_FITTED
from labelwise.reports.record import RunRecord, finite_number
from labelwise.reports.sections import percent


def decided(run: RunRecord) -> dict[str, Any]:
    """The interval of the mAP, and metrics at 0.5 and by the run's decisions, with rules and without.

    Returns:
        `rule`, the origin of the thresholds; `interval`, `None` if the run has none; and `rows` of (name, value before,
        value after), empty if the run was evaluated before decisions were calibrated.
    """
    metrics = run.splits[run.shown_split].get("metrics", {})
    tuned, calibration = metrics.get("tuned") or {}, metrics.get("calibration") or {}
    rows = []
    for name, key in (("Macro F1", "CF1_macro"), ("CF1", "CF1"), ("OF1", "OF1")):
        before = _with_interval(metrics, metrics.get(key), key)
        rows.append((name, before, _with_interval(metrics, tuned.get(key), f"tuned_{key}")))
    if without_rules := metrics.get("tuned_without_rules"):
        for name, key in (("CF1, thresholds alone", "CF1"), ("OF1, thresholds alone", "OF1")):
            rows.append((name, "-", percent(without_rules.get(key))))
        broken = percent(without_rules.get("images_against_a_rule"))
        rows.append(("Images against a rule, thresholds alone", "-", broken))
    before, after = (percent((calibration.get(when) or {}).get("ECE")) for when in ("before", "after"))
    rows.append(("Calibration error, mean over labels", before, after))
    is_cross_fitted = run.splits[run.shown_split].get("conditions", {}).get(CROSS_FITTED)
    return {
        "rule": run.thresholds_from + (", cross-fitted" if is_cross_fitted else ""),
        "interval": _interval(metrics, "mAP"),
        "rows": rows if tuned and calibration else [],
    }


def floors(run: RunRecord) -> dict[str, Any] | None:
    """What is promised of a precision or recall floor, for the table of labels; `None` without one.

    Returns:
        `summary` and `without`, sentences, and `promised`, the labels' names.
    """
    if run.floors is None:
        return None
    promised = [name for name, holds in zip(run.names, run.floors.promised, strict=True) if holds]
    return {
        "summary": run.floors.summary(),
        "without": run.floors.without(run.names),
        "promised": promised,
    }


def _with_interval(metrics: Mapping[str, Any], value: Any, name: str) -> str:
    interval = _interval(metrics, name)
    return percent(value) + (f" ({interval})" if interval else "")


def _interval(metrics: Mapping[str, Any], name: str) -> str | None:
    """The interval of a metric as `low to high`, in percent."""
    interval = (metrics.get("intervals") or {}).get(name) or {}
    low, high = finite_number(interval.get("low")), finite_number(interval.get("high"))
    return None if low is None or high is None else f"{percent(low)} to {percent(high)}"
