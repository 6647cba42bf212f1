"""The command `backbones check`: whether timm models serve as backbones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="Check which timm models work as backbones.", no_args_is_help=True)


@app.callback()
def backbones() -> None:
    """Check which timm models work as backbones."""


@app.command("check")
def check_backbones(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="timm models or families  [default: twelve families]", metavar="[NAME]..."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="the smallest model of every family of timm")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="CSV file of the table; a second call goes on with it", metavar="FILE.csv"),
    ] = None,
    exports: Annotated[bool, typer.Option(help="also export to ONNX and OpenVINO where installed")] = True,
    seconds: Annotated[float, typer.Option(help="time limit of a model in seconds", min=1)] = 600.0,
    gigabytes: Annotated[float, typer.Option(help="memory limit of a model in GB", min=0.1)] = 3.0,
) -> None:
    """Check that backbones can be built, trained, saved and exported; exit code 1 if one fails without a clear refusal.

    Each model is checked in a process of its own, with random weights: image sizes, gradients, evidence maps, saving
    and loading, a training of two steps, and exports that are compared with it.

    Example: labelwise backbones check pit volo --out backbones.csv
    """
    from rich.console import Console

    from labelwise.experiments.backbone_sweep import ProcessLimits, check_models, models_of

    models = models_of(names or (), every)
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{'model':40} {'sizes':18} {'places':7} {'onnx':5} {'openvino':8} {'s':>6} {'MB':>6}  result"
    )

    def print_row(row: dict[str, Any]) -> None:
        sizes = f"{row.get('image_size', '')} {row.get('train_size', '')} {row.get('other_size', '')}"
        places = int(row["image_size"]) // int(row["stride"]) if row.get("stride") else ""
        formats = [str(row.get(kind) or "-").partition(":")[0] for kind in ("onnx", "openvino")]
        reason = f": {row['reason']}" if row["reason"] else ""
        console.print(
            f"{row['model']:40} {sizes:18} {places!s:7} {formats[0]:5} {formats[1]:8} {float(row['seconds']):6.1f} "
            f"{row['megabytes']!s:>6}  {row['result']}{reason}",
            markup=False,
        )

    rows = check_models(models, out, exports, ProcessLimits(seconds, gigabytes), print_row)
    counts = Counter(str(row["result"]) for row in rows)
    console.print(f"{len(rows)} models: {', '.join(f'{count} {result}' for result, count in counts.items())}")
    if any(row["result"] not in ("works", "refused") for row in rows):
        raise typer.Exit(1)
