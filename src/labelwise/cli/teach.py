"""The command `teach`: a new label from a few examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelwise.cli import options


def teach(
    run: Annotated[Path, typer.Argument(help="the run of the collection", metavar="RUN")],
    collection: Annotated[Path, typer.Argument(help="folder of a collection", metavar="COLLECTION")],
    name: Annotated[str, typer.Option(help="name of the new label")],
    positives: Annotated[
        str,
        typer.Option(
            help="photographs that have it: A.jpg,B.jpg, a folder, @LIST or a table", metavar="FILES"
        ),
    ],
    negatives: Annotated[
        str | None,
        typer.Option(help="photographs that do not have it, given in the same way", metavar="FILES"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="new folder of the run with the label; with --suggest: FILE.csv, FILE.json, or a folder for "
            "labelwise serve --review",
            metavar="NEWRUN",
        ),
    ] = None,
    suggest: Annotated[
        int, typer.Option(help="write no run, but list the N photographs to label next", metavar="N", min=0)
    ] = 0,
    json: options.Json = False,
) -> None:
    """Teach a run a new label from a few examples; the outputs of its other labels do not change.

    Example: labelwise teach runs/mine collections/mine --name "red bag" --positives 1.jpg,2.jpg --out runs/red-bag
    """
    from dataclasses import asdict

    from labelwise.collection.examples import photographs_of
    from labelwise.collection.suggesting import suggest as next_photographs
    from labelwise.collection.suggesting import write_suggestions
    from labelwise.collection.teaching import teach as run_teach
    from labelwise.errors import LabelwiseError

    if out is None and not suggest:
        raise LabelwiseError(
            "teach without --out", "a new folder for the run", "add --out NEWRUN, or --suggest N"
        )
    positive_paths = photographs_of(positives, "1")
    negative_paths = photographs_of(negatives, "0") if negatives else []
    if not suggest:
        assert out is not None
        result = run_teach(run, collection, name, positive_paths, negative_paths, out)
        if json:
            options.print_json(result.to_json())
        else:
            typer.echo(result.sentence())
        typer.echo(
            f"{result.positives} positives, {result.negatives} negatives, {result.others:,} other images "
            f"in {result.seconds:.1f} s -> {out}",
            err=True,
        )
        return
    rows = next_photographs(run, collection, name, positive_paths, negative_paths, suggest)
    if out is not None:
        write_suggestions(out, name, rows)
        typer.echo(f"{len(rows)} photographs to answer -> {out}", err=True)
    if json:
        options.print_json([asdict(row) for row in rows])
    elif out is None:
        for row in rows:
            typer.echo(f"{row.rank:4}  {row.probability:.2f}  {row.path}")
