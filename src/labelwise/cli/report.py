"""labelwise report"""

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
) -> None:
    """Rewrite RUN/report.html, or write one page that compares several runs with the first.

    Example: labelwise report runs/mine
    """
    from labelwise.reports import finish_report, write_comparison

    typer.echo(finish_report(runs[0]) if len(runs) == 1 else write_comparison(runs, out))
