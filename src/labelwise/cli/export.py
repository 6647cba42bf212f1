"""The command `export`: a trained run in a format of another runtime."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from labelwise.cli import options


class Format(str, Enum):
    """Graph formats; `auto` tries the first three, where installed, and keeps the fastest."""

    onnx = "onnx"
    openvino = "openvino"
    torch = "torch"
    executorch = "executorch"
    litert = "litert"
    coreml = "coreml"
    web = "web"
    triton = "triton"
    auto = "auto"


class Precision(str, Enum):
    """Numeric precisions; `auto` tries those that this machine supports and keeps the fastest."""

    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"
    auto = "auto"


def export(
    run: Annotated[Path, typer.Argument(help="folder of a run", metavar="RUN")],
    out: Annotated[Path, typer.Option(help="a new folder", metavar="DIR")],
    format: Annotated[Format, typer.Option(help="graph format; auto keeps the fastest here")] = Format.onnx,
    precision: Annotated[
        Precision, typer.Option(help="numeric precision; those below fp32 must keep the AP")
    ] = Precision.fp32,
    maps: Annotated[bool, typer.Option(help="evidence maps as a second output")] = True,
    features: Annotated[
        bool, typer.Option("--features", help="also label features, for embed and search; fp32 with maps")
    ] = False,
    data: Annotated[
        str | None, typer.Option(help="SOURCE to compare on  [default: the run's own]", metavar="SOURCE")
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(help="images to compare on  [default: 64; below fp32 at most 2,000]", min=1),
    ] = None,
    tagger: Annotated[
        bool, typer.Option("--tagger", help="also write the tagger layout, DIR/tagger")
    ] = False,
    transformers: Annotated[
        bool, typer.Option("--transformers", help="also write a folder for transformers, DIR/transformers")
    ] = False,
    runtime: Annotated[
        Path | None,
        typer.Option(
            help="folder of onnxruntime-web, for --format web  [default: node_modules, or npm]",
            metavar="DIR",
            envvar="LABELWISE_ORT_WEB",
            show_envvar=False,
        ),
    ] = None,
    decide: Annotated[
        bool, typer.Option("--decide", help="also probabilities and selected labels as outputs of the graph")
    ] = False,
    json: options.Json = False,
) -> None:
    """Export a run to a folder that predicts without it, once both agree on real images.

    Example: labelwise export runs/mine --format onnx --out exported
    """
    import shlex

    from labelwise.export import export_run

    result = export_run(
        run,
        out,
        format.value,
        precision=precision.value,
        data=data,
        images=images,
        maps=maps,
        features=features,
        tagger=tagger,
        transformers=transformers,
        runtime=runtime,
        decide=decide,
    )
    artefact = result.artefact
    if json:
        record: dict[str, Any] = {"out": str(out), "kind": artefact.kind, "precision": artefact.precision}
        record |= {"parity": result.parity.to_json(), "seconds_per_image": result.seconds}
        options.print_json({**record, "refused": result.refused})
        return
    for name, seconds in result.seconds.items():
        typer.echo(f"{name}: {seconds * 1e3:.1f} ms an image")
    for name, reason in result.refused.items():
        typer.echo(f"{name}: refused, {reason}")
    kind = artefact.kind if artefact.precision == "fp32" else f"{artefact.kind} in {artefact.precision}"
    if format is Format.web:
        kind = "a folder for browsers"
    typer.echo(f"{out}: {kind}; {result.said}")
    if format is Format.web:
        typer.echo(f"try it: python -m http.server --directory {shlex.quote(str(out))}")
