"""labelwise audit"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelwise.cli import options


def audit(
    run: options.Run,
    data: options.Source = None,
    split: Annotated[str, typer.Option(help="train, val, test, several as train+val, or all")] = "train",
    folds: Annotated[int, typer.Option(help="models to train, each scores what it did not see", min=2)] = 5,
    out: Annotated[Path, typer.Option(help="the table; a page goes beside it", metavar="FILE.csv")] = Path(
        "audit.csv"
    ),
    limit: Annotated[int, typer.Option(help="cells to list; 0 lists all that are suspicious", min=0)] = 0,
    json: options.Json = False,
) -> None:
    """Rank labels that are likely missing or wrong, differ between copies, or break a rule, with evidence.

    Example: labelwise audit runs/mine --data csv:labels.csv --out audit.csv
    """
    import json as js
    from collections import Counter

    from labelwise.data import read
    from labelwise.data.splits import ensure_splits
    from labelwise.errors import LabelwiseError
    from labelwise.evaluation.audit import audit as run_audit
    from labelwise.reports.audit import pictures, write_evidence, write_page
    from labelwise.serving import load
    from labelwise.training.progress import Watch
    from labelwise.training.run import Run

    if out.suffix.lower() != ".csv":
        raise LabelwiseError(f"--out {out}", "a file name that ends in .csv", "rename it")
    opened = Run.open(run)
    source = ensure_splits(read(data or opened.config.data.source), seed=opened.config.seed)
    found = run_audit(opened, source, split, folds, limit, Watch())
    shown = pictures(found, load(run))
    evidence = write_evidence(shown, out.with_suffix(".evidence"))
    found.save(out, evidence)
    page = out.with_suffix(".html")
    write_page(found, shown, page, str(run))
    counts = Counter(f.kind for f in found.findings)
    if json:
        told = {"table": str(out), "page": str(page), "images": len(found.rows), "cells": len(found.findings)}
        typer.echo(
            js.dumps({**told, "kinds": dict(counts), "scored_by": found.scored_by}, ensure_ascii=False)
        )
        return
    for place, f in enumerate(found.findings[:20]):
        name, image = found.rows.labels.names[f.label], found.rows.image_id(f.row)
        typer.echo(f"{place + 1:4}  {f.score:.2f}  {f.kind:13}  {name}  {image}  {f.reason}")
    told_kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())
    typer.echo(
        f"{len(found.findings):,} cells of {len(found.rows):,} images: {told_kinds or 'nothing suspicious'}"
    )
    typer.echo(f"written: {out} and {page}")
