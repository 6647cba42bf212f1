"""The command `compare`: images on which two runs select different labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelwise.cli import options


def compare_runs(
    run_a: Annotated[Path, typer.Argument(help="a run or an exported folder", metavar="RUN_A")],
    run_b: Annotated[Path, typer.Argument(help="another one", metavar="RUN_B")],
    data: Annotated[
        str, typer.Option(help="images; their labels, if any, show which run is right", metavar="SOURCE")
    ],
    split: Annotated[str | None, typer.Option(help="split, or several as val+test  [default: all]")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="only this label; may be repeated  [default: all common ones]")
    ] = None,
    top: Annotated[int, typer.Option(help="pictures in a page, and lines on the terminal", min=1)] = 60,
    out: Annotated[Path | None, typer.Option(help="FILE.html, FILE.csv or FILE.json", metavar="FILE")] = None,
    json: options.Json = False,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 1,
) -> None:
    """List images on which two runs select different labels, with both scores; the page has evidence of both.

    `labelwise report` compares the figures of runs.

    Example: labelwise compare runs/a runs/b --data voc:VOC2007 --split test --out differences.html
    """
    from labelwise.cli.results import check_suffix, write_result
    from labelwise.data import read
    from labelwise.inference import load
    from labelwise.inference.disagreements import disagreements
    from labelwise.progress import bar

    check_suffix(out, (".html", ".csv", ".json"))
    models = load(run_a), load(run_b)
    rows = read(data)
    rows = rows.split(split) if split else rows
    with bar("predicting", 2 * len(rows)) as tick:
        differences = disagreements(
            models,
            rows,
            label,
            batch_size=batch_size,
            workers=workers,
            on_images=lambda done, total: tick(done),
        )
    if out is not None and out.suffix.lower() == ".html":
        from labelwise.reports.disagreements_page import write_disagreements

        write_disagreements(out, differences, rows, models, (str(run_a), str(run_b)), top)
    elif out is not None:
        write_result(out, differences.to_json(), [cell.to_json() for cell in differences.cells])
    if json:
        options.print_json(differences.to_json())
        return
    for cell in differences.cells[:top] if out is None else ():
        a, b = (
            f"{score:.2f}{'*' if selected else ' '}"
            for score, selected in zip(cell.scores, cell.selected, strict=True)
        )
        truth = {True: "present", False: "absent", None: "unknown"}[cell.truth]
        typer.echo(f"{a}  {b}  {cell.label}  {truth:8}  {cell.image}")
    typer.echo(
        f"{len(differences.cells):,} labels differ on {differences.images:,} images, "
        f"{differences.unreadable} unreadable" + (f" -> {out}" if out else ""),
        err=True,
    )
