"""The results of a sweep: a row per run, and means over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from labelwise.evaluation.frequency import GROUPS
from labelwise.runs.files import read_json, save_csv
from labelwise.runs.plain_yaml import read_yaml

EVIDENCE = (
    "pointing", "pointing_hard", "pointing_found", "pointing_found_hard", "energy", "energy_hard",
    "attention_entropy", "attention_overlap",
)  # fmt: skip
BY_FREQUENCY = {f"mAP_{group}": group for group in GROUPS}
FIGURES = ("mAP", "mAP_envelope", "CF1", "OF1", *EVIDENCE)
COLUMNS = (
    "row", "known_proportion", "seed", *FIGURES, "val_mAP", "best_epoch", "epochs", "seconds", "images_per_second",
    "threads", "method", "backbone", "weights", "frozen", "image_size", "loss", "data", "train", "val", "test",
    "commit", "torch", "labels_without_AP", *BY_FREQUENCY,
)  # fmt: skip

# Columns of the printed table: heading, metric, decimals, and scale (100 for points).
_PRINTED = (
    ("val mAP", "val_mAP", 2, 100),
    ("CF1", "CF1", 2, 100),
    ("OF1", "OF1", 2, 100),
    ("pointing", "pointing", 1, 100),
    ("hard", "pointing_hard", 1, 100),
    ("energy", "energy", 1, 100),
    ("entropy", "attention_entropy", 2, 1),
    ("s/run", "seconds", 0, 1),
)


def judged_split(results: dict[str, Any]) -> str:
    """The split that a run is evaluated on: test, or val if there is no test."""
    return "test" if results["splits"].get("test") else "val"


def row_of_run(path: Path, name: str) -> dict[str, Any] | None:
    """The row of a run, or `None` if it is not finished."""
    if not (path / "results.json").is_file():
        return None
    results = read_json(path / "results.json")
    splits, training = results["splits"], results["training"]
    test = splits[judged_split(results)]
    conditions = test["conditions"]
    return {
        "row": name,
        "known_proportion": read_yaml(path / "config.yaml")["data"].get("known_proportion", 1.0),
        "seed": conditions["seed"],
        **{figure: test["metrics"].get(figure) for figure in FIGURES},
        **{
            column: test["metrics"].get("frequency", {}).get(group, {}).get("mAP")
            for column, group in BY_FREQUENCY.items()
        },
        "val_mAP": splits["val"]["metrics"]["mAP"] if "val" in splits else None,
        **{k: training[k] for k in ("best_epoch", "epochs", "seconds", "images_per_second", "threads")},
        "method": conditions["method"],
        "backbone": conditions["backbone"],
        "weights": conditions["backbone_weights"],
        "frozen": conditions["frozen_backbone"],
        "image_size": conditions["image_size"],
        "loss": conditions["loss"]["name"],
        "data": Path(conditions["data"].partition(":")[2] or conditions["data"]).name,
        **{
            split: splits[split]["conditions"]["images"] if split in splits else None
            for split in ("val", "test")
        },
        "train": training["images"],
        "commit": conditions["labelwise_commit"],
        "torch": conditions["torch"],
        "labels_without_AP": ", ".join(
            f"{label} ({reason})"
            for label, reason in (test["metrics"].get("labels_without_AP") or {}).items()
        ),
    }


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes the rows as CSV, atomically."""
    save_csv(path, [COLUMNS, *([row.get(name) for name in COLUMNS] for row in rows)], "\r\n")


def sweep_table(rows: Sequence[dict[str, Any]]) -> str:
    """Mean and sample standard deviation of the test mAP of each row, in points, with means of other metrics.

    A row with several known proportions has a line for each and one for the mean over proportions, with the deviation
    of the seeds' means. Lines below list the labels that a mAP leaves out.
    """
    partial = any(row["known_proportion"] != 1 for row in rows)
    header = f"{'row':24}{'  known' if partial else ''} {'test mAP':>16}"
    widths = [max(8, len(heading) + 1) for heading, *_ in _PRINTED]
    header += "".join(f"{name:>{width}}" for (name, *_), width in zip(_PRINTED, widths, strict=True))
    lines = [f"{header}{'seeds':>7}"]
    for name, known, runs in _groups(rows):
        values = [100 * row["mAP"] for row in runs if row["mAP"] is not None]
        spread = f" +- {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        mean = f"{statistics.fmean(values):.2f}{spread}" if len(values) == len(runs) else "-"
        cells = []
        for (_, key, digits, scale), width in zip(_PRINTED, widths, strict=True):
            value = _mean(runs, key)
            cells.append(f"{'-' if value is None else f'{scale * value:.{digits}f}':>{width}}")
        start = f"{name:24}{f' {known:>6}' if partial else ''}"
        lines.append(f"{start} {mean:>16}{''.join(cells)}{len(runs):7}")
    rows_of: dict[str, list[str]] = {}
    for row in rows:
        if labels := row.get("labels_without_AP"):
            rows_of.setdefault(labels, []).append(row["row"])
    is_common = all(row.get("labels_without_AP") for row in rows) and len(rows_of) == 1
    for labels, names in rows_of.items():
        prefix = "" if is_common else f"{', '.join(dict.fromkeys(names))}: "
        lines.append(f"{prefix}left out of the mAP: {labels}")
    return "\n".join(lines)


def _groups(rows: Sequence[dict[str, Any]]) -> Iterable[tuple[str, str, list[dict[str, Any]]]]:
    """(row, proportion, its runs) in order; after several proportions their mean for each seed."""
    for name in dict.fromkeys(row["row"] for row in rows):
        runs = [row for row in rows if row["row"] == name]
        by_share: dict[float, list[dict[str, Any]]] = {}
        for row in runs:
            by_share.setdefault(row["known_proportion"], []).append(row)
        for share, group in by_share.items():
            yield name, f"{share:g}", group
        if len(by_share) > 1:
            by_seed = [
                [r for r in runs if r["seed"] == seed] for seed in dict.fromkeys(r["seed"] for r in runs)
            ]
            keys = ("mAP", *(key for _, key, *_ in _PRINTED))
            means = [
                {key: _mean(part, key) for key in keys} for part in by_seed if len(part) == len(by_share)
            ]
            if means:
                yield name, "mean", means


def _mean(rows: Sequence[dict[str, Any]], key: str) -> float | None:
    """The mean, or `None` if a row lacks the value."""
    values = [row[key] for row in rows]
    return None if None in values else statistics.fmean(values)
