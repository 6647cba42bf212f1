"""Results as tables and lines of text in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from labelwise.decisions import Tuning
from labelwise.evaluation.figures import FLOOR, decimals, main_figures, rare_left_out, without_ap


def table_of(left: Sequence[str], right: Sequence[str], title: str | None = None) -> Table:
    """A table without lines, with columns of text on the left and of numbers on the right."""
    table = Table(box=None, pad_edge=False, header_style="bold", title=title)
    for name in left:
        table.add_column(name)
    for name in right:
        table.add_column(name, justify="right")
    return table


def print_labels(result: dict[str, Any]) -> None:
    """Print a table with a row per label, the highest AP first and rare labels last, then figures over all labels."""
    console = Console()
    metrics = result["metrics"]
    pointing = any("pointing" in figures for figures in result["per_label"].values())
    columns = ["AP", "F1", "precision", "recall", "threshold"] + (["pointing"] if pointing else [])
    table = table_of(["label"], ["positives", *columns])
    rare = metrics.get("rare_labels") or {}
    ranked = sorted(result["per_label"].items(), key=lambda item: (item[0] in rare, -(item[1]["AP"] or 0)))
    for name, figures in ranked:
        cells = [decimals(figures.get(c), 3) for c in columns]
        table.add_row(name, f"{figures['positives']:,}", *cells)
    console.print(table)
    interval, calibration = metrics["intervals"]["mAP"], metrics["calibration"]
    parts = [f"mAP {decimals(metrics['mAP'])} [{decimals(interval['low'])}, {decimals(interval['high'])}]"]
    parts += main_figures(metrics, result["conditions"])
    if unruled := metrics.get("tuned_without_rules"):
        parts += [f"without the rules: CF1 {decimals(unruled['CF1'])}, OF1 {decimals(unruled['OF1'])}"]
    before, after = (decimals(calibration[when]["ECE"]) for when in ("before", "after"))
    parts += [f"ECE {before} before calibration, {after} after"]
    parts += [f"pointing {decimals(metrics['pointing'], 3)}"] if "pointing" in metrics else []
    console.print("  ".join(parts), highlight=False)
    print_left_out(metrics)


def print_left_out(metrics: dict[str, Any]) -> None:
    """Print which labels have no average precision, and the mAP without rare labels, if there are any."""
    for message in filter(None, (without_ap(metrics), rare_left_out(metrics))):
        Console().print(message, highlight=False, markup=False, soft_wrap=True)


def print_frequency(result: dict[str, Any]) -> None:
    """Print mAP over the head, medium and tail labels of training, if their frequencies are known."""
    groups = result["metrics"].get("frequency") or {}
    parts = [f"{name} {decimals(row['mAP'])} ({row['labels']:.0f} labels)" for name, row in groups.items()]
    if parts:
        Console().print(f"mAP by frequency in training: {', '.join(parts)}", highlight=False, soft_wrap=True)


def print_growth(result: dict[str, Any]) -> None:
    """mAP of the labels that a grown run took over and of the added ones."""
    groups = result["metrics"].get("growth") or {}
    parts = [f"{row['labels']:.0f} {name} {decimals(row['mAP'])}" for name, row in groups.items()]
    if parts:
        Console().print(f"mAP of the labels: {', '.join(parts)}", highlight=False, soft_wrap=True)


def print_groups(result: dict[str, Any]) -> None:
    """Print the figures of label groups and of the attribute protocols, if any."""
    console, metrics = Console(), result["metrics"]
    if metrics.get("groups"):
        columns = ("mAP", "mA", "CF1_macro", "one")
        table = table_of(["group"], ["labels", *columns])
        for name, row in metrics["groups"].items():
            cells = [decimals(row.get(c), 3) for c in columns]
            table.add_row(name, f"{row['labels']:.0f}", *cells)
        console.print(table)
    for name in ("par-mean.v1", "par-inst.v1"):
        if name in metrics:
            figures = "  ".join(f"{metric} {decimals(value)}" for metric, value in metrics[name].items())
            console.print(f"{name}  {figures}", highlight=False)
    if result["protocol"].get("differs"):
        console.print(f"differs from the published data: {'; '.join(result['protocol']['differs'])}")


def print_tuning(tuning: Tuning, result: dict[str, Any]) -> None:
    """Print the fitted decisions, a row per label, then their cross-fitted figures."""
    console = Console()
    decisions = tuning.decisions
    floor = decisions.floors is not None
    fitted, rates = ("threshold", "scale", "bias")[: 1 if floor else 3], ("F1", "precision", "recall")[floor:]
    table = table_of(["label"], ["positives", *fitted, *rates, *(("reached", "promised") if floor else ())])
    for j, (name, figures) in enumerate(result["per_label"].items()):
        values = {"threshold": decisions.thresholds, "scale": decisions.scale, "bias": decisions.bias}
        cells = [f"{values[column][j]:.3f}" for column in fitted]
        cells[0] = "never" if j in decisions.never else cells[0]
        cells += [decimals(figures[c], 3) for c in rates]
        cells += _floor_cells(figures)
        table.add_row(name, f"{figures['positives']:,}", *cells)
    console.print(table)
    metrics = result["metrics"]
    intervals, calibration = metrics["intervals"], metrics["calibration"]
    lines = [f"{decisions.source}; figures of images decided by a fit without them"]
    for title, figures, interval in (
        ("at 0.5", metrics, intervals["CF1_macro"]),
        ("tuned", metrics["tuned"], intervals["tuned_CF1_macro"]),
    ):
        lines.append(
            f"{title:7} macro F1 {decimals(figures['CF1_macro'])} "
            f"[{decimals(interval['low'])}, {decimals(interval['high'])}]  "
            f"CP {decimals(figures['CP'])}  CR {decimals(figures['CR'])}  OF1 {decimals(figures['OF1'])}"
        )
    before, after = (decimals(calibration[when]["ECE"]) for when in ("before", "after"))
    lines.append(f"ECE, mean over labels: {before} before, {after} calibrated")
    if decisions.floors is not None:
        lines.append("reached: by the thresholds alone, on the known cells that they were fitted on")
        lines.append(decisions.floors.summary())
    console.print("\n".join(lines), highlight=False)
    print_left_out(metrics)


def _floor_cells(figures: dict[str, Any]) -> list[str]:
    """What the fit reached, between its exact bounds, and whether the floor is promised."""
    if (test := figures.get(FLOOR)) is None:
        return []
    bounds = f" ({decimals(test['low'], 2)}-{decimals(test['high'], 2)})" if test["trials"] else ""
    return [decimals(test["reached"], 2) + bounds, "yes" if test["promised"] else "no"]


def print_angles(report: dict[str, Any]) -> None:
    """Print the mean angle between a present label's feature and its classifier, by labels per image."""
    columns = ("labels in image", "images", "measured", "1/sqrt(K)", "these classifiers")
    table = table_of([], columns, "angle to the classifier, degrees")
    for count, row in report["by_count"].items():
        cells = ["-" if row[c] is None else f"{row[c]:.1f}" for c in ("mean", "orthonormal", "gram")]
        table.add_row(count, f"{row['images']:,}", *cells)
    Console().print(table)


def print_stream(results: list[dict[str, Any]], spread: dict[str, dict[str, tuple[float, float]]]) -> None:
    """Print the figures after the last task; with several seeds, their mean and standard deviation."""
    columns = ("mAP", "CF1", "OF1")
    table = table_of(["after the last task"], columns)
    titles = {
        "pooled": "all tasks pooled",
        "task_mean": "mean of tasks",
        "fitted": "pooled, threshold fitted on memory",
        "forgetting": "forgetting",
    }
    for key, figures in spread.items():
        cells = [
            f"{mean:.4f}" + ("" if sd != sd else f" +- {sd:.4f}")
            for mean, sd in (figures[name] for name in columns)
        ]
        table.add_row(titles[key], *cells)
    if len(results) == 1:
        low, high = results[0]["result"]["limits"]
        sizes = {"major": f"from {high:,}", "moderate": f"{low:,} to {high - 1:,}", "minor": f"under {low:,}"}
        for group, metrics in results[0]["result"]["groups"].items():
            cells = [decimals((metrics or {}).get(name)) for name in columns]
            table.add_row(f"{group} labels ({sizes[group]} images)", *cells)
    Console().print(table)
    print_left_out(results[0]["result"])
