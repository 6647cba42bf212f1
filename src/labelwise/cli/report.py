"""The command `report`: the web page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="folder of a run, or of several to compare", metavar="RUN...")
    ],
    out: Annotated[
        Path, typer.Option(help="page of the comparison", metavar="FILE", show_default=True)
    ] = Path("comparison.html"),
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="add where the run fails, and for whom: folder, height, label:NAME or group:NAME; may be repeated",
            metavar="PARTS",
        ),
    ] = None,
) -> None:
    """Rewrite RUN/report.html, or write one page that compares several runs with the first.

    Example: labelwise report runs/mine
    """
    from labelwise.errors import LabelwiseError
    from labelwise.reports import finish_report, write_comparison

    if by and len(runs) > 1:
        raise LabelwiseError(f"--by {by[0]} with several runs", "one run", "name one run")
    typer.echo(finish_report(runs[0], by or ()) if len(runs) == 1 else write_comparison(runs, out))
