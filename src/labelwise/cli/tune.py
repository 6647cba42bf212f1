"""The command `tune`: thresholds and calibration of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from labelwise.cli import options


def tune(
    run: options.Run,
    data: options.Source = None,
    split: Annotated[str, typer.Option(help="split to fit on, neither train nor test")] = "val",
    objective: Annotated[
        str, typer.Option(help="f1, precision=P, recall=R, cost=FP:FN or top=K", metavar="AIM")
    ] = "f1",
    confidence: Annotated[
        float,
        typer.Option(help="confidence at which a precision or recall floor is promised", metavar="C"),
    ] = 0.9,
    calibration: Annotated[str, typer.Option(help="platt, temperature or none")] = "platt",
    test_time: Annotated[
        str | None,
        typer.Option(
            help="test-time views of an image: none, flip, multi-scale or multi-scale=SIDE",
            metavar="VIEWS",
        ),
    ] = None,
    json: options.Json = False,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 1,
) -> None:
    """Fit each label's calibration and threshold on a validation split and store them in the run.

    Figures are cross-fitted: each fifth of the images is decided by a fit on the other four. A precision or recall
    floor is tested for each label; labels that it cannot be promised for are listed and keep a best-effort threshold.

    Example: labelwise tune runs/mine --objective precision=0.9
    """
    from labelwise.cli.tables import print_tuning
    from labelwise.data import read
    from labelwise.data.splits import ensure_splits
    from labelwise.decisions import never_selected_note
    from labelwise.evaluation.tune import tune_run
    from labelwise.runs.run import Run

    opened = Run.open(run, test_time)
    source = ensure_splits(read(data or opened.config.data.source), seed=opened.config.seed)
    tuning, result = tune_run(
        opened,
        source,
        split,
        objective,
        calibration,
        confidence=confidence,
        test_time=test_time,
        batch_size=batch_size,
        workers=workers,
    )
    for note in result.conditions["data_notes"][len(source.notes) :]:
        typer.echo(f"note: {note}", err=True)
    if tuning.warning:
        typer.echo(tuning.warning, err=True)
    floors, names = tuning.decisions.floors, opened.labels.names
    if floors is not None and not floors.promised.all():
        typer.echo(f"warning: {floors.without(names)}", err=True)
    if floors is not None and tuning.decisions.rules:
        typer.echo("note: the floor is tested without the rules, which change what is selected", err=True)
    if note := never_selected_note([names[j] for j in tuning.decisions.never]):
        typer.echo(f"note: {note}", err=True)
    if json:
        record = tuning.decisions.to_json(names)
        reasons = dict(zip(names, tuning.reasons, strict=True))
        options.print_json({**record, "reasons": reasons, **result.to_json()})
    else:
        print_tuning(tuning, result.to_json())
