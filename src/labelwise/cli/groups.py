"""The command `groups`: clusters of the images with a label."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelwise.cli import options
from labelwise.cli.search import CollectionPath


def groups(
    collection: CollectionPath,
    label: Annotated[str, typer.Option(help="the label whose features are grouped")],
    kinds: Annotated[
        int | None, typer.Option(help="number of kinds  [default: by silhouette, 1 to 8]", min=1)
    ] = None,
    examples: Annotated[int, typer.Option(help="images of each kind", min=1)] = 8,
    out: Annotated[Path | None, typer.Option(help="FILE.html or FILE.json", metavar="FILE")] = None,
    json: options.Json = False,
    seed: Annotated[int, typer.Option(help="random seed")] = 0,
) -> None:
    """Group the images of a label into kinds, and list images unlike the others and near copies.

    Example: labelwise groups collections/mine --label boat --out boat.html
    """
    from labelwise.cli.results import check_suffix, write_result
    from labelwise.collection import Collection
    from labelwise.collection.groups import groups_of

    check_suffix(out, (".html", ".json"))
    opened = Collection.open(collection)
    result = groups_of(opened, label, kinds=kinds, examples=examples, seed=seed)
    if out is not None and out.suffix.lower() == ".html":
        from labelwise.reports.groups_page import write_groups

        write_groups(out, result, opened.path)
    elif out is not None:
        write_result(out, result.to_json(), [])
    if json:
        options.print_json(result.to_json())
        return
    for number, kind in enumerate(result.kinds, 1):
        typer.echo(f"kind {number}: {kind['size']:,} images, such as {kind['examples'][0]['path']}")
    typer.echo(
        f"{len(result.kinds)} kinds of {result.count:,} images, {len(result.apart)} unlike the others, "
        f"{len(result.copies)} near copies" + (f" -> {out}" if out else ""),
        err=True,
    )
