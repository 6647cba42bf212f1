"""Results as a person reads them."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from labelwise.decisions import Tuning
from labelwise.evaluation.figures import left_out, shown


def print_labels(result: dict[str, Any]) -> None:
    """Figures over all labels, then a line a label, best first."""
    console = Console()
    m = result["metrics"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    pointing = any("pointing" in found for found in result["per_label"].values())
    columns = ["AP", "F1", "precision", "recall", "threshold"] + (["pointing"] if pointing else [])
    table.add_column("label")
    for name in ["positives", *columns]:
        table.add_column(name, justify="right")
    ranked = sorted(result["per_label"].items(), key=lambda item: -(item[1]["AP"] or 0))
    for name, found in ranked:
        cells = [shown(found.get(c), 3) for c in columns]
        table.add_row(name, f"{found['positives']:,}", *cells)
    console.print(table)
    sure, ece = m["intervals"]["mAP"], {when: found["ECE"] for when, found in m["calibration"].items()}
    words = [f"mAP {shown(m['mAP'])} [{shown(sure['low'])}, {shown(sure['high'])}]"]
    words += [f"CF1 {shown(m['CF1'])}", f"OF1 {shown(m['OF1'])}"]
    words += [f"with the run's decisions: CF1 {shown(m['tuned']['CF1'])}, OF1 {shown(m['tuned']['OF1'])}"]
    if loose := m.get("tuned_without_rules"):
        words += [f"without the rules: CF1 {shown(loose['CF1'])}, OF1 {shown(loose['OF1'])}"]
    words += [f"ECE {shown(ece['before'])} before calibration, {shown(ece['after'])} after"]
    words += [f"pointing {shown(m['pointing'], 3)}"] if "pointing" in m else []
    console.print("  ".join(words), highlight=False)
    print_left_out(m)


def print_left_out(metrics: dict[str, Any]) -> None:
    """A line that names the labels without an average precision, where there are any."""
    if told := left_out(metrics):
        Console().print(told, highlight=False, markup=False, soft_wrap=True)


def print_frequency(result: dict[str, Any]) -> None:
    """mAP of the head, medium and tail labels of training, where their frequencies are known."""
    groups = result["metrics"].get("frequency") or {}
    words = [f"{name} {shown(row['mAP'])} ({row['labels']:.0f} labels)" for name, row in groups.items()]
    if words:
        Console().print(f"mAP by frequency in training: {', '.join(words)}", highlight=False, soft_wrap=True)


def print_growth(result: dict[str, Any]) -> None:
    """mAP of the labels that a grown run took over and of the added ones."""
    groups = result["metrics"].get("growth") or {}
    parts = [f"{row['labels']:.0f} {name} {shown(row['mAP'])}" for name, row in groups.items()]
    if parts:
        Console().print(f"mAP of the labels: {', '.join(parts)}", highlight=False, soft_wrap=True)


def print_groups(result: dict[str, Any]) -> None:
    """Figures of each group of labels, and those of the attribute protocols, where there are any."""
    console, m = Console(), result["metrics"]
    if m.get("groups"):
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("group")
        for name in ("labels", "mAP", "mA", "CF1_macro", "one"):
            table.add_column(name, justify="right")
        for name, row in m["groups"].items():
            cells = [shown(row.get(c), 3) for c in ("mAP", "mA", "CF1_macro", "one")]
            table.add_row(name, f"{row['labels']:.0f}", *cells)
        console.print(table)
    for name in ("par-mean.v1", "par-inst.v1"):
        if name in m:
            console.print(
                f"{name}  " + "  ".join(f"{what} {shown(value)}" for what, value in m[name].items()),
                highlight=False,
            )
    if result["protocol"].get("differs"):
        console.print(f"differs from the published data: {'; '.join(result['protocol']['differs'])}")


def print_tuning(tuning: Tuning, result: dict[str, Any]) -> None:
    """What was fitted, a line a label, then what it brings on images decided by a fit without them."""
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("label")
    for name in ("positives", "threshold", "scale", "bias", "F1", "precision", "recall"):
        table.add_column(name, justify="right")
    d = tuning.decisions
    for j, (name, found) in enumerate(result["per_label"].items()):
        cells = [f"{values[j]:.3f}" for values in (d.thresholds, d.scale, d.bias)]
        cells[0] = "never" if j in d.never else cells[0]
        cells += [shown(found[c], 3) for c in ("F1", "precision", "recall")]
        table.add_row(name, f"{found['positives']:,}", *cells)
    console.print(table)
    m = result["metrics"]
    before, after, sure = m["calibration"]["before"], m["calibration"]["after"], m["intervals"]
    lines = [f"{d.source}; figures of images decided by a fit without them"]
    for title, found, ends in (
        ("at 0.5", m, sure["CF1_macro"]),
        ("tuned", m["tuned"], sure["tuned_CF1_macro"]),
    ):
        lines.append(
            f"{title:7} macro F1 {shown(found['CF1_macro'])} [{shown(ends['low'])}, {shown(ends['high'])}]  "
            f"CP {shown(found['CP'])}  CR {shown(found['CR'])}  OF1 {shown(found['OF1'])}"
        )
    lines.append(f"ECE, mean over labels: {shown(before['ECE'])} before, {shown(after['ECE'])} calibrated")
    console.print("\n".join(lines), highlight=False)
    print_left_out(m)


def print_angles(report: dict[str, Any]) -> None:
    """Mean angle between a true label's feature and its classifier, by the number of labels in the image."""
    table = Table(box=None, pad_edge=False, header_style="bold", title="angle to the classifier, degrees")
    for name in ("labels in image", "images", "measured", "1/sqrt(K)", "these classifiers"):
        table.add_column(name, justify="right")
    for count, row in report["by_count"].items():
        cells = ["-" if row[c] is None else f"{row[c]:.1f}" for c in ("mean", "orthonormal", "gram")]
        table.add_row(count, f"{row['images']:,}", *cells)
    Console().print(table)


def print_stream(results: list[dict[str, Any]], spread: dict[str, dict[str, tuple[float, float]]]) -> None:
    """Figures after the last task of a stream; with several seeds, mean and standard deviation."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ("mAP", "CF1", "OF1")
    for name in ("after the last task", *columns):
        table.add_column(name, justify="left" if name not in columns else "right")
    words = {
        "pooled": "all tasks pooled",
        "task_mean": "mean of tasks",
        "fitted": "pooled, threshold fitted on memory",
        "forgetting": "forgetting",
    }
    for part, found in spread.items():
        table.add_row(words[part], *(_with_sd(*found[name]) for name in columns))
    if len(results) == 1:
        low, high = results[0]["result"]["limits"]
        sizes = {"major": f"from {high:,}", "moderate": f"{low:,} to {high - 1:,}", "minor": f"under {low:,}"}
        for group, found in results[0]["result"]["groups"].items():
            values = [(found or {}).get(name) for name in columns]
            cells = [shown(v) for v in values]
            table.add_row(f"{group} labels ({sizes[group]} images)", *cells)
    Console().print(table)
    print_left_out(results[0]["result"])


def _with_sd(mean: float, sd: float) -> str:
    return f"{mean:.4f}" + ("" if sd != sd else f" +- {sd:.4f}")
