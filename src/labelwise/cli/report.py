"""labelwise report"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(run: Annotated[Path, typer.Argument(help="folder of a run", metavar="RUN")]) -> None:
    """Write RUN/report.html again.

    Example: labelwise report runs/mine
    """
    from labelwise.reports import finish_report

    typer.echo(finish_report(run))
