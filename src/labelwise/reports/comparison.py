"""Several runs on one page: their metrics, the settings that differ, and the significance of differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from labelwise.errors import LabelwiseError
from labelwise.evaluation.figures import without_ap
from labelwise.experiments.significance import differences
from labelwise.rarity import rare_labels
from labelwise.reports import figures
from labelwise.reports.decided import decided
from labelwise.reports.record import RunRecord, finite_number, flatten, read_run
from labelwise.reports.report import asset, page, write_page
from labelwise.reports.sections import NONE, percent

COLOURS = 8
SHOWN_LABELS = 80


def write_comparison(runs: Sequence[Path], out: Path) -> Path:
    """Writes one page that compares runs evaluated on the same images; the first is the reference.

    Raises:
        LabelwiseError: fewer than two or more than eight runs, a run twice, no common split, or different labels or
            images.
    """
    if not 2 <= len(runs) <= COLOURS or len({run.resolve() for run in runs}) < len(runs):
        raise LabelwiseError(
            f"{len(runs)} runs: {', '.join(map(str, runs))}",
            f"2 to {COLOURS} different runs",
            "name each run once; use labelwise sweep for many runs",
        )
    records = [read_run(run) for run in runs]
    names = _run_names([record.path for record in records])
    split = _common_split(records)
    text = page(
        "comparison.html.j2",
        comparison_style=asset("comparison.css"),
        names=names,
        split=split,
        images=len(records[0].scores[split].ids),
        rows=_rows(records, names, split),
        differing=_differing_settings(records),
        epochs=epochs_chart(records),
        labels=_label_rows(records, split),
        left_out=without_ap(records[0].splits[split].get("metrics", {})),
    )
    write_page(out, text)
    return out


def _run_names(paths: list[Path]) -> list[str]:
    """Folder names, with as many parent folders as make them unique."""
    parts = [path.resolve().parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(folders[-depth:]) for folders in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _common_split(records: list[RunRecord]) -> str:
    """`test`, or else `val`, if every run has scores of it; runs must have the same labels."""
    first = records[0]
    for record in records[1:]:
        if record.names != first.names:
            raise LabelwiseError(
                f"{record.path} with labels {', '.join(record.names[:5])}",
                f"those of {first.path}, in that order: {', '.join(first.names[:5])}",
                "compare runs of one label set",
            )
    for split in ("test", "val"):
        if all(split in record.scores for record in records):
            return split
    raise LabelwiseError(
        f"runs without scores of one split: {', '.join(str(r.path) for r in records)}",
        "scores/test.npz, or scores/val.npz, in every run",
        "finish or evaluate the runs first",
    )


def _rows(records: list[RunRecord], names: list[str], split: str) -> list[dict[str, Any]]:
    """A row of figures per run, with its difference from the first run."""
    files = {
        name: {(1.0, 0): record.path / "scores" / f"{split}.npz"}
        for name, record in zip(names, records, strict=True)
    }
    gaps = {d.row: d for d in differences(files, names[0])}
    rows = []
    for name, record in zip(names, records, strict=True):
        metrics = record.splits[split].get("metrics", {})
        tuned, gap = metrics.get("tuned") or {}, gaps.get(name)
        error = ((metrics.get("calibration") or {}).get("after") or {}).get("ECE")
        rows.append(
            {
                "name": name,
                "method": record.config.get("method", NONE),
                "mAP": percent(metrics.get("mAP")),
                "interval": decided(record)["interval"] if split == record.shown_split else None,
                "figures": [percent(tuned.get(k, metrics.get(k))) for k in ("CF1", "OF1")] + [percent(error)],
                "gap": None if gap is None else f"{100 * gap.mean:+.1f}",
                "range": None if gap is None else f"{100 * gap.low:+.1f} to {100 * gap.high:+.1f}",
                "verdict": None if gap is None else gap.verdict.removesuffix(", 1 seed"),
            }
        )
    return rows


def _differing_settings(records: list[RunRecord]) -> list[tuple[str, list[str]]]:
    """Settings that differ between the runs."""
    settings = [dict(flatten(record.config)) for record in records]
    keys = dict.fromkeys(key for flat in settings for key in flat)
    rows = [(key, [flat.get(key, NONE) for flat in settings]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def epochs_chart(records: list[RunRecord]) -> Markup | None:
    """Validation mAP by epoch, a line per run; `None` if no run logged two epochs."""
    lines = []
    for record in records:
        values = [(e.get("epoch"), finite_number((e.get("val") or {}).get("mAP"))) for e in record.epochs]
        lines.append([(float(x), y) for x, y in values if x is not None and y is not None])
    points = [point for line in lines for point in line]
    if max((len(line) for line in lines), default=0) < 2:
        return None
    xs, ys = [x for x, _ in points], [y for _, y in points]
    pad = max((max(ys) - min(ys)) * 0.1, 0.01)
    x, y = (min(xs), max(xs)), (max(0.0, min(ys) - pad), min(1.0, max(ys) + pad))
    frame = figures.Frame(x, y, (760, 280), (46, 16, 14, 44))
    ticks = [t for t in figures.nice_ticks(*x, 8) if float(t).is_integer()]
    inner = figures.axes(frame, ticks, figures.nice_ticks(*y), "epoch", "mAP, validation")
    for i, line in enumerate(lines):
        inner += Markup('<path class="line run{}" d="{}"/>').format(i, frame.path(line))
    return figures.drawing(frame, inner, "Validation mAP by epoch of each run", "wide")


def _label_rows(records: list[RunRecord], split: str) -> dict[str, Any]:
    """AP of each label in each run as a row of dots, labels with the largest spread first, then the rare ones."""
    rows: list[dict[str, Any]] = []
    for name in records[0].names:
        per_label = [r.splits[split].get("per_label", {}).get(name, {}) for r in records]
        values = [finite_number(label_figures.get("AP")) for label_figures in per_label]
        defined = [v for v in values if v is not None]
        if defined:
            positives = finite_number(per_label[0].get("positives"))
            spread = max(defined) - min(defined)
            rows.append({"name": name, "values": values, "positives": positives, "spread": spread})
    rare = rare_labels({row["name"]: row["positives"] for row in rows if row["positives"] is not None})
    rows.sort(key=lambda row: (row["name"] in rare, -row["spread"]))
    shown = rows[:SHOWN_LABELS]
    lowest = min((v for row in shown for v in row["values"] if v is not None), default=0.0)
    left = min(0.9, int(lowest * 10) / 10)  # a round number at the left end
    for row in shown:
        row["dots"] = [
            (i, 100 * (v - left) / (1 - left)) for i, v in enumerate(row["values"]) if v is not None
        ]
        ends = [position for _, position in row["dots"]]
        row["from"], row["wide"] = min(ends), max(ends) - min(ends)
    return {"rows": shown, "left": percent(left), "hidden": len(rows) - len(shown)}
