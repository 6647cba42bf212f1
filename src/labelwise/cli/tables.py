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
    m = result["metrics"]
    pointing = any("pointing" in figures for figures in result["per_label"].values())
    columns = ["AP", "F1", "precision", "recall", "threshold"] + (["pointing"] if pointing else [])
    table = table_of(["label"], ["positives", *columns])
    rare = m.get("rare_labels") or {}
    ranked = sorted(result["per_label"].items(), key=lambda item: (item[0] in rare, -(item[1]["AP"] or 0)))
    for name, figures in ranked:
        cells = [decimals(figures.get(c), 3) for c in columns]
        table.add_row(name, f"{figures['positives']:,}", *cells)
    console.print(table)
    interval, ece = m["intervals"]["mAP"], {when: c["ECE"] for when, c in m["calibration"].items()}
    parts = [f"mAP {decimals(m['mAP'])} [{decimals(interval['low'])}, {decimals(interval['high'])}]"]
    parts += main_figures(m, result["conditions"])
    if unruled := m.get("tuned_without_rules"):
        parts += [f"without the rules: CF1 {decimals(unruled['CF1'])}, OF1 {decimals(unruled['OF1'])}"]
    parts += [f"ECE {decimals(ece['before'])} before calibration, {decimals(ece['after'])} after"]
    parts += [f"pointing {decimals(m['pointing'], 3)}"] if "pointing" in m else []
    console.print("  ".join(parts), highlight=False)
    print_left_out(m)


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
    console, m = Console(), result["metrics"]
    if m.get("groups"):
        columns = ("mAP", "mA", "CF1_macro", "one")
        table = table_of(["group"], ["labels", *columns])
        for name, row in m["groups"].items():
            cells = [decimals(row.get(c), 3) for c in columns]
            table.add_row(name, f"{row['labels']:.0f}", *cells)
        console.print(table)
    for name in ("par-mean.v1", "par-inst.v1"):
        if name in m:
            console.print(
                f"{name}  " + "  ".join(f"{metric} {decimals(value)}" for metric, value in m[name].items()),
                highlight=False,
            )
    if result["protocol"].get("differs"):
        console.print(f"differs from the published data: {'; '.join(result['protocol']['differs'])}")


def print_tuning(tuning: Tuning, result: dict[str, Any]) -> None:
    """Print the fitted decisions, a row per label, then their cross-fitted figures."""
    console = Console()
    d = tuning.decisions
    floor = d.floors is not None
    of_fit, rates = ("threshold", "scale", "bias")[: 1 if floor else 3], ("F1", "precision", "recall")[floor:]
    table = table_of(["label"], ["positives", *of_fit, *rates, *(("reached", "promised") if floor else ())])
    for j, (name, figures) in enumerate(result["per_label"].items()):
        values = {"threshold": d.thresholds, "scale": d.scale, "bias": d.bias}
        cells = [f"{values[column][j]:.3f}" for column in of_fit]
        cells[0] = "never" if j in d.never else cells[0]
        cells += [decimals(figures[c], 3) for c in rates]
        cells += _floor_cells(figures)
        table.add_row(name, f"{figures['positives']:,}", *cells)
    console.print(table)
    m = result["metrics"]
    before, after, intervals = m["calibration"]["before"], m["calibration"]["after"], m["intervals"]
    lines = [f"{d.source}; figures of images decided by a fit without them"]
    for title, figures, ends in (
        ("at 0.5", m, intervals["CF1_macro"]),
        ("tuned", m["tuned"], intervals["tuned_CF1_macro"]),
    ):
        lines.append(
            f"{title:7} macro F1 {decimals(figures['CF1_macro'])} "
            f"[{decimals(ends['low'])}, {decimals(ends['high'])}]  "
            f"CP {decimals(figures['CP'])}  CR {decimals(figures['CR'])}  OF1 {decimals(figures['OF1'])}"
        )
    lines.append(
        f"ECE, mean over labels: {decimals(before['ECE'])} before, {decimals(after['ECE'])} calibrated"
    )
    if d.floors is not None:
        lines.append("reached: by the thresholds alone, on the known cells that they were fitted on")
        lines.append(d.floors.summary())
    console.print("\n".join(lines), highlight=False)
    print_left_out(m)


def _floor_cells(figures: dict[str, Any]) -> list[str]:
    """What the fit reached, between its exact bounds, and whether the floor is promised."""
    if (tested := figures.get(FLOOR)) is None:
        return []
    ends = f" ({decimals(tested['low'], 2)}-{decimals(tested['high'], 2)})" if tested["trials"] else ""
    return [decimals(tested["reached"], 2) + ends, "yes" if tested["promised"] else "no"]


def print_angles(report: dict[str, Any]) -> None:
    """Print the mean angle between a present label's feature and its classifier, by labels per image."""
    heads = ("labels in image", "images", "measured", "1/sqrt(K)", "these classifiers")
    table = table_of([], heads, "angle to the classifier, degrees")
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
    for part, figures in spread.items():
        cells = [
            f"{mean:.4f}" + ("" if sd != sd else f" +- {sd:.4f}")
            for mean, sd in (figures[name] for name in columns)
        ]
        table.add_row(titles[part], *cells)
    if len(results) == 1:
        low, high = results[0]["result"]["limits"]
        sizes = {"major": f"from {high:,}", "moderate": f"{low:,} to {high - 1:,}", "minor": f"under {low:,}"}
        for group, metrics in results[0]["result"]["groups"].items():
            cells = [decimals((metrics or {}).get(name)) for name in columns]
            table.add_row(f"{group} labels ({sizes[group]} images)", *cells)
    Console().print(table)
    print_left_out(results[0]["result"])
