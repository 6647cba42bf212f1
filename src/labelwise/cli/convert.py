"""The command `data convert`: a data set in another format."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from labelwise.cli import options
from labelwise.cli.data import SourceArgument
from labelwise.progress import bar


class Form(str, Enum):
    """Formats of other tools."""

    csv = "csv"
    parquet = "parquet"
    coco = "coco"
    datasets = "datasets"
    labelstudio = "labelstudio"
    lightly = "lightly"


class ImageStorage(str, Enum):
    """How a written data set holds its images."""

    paths = "paths"
    copy = "copy"
    embed = "embed"


class Unknown(str, Enum):
    """What unknown labels become."""

    negative = "negative"


def convert(
    source: SourceArgument,
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="file or folder to write; .csv and .parquet set the format")
    ],
    form: Annotated[Form | None, typer.Option(help="format of the tool  [default: from OUT]")] = None,
    images: Annotated[
        ImageStorage | None,
        typer.Option(help="keep the paths, copy the files, or embed them in the tables"),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="minimum share of a soft label to count as present", metavar="SHARE")
    ] = None,
    unknown: Annotated[Unknown | None, typer.Option(help="write unknown labels as absent")] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="labelstudio: predictions to start from, of `labelwise predict --out`", metavar="FILE"
        ),
    ] = None,
    url_prefix: Annotated[
        str | None,
        typer.Option(help="labelstudio: prefix of an image's path", metavar="URL"),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="replace a file that exists")] = False,
    as_json: options.Json = False,
) -> None:
    """Write a data set in the format of another tool, and list what that format does not hold.

    Example: labelwise data convert voc:VOC2007 voc.csv
    """
    import shlex

    from labelwise.data.readers import READERS, read
    from labelwise.data.writers import convert as write
    from labelwise.data.writers import form_of

    kind = form_of(out, form and form.value)  # raises for a wrong name before a large source is read
    data = read(source)
    with bar("images", len(data)) as tick:
        written = write(
            data,
            out,
            kind,
            images=images and images.value,
            threshold=threshold,
            unknown=unknown and unknown.value,
            predictions=predictions,
            url_prefix=url_prefix,
            replaced=replace,
            tick=tick,
        )
    readable = written.source is not None and written.source.kind in READERS
    source_name = str(written.source) if readable else None
    if as_json:
        record: dict[str, Any] = {"out": str(out), "form": kind, "files": list(written.files)}
        record |= {"source": source_name, "rows": len(data), "labels": list(data.labels)}
        record |= {"splits": data.splits(), "notes": [*data.notes, *written.notes]}
        options.print_json(record)
        return
    typer.echo(data.with_notes(*written.notes).summary())
    advice = f"; labelwise reads it as {shlex.quote(source_name)}" if source_name else ""
    typer.echo(f"written: {out}{advice}")
