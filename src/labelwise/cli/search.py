"""The command `search`: similar images of a collection."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from labelwise.cli import options

CollectionPath = Annotated[
    str, typer.Argument(help="a folder, pgvector:DSN or qdrant:URL", metavar="COLLECTION")
]


class ResultOrder(str, Enum):
    """Order of the results."""

    feature = "feature"
    label = "label"
    appearance = "appearance"
    score = "score"


def search(
    collection: CollectionPath,
    label: Annotated[str, typer.Option(help="the label that is compared")],
    photos: Annotated[
        list[str] | None, typer.Argument(help="photographs that results should resemble", metavar="PHOTO...")
    ] = None,
    negatives: Annotated[
        list[str] | None,
        typer.Option("--not", help="a photograph unlike the wanted ones; may be repeated", metavar="PHOTO"),
    ] = None,
    boxes: Annotated[
        list[str] | None,
        typer.Option(
            "--box",
            help="part of a PHOTO that is compared, in shares of its width and height; once for each PHOTO",
            metavar="X0,Y0,X1,Y1",
        ),
    ] = None,
    top: Annotated[int, typer.Option(help="number of results", min=1)] = 20,
    where: Annotated[
        str | None,
        typer.Option(help="condition on labels: person and not (car or dog > 0.8)", metavar="CONDITION"),
    ] = None,
    by: Annotated[
        ResultOrder,
        typer.Option(
            help="order by likeness of the stored feature, of its label part or of its appearance; "
            "or by score, which needs no photograph"
        ),
    ] = ResultOrder.feature,
    exact: Annotated[bool, typer.Option("--exact", help="compare all features, without the index")] = False,
    run: Annotated[
        Path | None,
        typer.Option(help="the run that made the collection  [default: its path then]", metavar="RUN"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="FILE.html, FILE.csv or FILE.json", metavar="FILE")] = None,
    json: options.Json = False,
) -> None:
    """Find images of a collection in which a label looks like it does in photographs.

    For images that merely have the label, --by score is the better order: see docs/collections.md.

    Example: labelwise search collections/mine photo.jpg --label bag --where "person and not car" --out results.html
    """
    from labelwise.cli.results import check_suffix, write_result
    from labelwise.collection import Collection
    from labelwise.collection.boxes import boxes_of, read_box
    from labelwise.errors import LabelwiseError
    from labelwise.inference.screen import note

    check_suffix(out, (".html", ".csv", ".json"))
    if by is ResultOrder.score and (photos or negatives):
        raise LabelwiseError("--by score with photographs", "either of them", "leave the photographs out")
    photo_boxes = boxes_of([read_box(text) for text in boxes] if boxes else None, len(photos or ()))
    opened, notes = Collection.open(collection), list[str]()
    queries = opened.queries(label, photos, run, photo_boxes) if photos else []
    unlike = opened.queries(label, negatives, run) if negatives else []
    results = opened.search(
        label, queries, negatives=unlike, top=top, where=where, by=by.value, exact=exact, say=notes.append
    )
    for text in notes:
        note(text)
    rows = results.to_pylist()
    record = {
        "collection": str(opened.path),
        "label": label,
        "by": by.value,
        "where": where,
        "photographs": [q.to_json() for q in queries],
        "negatives": [q.to_json() for q in unlike],
        "notes": notes,
        "results": rows,
    }
    if out is not None and out.suffix.lower() == ".html":
        from labelwise.reports.search_page import write_search

        write_search(
            out,
            results,
            opened.path,
            label,
            by=by.value,
            where=where,
            images=len(opened),
            queries=queries,
            negatives=unlike,
            notes=notes,
        )
    elif out is not None:
        write_result(out, record, rows)
    if json:
        options.print_json(record)
        return
    for row in rows if out is None else ():
        similarity = "" if row["similarity"] is None else f"{row['similarity']:.3f}  "
        typer.echo(
            f"{row['rank']:4}  {similarity}{row['score']:.2f}  {row['path']}  {', '.join(row['labels'])}"
        )
    typer.echo(f"{len(rows):,} results of {len(opened):,} images" + (f" -> {out}" if out else ""), err=True)
