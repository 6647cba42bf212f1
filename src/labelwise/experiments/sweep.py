"""Rows x seeds under the same settings, as one table."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from labelwise.data import read
from labelwise.errors import LabelwiseError
from labelwise.training.config import make_config
from labelwise.training.files import read_json, write_text
from labelwise.training.fit import train

FIGURES = ("mAP", "mAP_envelope", "CF1", "OF1", "pointing")
COLUMNS = (
    "row", "seed", *FIGURES, "val_mAP", "best_epoch", "epochs", "seconds", "images_per_second", "threads",
    "method", "backbone", "weights", "frozen", "image_size", "loss", "data", "train", "val", "test", "commit", "torch",
)  # fmt: skip


def run_sweep(
    plan: Mapping[str, Any], out: Path, settings: Mapping[str, Any], only: str | None = None
) -> str:
    """Train every row with every seed, write results.csv, and give a table of means.

    A run that is done is not repeated; one that was stopped goes on.

    Args:
        plan: `settings` shared by all, `rows` (name -> further settings) and `seeds`.
        out: folder of the runs.
        settings: laid over the plan's.
        only: name of the one row to train.

    Raises:
        LabelwiseError: a plan without rows or seeds, or wrong settings.
    """
    unknown = set(plan) - {"settings", "rows", "seeds"}
    shaped = isinstance(plan.get("rows"), Mapping) and isinstance(plan.get("seeds"), list)
    if unknown or not shaped or not plan["rows"] or not plan["seeds"]:
        raise LabelwiseError(
            f"a plan with {', '.join(plan) or 'nothing'}",
            "settings, rows (NAME: settings) and a list of seeds",
            "see recipes/classification",
        )
    if only is not None and only not in plan["rows"]:
        raise LabelwiseError(f"row {only!r}", f"one of {', '.join(plan['rows'])}", "correct --only")
    data = None
    for seed in plan["seeds"]:
        for name, row in plan["rows"].items():
            path = out / f"{name}-seed{seed}"
            if (path / "results.json").is_file() or only not in (None, name):
                continue
            config = make_config(merged(plan.get("settings", {}), row or {}, settings, {"seed": seed}))
            data = (
                data if data is not None and data.source == config.data.source else read(config.data.source)
            )
            train(config, path, data, resume=(path / "config.yaml").is_file())
    found = [_row(out / f"{name}-seed{seed}", name) for name in plan["rows"] for seed in plan["seeds"]]
    rows = [row for row in found if row is not None]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / "results.csv", text.getvalue())
    return table(rows)


def table(rows: list[dict[str, Any]]) -> str:
    """Mean and sample standard deviation of the test mAP of each row, in points."""
    lines = [
        f"{'row':24} {'test mAP':>16} {'val mAP':>9} {'CF1':>7} {'OF1':>7} {'pointing':>9} {'seeds':>6} {'s/run':>6}"
    ]
    for name in dict.fromkeys(row["row"] for row in rows):
        own = [row for row in rows if row["row"] == name]
        values = [100 * row["mAP"] for row in own]
        spread = f" +- {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        mean = {
            c: statistics.fmean(r[c] for r in own if r[c] is not None)
            for c in ("val_mAP", "CF1", "OF1", "seconds")
        }
        pointing = [r["pointing"] for r in own if r["pointing"] is not None]
        lines.append(
            f"{name:24} {f'{statistics.fmean(values):.2f}{spread}':>16} {100 * mean['val_mAP']:9.2f} "
            f"{100 * mean['CF1']:7.2f} {100 * mean['OF1']:7.2f} "
            f"{f'{100 * statistics.fmean(pointing):.1f}' if pointing else '-':>9} {len(own):6} {mean['seconds']:6.0f}"
        )
    return "\n".join(lines)


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings laid over each other, the later ones winning."""
    found: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = found.get(key)
            # A loss is chosen whole: options of another one would not fit it.
            both = isinstance(old, Mapping) and isinstance(value, Mapping) and key != "loss"
            found[key] = merged(dict(old or {}), value) if both else deepcopy(value)
    return found


def _row(path: Path, name: str) -> dict[str, Any] | None:
    if not (path / "results.json").is_file():
        return None
    results = read_json(path / "results.json")
    splits, training = results["splits"], results["training"]
    test = splits.get("test") or splits["val"]
    c = test["conditions"]
    return {
        "row": name,
        "seed": c["seed"],
        **{figure: test["metrics"].get(figure) for figure in FIGURES},
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
    }
