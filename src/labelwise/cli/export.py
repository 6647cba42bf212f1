"""labelwise export"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Format(str, Enum):
    """Kinds of graph; `auto` tries those whose packages are installed and keeps the fastest."""

    onnx = "onnx"
    openvino = "openvino"
    torch = "torch"
    auto = "auto"


def export(
    run: Annotated[Path, typer.Argument(help="folder of a run", metavar="RUN")],
    out: Annotated[Path, typer.Option(help="a new folder", metavar="DIR")],
    format: Annotated[Format, typer.Option(help="kind of graph; auto keeps the fastest here")] = Format.onnx,
    maps: Annotated[bool, typer.Option(help="evidence maps as a second output")] = True,
    data: Annotated[
        str | None, typer.Option(help="SOURCE to compare on  [default: the run's own]", metavar="SOURCE")
    ] = None,
    images: Annotated[int, typer.Option(help="images to compare on", min=1)] = 64,
    tagger: Annotated[bool, typer.Option("--tagger", help="also the tagger layout, in DIR/tagger")] = False,
    json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Write a run as a folder that answers without it, after both gave the same answers on real images.

    Example: labelwise export runs/mine --format onnx --out exported
    """
    import json as js

    from labelwise.export import export_run

    found = export_run(run, out, format.value, data=data, images=images, maps=maps, tagger=tagger)
    if json:
        told = {"out": str(out), "kind": found.artefact.kind, "parity": found.parity.to_json()}
        typer.echo(js.dumps({**told, "seconds_per_image": found.seconds}))
        return
    for name, seconds in found.seconds.items():
        typer.echo(f"{name}: {seconds * 1e3:.1f} ms an image")
    typer.echo(f"{out}: {found.artefact.kind}; compared with the run on {found.parity}")
