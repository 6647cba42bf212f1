"""The command `audit`: likely mistakes in the labels of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelwise.cli import options


def audit(
    run: options.Run,
    data: options.Source = None,
    split: Annotated[str, typer.Option(help="train, val, test, several as train+val, or all")] = "train",
    folds: Annotated[int, typer.Option(help="models to train; each scores its held-out fold", min=2)] = 5,
    out: Annotated[
        Path, typer.Option(help="the table; an HTML page is written beside it", metavar="FILE.csv")
    ] = Path("audit.csv"),
    limit: Annotated[int, typer.Option(help="most cells to list; 0 lists all suspicious ones", min=0)] = 0,
    json: options.Json = False,
) -> None:
    """Rank labels that are likely missing or wrong, differ between copies or break a rule, with evidence.

    Labels that the models have not learned are not judged; they are listed with the reason.

    Example: labelwise audit runs/mine --data csv:labels.csv --out audit.csv
    """
    from collections import Counter

    from labelwise.audit.audit import audit as run_audit
    from labelwise.data import read
    from labelwise.data.splits import ensure_splits
    from labelwise.errors import LabelwiseError
    from labelwise.inference import load
    from labelwise.reports.audit import estimate, pictures, write_audit_page, write_evidence
    from labelwise.runs.run import Run
    from labelwise.training.progress import ProgressBar

    if out.suffix.lower() != ".csv":
        raise LabelwiseError(f"--out {out}", "a file name that ends in .csv", "rename it")
    opened = Run.open(run)
    source = ensure_splits(read(data or opened.config.data.source), seed=opened.config.seed)
    result = run_audit(opened, source, split, folds, limit, ProgressBar())
    rows, findings = result.rows, result.findings
    photographs = pictures(result, load(run))
    evidence = write_evidence(photographs, out.with_suffix(".evidence"))
    result.save(out, evidence)
    page = out.with_suffix(".html")
    write_audit_page(result, photographs, page, str(run))
    counts = Counter(f.kind for f in findings)
    if json:
        record = {"table": str(out), "page": str(page), "images": len(rows), "cells": len(findings)}
        record |= {"kinds": counts, "scored_by": result.scored_by, "not_judged": dict(result.unjudged)}
        record |= {"expected_wrong": round(float(result.expected.sum()), 1)}
        if result.check:
            record |= {"planted": result.check.planted, "planted_rise": round(result.check.rise, 1)}
        options.print_json(record)
        return
    for rank, f in enumerate(findings[:20], start=1):
        name, image = rows.labels.names[f.label], rows.image_id(f.row)
        typer.echo(f"{rank:4}  {f.score:.2f}  {f.kind:13}  {name}  {image}  {f.reason}")
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())
    typer.echo(f"{len(findings):,} cells of {len(rows):,} images: {kinds or 'nothing suspicious'}")
    for name, reason in result.unjudged.items():
        typer.echo(f"not judged: {name} ({reason})")
    typer.echo(estimate(result))
    typer.echo(f"written: {out} and {page}")
