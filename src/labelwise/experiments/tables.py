"""The results of a sweep: a row per run, and means over seeds."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from labelwise.evaluation.frequency import GROUPS
from labelwise.runs.files import read_json, write_text
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
_SHOWN = (
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
    c = test["conditions"]
    return {
        "row": name,
        "known_proportion": read_yaml(path / "config.yaml")["data"].get("known_proportion", 1.0),
        "seed": c["seed"],
        **{figure: test["metrics"].get(figure) for figure in FIGURES},
        **{
            column: test["metrics"].get("frequency", {}).get(group, {}).get("mAP")
            for column, group in BY_FREQUENCY.items()
        },
        "val_mAP": splits["val"]["metrics"]["mAP"] if "val" in splits else None,
        **{k: training[k] for k in ("best_epoch", "epochs", "seconds", "images_per_second", "threads")},
        "method": c["method"],
        "backbone": c["backbone"],
        "weights": c["backbone_weights"],
        "frozen": c["frozen_backbone"],
        "image_size": c["image_size"],
        "loss": c["loss"]["name"],
        "data": Path(c["data"].partition(":")[2] or c["data"]).name,
        **{
            split: splits[split]["conditions"]["images"] if split in splits else None
            for split in ("val", "test")
        },
        "train": training["images"],
        "commit": c["labelwise_commit"],
        "torch": c["torch"],
        "labels_without_AP": ", ".join(
            f"{label} ({why})" for label, why in (test["metrics"].get("labels_without_AP") or {}).items()
        ),
    }


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes the rows as CSV, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def sweep_table(rows: Sequence[dict[str, Any]]) -> str:
    """Mean and sample standard deviation of the test mAP of each row, in points, with means of other metrics.

    A row with several known proportions has a line for each and one for the mean over proportions, with the deviation
    of the seeds' means. Lines below list the labels that a mAP leaves out.
    """
    partial = any(row["known_proportion"] != 1 for row in rows)
    head = f"{'row':24}{'  known' if partial else ''} {'test mAP':>16}"
    widths = [max(8, len(heading) + 1) for heading, *_ in _SHOWN]
    head += (
        "".join(f"{heading:>{w}}" for (heading, *_), w in zip(_SHOWN, widths, strict=True)) + f"{'seeds':>7}"
    )
    lines = [head]
    for name, known, own in _groups(rows):
        values = [100 * row["mAP"] for row in own if row["mAP"] is not None]
        spread = f" +- {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        mean = f"{statistics.fmean(values):.2f}{spread}" if len(values) == len(own) else "-"
        cells = []
        for (_, key, digits, scale), width in zip(_SHOWN, widths, strict=True):
            value = _mean(own, key)
            cells.append(f"{'-' if value is None else f'{scale * value:.{digits}f}':>{width}}")
        start = f"{name:24}{f' {known:>6}' if partial else ''}"
        lines.append(f"{start} {mean:>16}{''.join(cells)}{len(own):7}")
    named: dict[str, list[str]] = {}
    for row in rows:
        if labels := row.get("labels_without_AP"):
            named.setdefault(labels, []).append(row["row"])
    everywhere = all(row.get("labels_without_AP") for row in rows) and len(named) == 1
    for labels, names in named.items():
        where = "" if everywhere else f"{', '.join(dict.fromkeys(names))}: "
        lines.append(f"{where}left out of the mAP: {labels}")
    return "\n".join(lines)


def _groups(rows: Sequence[dict[str, Any]]) -> Iterable[tuple[str, str, list[dict[str, Any]]]]:
    """(row, proportion, its runs) in order; after several proportions their mean for each seed."""
    for name in dict.fromkeys(row["row"] for row in rows):
        own = [row for row in rows if row["row"] == name]
        by_share: dict[float, list[dict[str, Any]]] = {}
        for row in own:
            by_share.setdefault(row["known_proportion"], []).append(row)
        for share, part in by_share.items():
            yield name, f"{share:g}", part
        if len(by_share) > 1:
            by_seed = [
                [r for r in own if r["seed"] == seed] for seed in dict.fromkeys(r["seed"] for r in own)
            ]
            keys = ("mAP", *(key for _, key, *_ in _SHOWN))
            means = [
                {key: _mean(part, key) for key in keys} for part in by_seed if len(part) == len(by_share)
            ]
            if means:
                yield name, "mean", means


def _mean(rows: Sequence[dict[str, Any]], key: str) -> float | None:
    """The mean, or `None` if a row lacks the value."""
    values = [row[key] for row in rows]
    return None if None in values else statistics.fmean(values)
