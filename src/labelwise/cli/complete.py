"""The command `data complete`: a table with corrected and implied labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelwise.cli import options
from labelwise.cli.data import SourceArgument


def complete(
    source: SourceArgument,
    audit: Annotated[Path, typer.Argument(metavar="AUDIT.csv", help="table from `labelwise audit`")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="the table to write, .csv or .parquet")],
    min_score: Annotated[float, typer.Option(help="minimum score of a changed cell", min=0, max=1)] = 0.9,
    kinds: Annotated[
        str, typer.Option(help="kinds to apply: missing, wrong, duplicate, contradiction")
    ] = "missing,wrong",
    max_share: Annotated[
        float, typer.Option(help="largest share of a label's positives to change without --yes", min=0)
    ] = 0.1,
    yes: Annotated[bool, typer.Option("--yes", help="write also beyond --max-share")] = False,
    as_json: options.Json = False,
) -> None:
    """Write a corrected or completed table, and OUT.changes.csv with the provenance of every changed cell.

    The changes of each label are printed first. The table itself is never written over.

    Example: labelwise data complete csv:labels.csv audit.csv completed.csv --min-score 0.95
    """
    from collections import Counter

    from labelwise.data.check import counted
    from labelwise.data.complete import (
        apply_corrections,
        changes_by_label,
        read_corrections,
        refuse_large,
        refuse_source,
        write_corrected,
    )
    from labelwise.data.readers import read

    corrections = read_corrections(audit, _kinds(kinds), min_score)
    table = read(source)
    data, changes = apply_corrections(table, corrections)
    refuse_source(table.source, out)
    planned = changes_by_label(table, changes)
    for label in planned:
        typer.echo(str(label), err=as_json)
    if not yes:
        refuse_large(planned, max_share)
    changes_path = write_corrected(data, changes, out)
    counts = Counter(change.source for change in changes)
    if as_json:
        record = {"out": str(out), "changes": str(changes_path), "cells": len(changes), "sources": counts}
        record |= {"labels": {c.label: c.counts for c in planned}}
        options.print_json(record)
        return
    sources = ", ".join(f"{count:,} by {name}" for name, count in counts.most_common())
    typer.echo(f"{counted(len(changes), 'cell')} changed" + (f": {sources}" if sources else ""))
    typer.echo(f"written: {out} and {changes_path}")


def _kinds(text: str) -> list[str]:
    """The kinds of findings in a comma-separated list."""
    from labelwise.decisions.audit import KINDS
    from labelwise.errors import LabelwiseError

    kinds = [part.strip() for part in text.split(",") if part.strip()]
    for kind in kinds:
        if kind not in KINDS:
            raise LabelwiseError(f"kind {kind!r}", f"one or more of {', '.join(KINDS)}", "correct --kinds")
    return kinds
