"""labelwise embed"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from labelwise.cli import options


class Feature(str, Enum):
    """Kinds of stored features."""

    joined = "joined"
    label = "label"


def embed(
    run: Annotated[Path, typer.Argument(help="a run, or an export of its weights", metavar="RUN")],
    paths: Annotated[
        list[str],
        typer.Argument(help="files, folders, globs, @LIST; or a SOURCE", metavar="PATH...|SOURCE"),
    ],
    out: Annotated[Path, typer.Option(help="the collection, new or to be added to", metavar="COLLECTION")],
    labels: Annotated[
        str | None, typer.Option(help="labels to store, separated by commas  [default: all]", metavar="A,B")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="store these labels of every image, not only where selected")
    ] = False,
    feature: Annotated[
        Feature,
        typer.Option(help="feature to store: label (of its classifier) or joined (with its appearance)"),
    ] = Feature.joined,
    split: Annotated[
        str | None, typer.Option(help="split of a SOURCE, or several as val+test  [default: all images]")
    ] = None,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 1,
    part: Annotated[int, typer.Option(help="images added at once", min=1)] = 4096,
) -> None:
    """Store the label features of images in a collection; the same command again resumes it or adds new images.

    Example: labelwise embed runs/mine photos/ --out collections/mine
    """
    import sys
    import time

    from labelwise.collection import embed as run_embed
    from labelwise.collection.sources import image_paths
    from labelwise.data.source import Source

    def note(text: str) -> None:
        typer.echo(f"note: {text}", err=True)

    def print_part(done: int, of: int) -> None:
        typer.echo(f"{done:,} of {of:,} images", err=True)

    files, started = image_paths(paths, split, note), time.perf_counter()
    result = run_embed(
        run,
        files,
        out,
        labels=None if labels is None else Source("", "", {"labels": labels}).names("labels"),
        every=every,
        feature=feature.value,
        workers=workers,
        batch_size=batch_size,
        part=part,
        on_part=print_part,
        on_note=note,
    )
    seconds = time.perf_counter() - started
    if result.added < len(files):
        typer.echo(f"{len(files) - result.added:,} images were in the collection before", err=True)
    typer.echo(
        f"{result.added:,} images, {result.features:,} label features in {seconds:.1f} s, "
        f"{result.unreadable} unreadable -> {out}",
        err=True,
    )
    sys.exit(1 if result.unreadable else 0)
