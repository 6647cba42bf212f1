"""labelwise teach"""

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
    out: Annotated[Path, typer.Option(help="new folder of the run with the label", metavar="NEWRUN")],
    negatives: Annotated[
        str | None, typer.Option(help="photographs that do not have it, likewise", metavar="FILES")
    ] = None,
    json: options.Json = False,
) -> None:
    """Teach a run a new label from a few examples; the outputs of its other labels do not change.

    Example: labelwise teach runs/mine collections/mine --name "red bag" --positives 1.jpg,2.jpg --out runs/red-bag
    """
    import json as js

    from labelwise.collection.examples import photographs_of
    from labelwise.collection.teaching import teach as run_teach

    near = photographs_of(positives, "1")
    far = photographs_of(negatives, "0") if negatives else []
    result = run_teach(run, collection, name, near, far, out)
    if json:
        typer.echo(js.dumps(result.to_json(), ensure_ascii=False))
        return
    typer.echo(result.sentence())
    typer.echo(
        f"{result.positives} positives, {result.negatives} negatives, {result.others:,} other images "
        f"in {result.seconds:.1f} s -> {out}",
        err=True,
    )
