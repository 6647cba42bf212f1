"""labelwise sweep"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelwise.cli import options


def sweep(
    config: Annotated[
        Path,
        typer.Option(help="YAML: settings, rows, seeds, and proportions of known labels", metavar="FILE"),
    ],
    out: Annotated[Path, typer.Option(help="folder of the runs and results.csv", metavar="DIR")],
    assign: options.Assign = None,
    only: Annotated[str | None, typer.Option(help="train runs of this row name alone")] = None,
    against: Annotated[
        str | None,
        typer.Option(help="also compare each row with this one, over seeds and test images: differences.csv"),
    ] = None,
    published: Annotated[
        str | None,
        typer.Option(help="also print, apart, what papers state for a data set", metavar="DATASET"),
    ] = None,
) -> None:
    """Train rows x proportions x seeds under the same settings and print mean and standard deviation.

    It goes on where it stopped.

    Example: labelwise sweep --config recipes/classification/voc-methods.yaml --out runs/voc --against baseline-mlp
    """
    from labelwise.experiments import published as carried
    from labelwise.experiments import significance
    from labelwise.experiments.sweep import Plan, run_sweep
    from labelwise.training.assigning import override
    from labelwise.training.plain_yaml import read_yaml

    settings = override({"settings": {}}, [f"settings.{a}" for a in assign or []])["settings"]
    plan = Plan.of(read_yaml(config))
    plan.check_row(against, "--against")
    # Looked up before anything is trained, so that a misspelt name costs nothing.
    apart = None if published is None else carried.table(published)
    found = run_sweep(plan, out, settings, only)
    typer.echo(found.table())
    if against is not None:
        differences = found.against(against)
        significance.write(out / "differences.csv", differences)
        typer.echo("\n" + significance.table(differences))
    if apart is not None:
        typer.echo("\n" + apart)
