"""labelwise export"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer


class Format(str, Enum):
    """Kinds of graph; `auto` tries those whose packages are installed and keeps the fastest."""

    onnx = "onnx"
    openvino = "openvino"
    torch = "torch"
    auto = "auto"


class Precision(str, Enum):
    """Numbers to compute in; `auto` tries those that this machine can do and keeps the fastest."""

    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"
    auto = "auto"


def export(
    run: Annotated[Path, typer.Argument(help="folder of a run", metavar="RUN")],
    out: Annotated[Path, typer.Option(help="a new folder", metavar="DIR")],
    format: Annotated[Format, typer.Option(help="kind of graph; auto keeps the fastest here")] = Format.onnx,
    precision: Annotated[
        Precision, typer.Option(help="numbers to compute in; those under fp32 must keep the mAP")
    ] = Precision.fp32,
    maps: Annotated[bool, typer.Option(help="evidence maps as a second output")] = True,
    data: Annotated[
        str | None, typer.Option(help="SOURCE to compare on  [default: the run's own]", metavar="SOURCE")
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(help="images to compare on  [default: 64; under fp32 at most 2,000]", min=1),
    ] = None,
    tagger: Annotated[bool, typer.Option("--tagger", help="also the tagger layout, in DIR/tagger")] = False,
    json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Write a run as a folder that answers without it, after both gave the same answers on real images.

    Example: labelwise export runs/mine --format onnx --out exported
    """
    import json as js

    from labelwise.export import export_run

    found = export_run(
        run,
        out,
        format.value,
        precision=precision.value,
        data=data,
        images=images,
        maps=maps,
        tagger=tagger,
    )
    made = found.artefact
    if json:
        told: dict[str, Any] = {"out": str(out), "kind": made.kind, "precision": made.precision}
        told |= {"parity": found.parity.to_json(), "seconds_per_image": found.seconds}
        typer.echo(js.dumps({**told, "refused": found.refused}))
        return
    for name, seconds in found.seconds.items():
        typer.echo(f"{name}: {seconds * 1e3:.1f} ms an image")
    for name, reason in found.refused.items():
        typer.echo(f"{name}: refused, {reason}")
    kind = made.kind if made.precision == "fp32" else f"{made.kind} in {made.precision}"
    typer.echo(f"{out}: {kind}; compared with the run on {found.parity}")
