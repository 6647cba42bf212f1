"""The command `familiarity`: training features that unfamiliar images are recognised by."""

from __future__ import annotations

import typer

from labelwise.cli import options


def familiarity(
    run: options.Run,
    data: options.Source = None,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 1,
) -> None:
    """Store training features with a run, so that its predictions mark images that resemble none of them.

    Example: labelwise familiarity runs/mine
    """
    from labelwise.collection.familiarity_fit import fit_familiarity
    from labelwise.data import read
    from labelwise.data.splits import ensure_splits
    from labelwise.inference.screen import note
    from labelwise.runs.run import Run

    opened = Run.open(run)
    source = ensure_splits(read(data or opened.config.data.source), seed=opened.config.seed)
    fit = fit_familiarity(opened.path, source, batch_size=batch_size, workers=workers, on_note=note)
    typer.echo(
        f"{fit.images:,} training images, {fit.features:,} label features, {fit.val:,} validation images "
        f"({fit.labels:,} selected labels), {fit.size / 1e6:.1f} MB -> {fit.path}",
        err=True,
    )
