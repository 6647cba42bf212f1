"""`labelwise evaluate --corrupt`, `--shift` and `--images`."""

from __future__ import annotations

from typing import Any

import numpy as np
import typer
from rich.console import Console

from labelwise.cli.tables import print_left_out, table_of
from labelwise.data.dataset import Dataset
from labelwise.evaluation import Result, companions, cooccurrence_shift, corruption_table, same_labels
from labelwise.evaluation.corrupt import STRENGTHS
from labelwise.runs.run import Run
from labelwise.types import LabelSet


def sampled(data: Dataset, split: str, images: int) -> Dataset:
    """Keep a random sample (seed 0) of at most `images` images of a split; 0 keeps all."""
    rows = data.rows_of(split)
    if not images or images >= len(rows):
        return data
    chosen = np.sort(np.random.default_rng(0).permutation(rows)[:images])
    others = np.setdiff1d(np.arange(len(data)), rows)
    return data.take(np.sort(np.concatenate([chosen, others])))


def corruption(
    run: Run, data: Dataset, split: str, batch_size: int, workers: int, verbose: bool
) -> dict[str, Any]:
    """Return the corruption table and the conditions of its evaluation as plain data."""
    rows = same_labels(data, run.labels.names).split(split)
    print_line = (lambda line: typer.echo(line, err=True)) if verbose else (lambda _: None)
    corrupted = corruption_table(run, rows, batch_size=batch_size, workers=workers, progress=print_line)
    config = run.config
    return {
        **corrupted.to_json(),
        "conditions": {
            "data": rows.source,
            "split": split,
            "data_notes": list(rows.notes),
            "method": config.method,
            "backbone": config.backbone.name,
            "frozen_backbone": config.backbone.freeze,
            "image_size": config.image_size,
            "test_time_augmentation": config.test_time,
            "seed": config.seed,
        },
    }


def with_shift(result: Result, data: Dataset) -> dict[str, Any]:
    """Return the result with its `cooccurrence`; companions are counted on the training split."""
    names = tuple(result.per_label)
    train = same_labels(data, names).split("train")
    s = result.scores
    shift = cooccurrence_shift(s.logits, s.values, s.known, companions(train.values, train.known), names)
    return {**result.to_json(), "cooccurrence": shift}


def print_corruption(result: dict[str, Any], labels: LabelSet) -> None:
    """Print mAP by kind and strength, the share of the clean mAP that is kept, and what groups of labels lose."""
    table = table_of(["kind"], [*map(str, STRENGTHS), "mean", "kept"], "mAP under corruption")
    clean = result["clean"]["mAP"]
    for kind, mean in result["mean"].items():
        cells = [f"{row['mAP']:.3f}" for row in result["corrupted"] if row["kind"] == kind]
        table.add_row(kind, *cells, f"{mean:.3f}", f"{mean / clean:.3f}")
    console = Console()
    console.print(table)
    console.print(f"clean mAP {clean:.4f} on {result['images']:,} images", highlight=False)
    losses = losses_by_group(result, labels)
    if losses:
        table = table_of(["group"], ["clean", *result["mean"]], "mAP by group, and what is lost, in points")
        for name, (own, *lost) in losses.items():
            table.add_row(name, f"{own:.3f}", *(f"{100 * value:.1f}" for value in lost))
        console.print(table)
    print_left_out(result)


def losses_by_group(result: dict[str, Any], labels: LabelSet) -> dict[str, list[float]]:
    """The clean mAP of each group of labels, then its loss under each kind of corruption, mean over strengths.

    Groups without a label that has an average precision are left out.
    """
    losses = {}
    for name, group in labels.groups.items():
        judged = [label for label in group.labels if label in result["AP"]]
        if not judged:
            continue
        clean = float(np.mean([result["AP"][label] for label in judged]))
        corrupted = {
            kind: np.mean(
                [[row["AP"][n] for n in judged] for row in result["corrupted"] if row["kind"] == kind]
            )
            for kind in result["mean"]
        }
        losses[name] = [clean, *(clean - float(value) for value in corrupted.values())]
    return losses


def print_shift(shift: dict[str, Any]) -> None:
    """Print AP with and without the usual companion, the widest gap first."""
    columns = ("in train", "images with", "without", "AP with", "without", "gap")
    table = table_of(["label", "companion"], columns, "with and without the usual companion")
    ranked = sorted(shift["per_label"].items(), key=lambda item: item[1]["without"] - item[1]["with"])
    for name, row in ranked:
        counts = [f"{row['images_with']:,}", f"{row['images_without']:,}"]
        cells = [f"{value:.3f}" for value in (row["with"], row["without"], row["with"] - row["without"])]
        table.add_row(name, row["companion"], f"{row['share_in_train']:.2f}", *counts, *cells)
    console = Console()
    console.print(table)
    if shift["labels"]:
        console.print(
            f"mean AP over {shift['labels']} labels: with {shift['with']:.4f}, without {shift['without']:.4f}, "
            f"gap {shift['gap']:.4f}",
            highlight=False,
        )
