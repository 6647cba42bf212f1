"""The command `sweep`: runs of several settings and seeds."""

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
    only: Annotated[str | None, typer.Option(help="train only the runs of this row")] = None,
    against: Annotated[
        str | None,
        typer.Option(help="also compare each row with this one, over seeds and test images: differences.csv"),
    ] = None,
    published: Annotated[
        str | None,
        typer.Option(help="also print a separate table of a data set's published figures", metavar="DATASET"),
    ] = None,
) -> None:
    """Train rows x proportions x seeds under the same settings and print mean and standard deviation.

    A second call resumes a stopped sweep.

    Example: labelwise sweep --config recipes/classification/voc-methods.yaml --out runs/voc --against baseline-mlp
    """
    from labelwise.experiments import published as published_figures
    from labelwise.experiments import significance
    from labelwise.experiments.sweep import SweepPlan, run_sweep
    from labelwise.runs.plain_yaml import read_yaml
    from labelwise.training.assigning import override

    settings = override({"settings": {}}, [f"settings.{a}" for a in assign or []])["settings"]
    plan = SweepPlan.of(read_yaml(config))
    plan.check_row(against, "--against")
    # Looked up before the training, so that a misspelt name fails early.
    published_table = None if published is None else published_figures.table_of_published(published)
    results = run_sweep(plan, out, settings, only, against is not None)
    typer.echo(results.table())
    if against is not None:
        differences = results.against(against)
        significance.write_differences(out / "differences.csv", differences)
        typer.echo("\n" + significance.difference_table(differences))
    if published_table is not None:
        typer.echo("\n" + published_table)
