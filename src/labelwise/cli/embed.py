"""The command `embed`: images into a collection."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from labelwise.cli import options
from labelwise.cli.predict import Where


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
    out: Annotated[
        Path | None,
        typer.Option(help="folder of the collection, new or to be added to", metavar="COLLECTION"),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="a collection on a server instead: pgvector:DSN or qdrant:URL, then #NAME if there are several",
            metavar="KIND:ADDRESS",
        ),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="labels to store, separated by commas  [default: all]", metavar="A,B")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="store these labels of every image, not only where selected")
    ] = False,
    feature: Annotated[
        Feature | None,
        typer.Option(
            help="feature to store: label (of its classifier), or joined (with its appearance)  "
            "[default: joined; label for an exported graph]"
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="split of a SOURCE, or several as val+test  [default: all images]")
    ] = None,
    batch_size: options.BatchSize = 32,
    workers: Annotated[
        int,
        typer.Option(help="decoding processes; with ray, the number of models, each of which decodes", min=0),
    ] = 1,
    engine: Annotated[
        Where, typer.Option(help="this process, or Ray Data on this machine or a cluster")
    ] = Where.here,
    part: Annotated[int, typer.Option(help="images added at once", min=1)] = 4096,
) -> None:
    """Store the label features of images in a collection; the same command again resumes it or adds new images.

    Example: labelwise embed runs/mine photos/ --out collections/mine
    """
    import sys
    import time

    from labelwise.collection import embed as run_embed
    from labelwise.collection.backends import server
    from labelwise.collection.sources import image_paths
    from labelwise.data.source import Source
    from labelwise.errors import LabelwiseError

    target = out if store is None else store
    if target is None or (out is not None and store is not None):
        raise LabelwiseError(
            "both --out and --store" if out else "neither --out nor --store", "one of them", "give one"
        )
    if out is not None and server(out) is not None:
        raise LabelwiseError("--out of a server", "a folder", "give the address to --store")
    if store is not None and server(store) is None:
        raise LabelwiseError(
            "--store of an unknown kind",
            "pgvector:DSN or qdrant:URL",
            "correct it, or give --out for a folder",
        )

    def note(text: str) -> None:
        typer.echo(f"note: {text}", err=True)

    def print_part(done: int, total: int) -> None:
        typer.echo(f"{done:,} of {total:,} images", err=True)

    files, started = image_paths(paths, split, note), time.perf_counter()
    result = run_embed(
        run,
        files,
        target,
        labels=None if labels is None else Source("", "", {"labels": labels}).names("labels"),
        every=every,
        engine=engine.value,
        feature=None if feature is None else feature.value,
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
        f"{result.unreadable} unreadable -> {result.path}",
        err=True,
    )
    sys.exit(1 if result.unreadable else 0)
