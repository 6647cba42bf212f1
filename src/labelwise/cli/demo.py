"""The command `demo`: a short training on scenes of handwritten digits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="folder of the run", metavar="DIR")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="random seed")] = 0,
) -> None:
    """Train DLFL on scenes of real handwritten digits, print the figures and write a report.

    Example: labelwise demo --out runs/demo
    """
    from labelwise.cli.tables import print_labels
    from labelwise.experiments.demo import clear, settings
    from labelwise.reports import finish_report
    from labelwise.runs.config import make_config
    from labelwise.runs.files import read_json
    from labelwise.training.fit import train

    clear(out)
    run = train(make_config(settings(seed)), out)
    print_labels(read_json(run.path / "results.json")["splits"]["test"])
    typer.echo(f"report: {finish_report(run.path)}")
