"""labelwise sweep"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sweep(
    config: Annotated[Path, typer.Option(help="YAML: settings, methods, seeds", metavar="FILE")],
    out: Annotated[Path, typer.Option(help="folder of the runs and results.csv", metavar="DIR")],
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="setting for every run", metavar="A.B=C")
    ] = None,
    only: Annotated[str | None, typer.Option(help="train runs of this row name alone")] = None,
) -> None:
    """Train rows x seeds under the same settings and print mean and standard deviation; goes on where it stopped.

    Example: labelwise sweep --config recipes/classification/voc-frozen.yaml --out runs/voc-frozen
    """
    from labelwise.experiments.sweep import run_sweep
    from labelwise.training.config import override, read_yaml

    settings = override({"settings": {}}, [f"settings.{a}" for a in assign or []])["settings"]
    typer.echo(run_sweep(read_yaml(config), out, settings, only))
