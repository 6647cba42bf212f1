"""labelwise train"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelwise.cli import options

if TYPE_CHECKING:
    from labelwise.training.config import Config


def train(
    out: options.Out,
    data: Annotated[
        str | None, typer.Option(help="SOURCE, for example csv:labels.csv or voc:VOC2007")
    ] = None,
    method: options.Method = None,
    backbone: options.Backbone = None,
    weights: options.Weights = None,
    image_size: options.ImageSize = None,
    epochs: Annotated[int | None, typer.Option(help="passes over the training split")] = None,
    batch_size: Annotated[int | None, typer.Option(help="images per batch over all processes")] = None,
    lr: options.Rate = None,
    seed: options.Seed = None,
    freeze_backbone: Annotated[
        bool, typer.Option("--freeze-backbone", help="train the head on stored maps")
    ] = False,
    known_proportion: Annotated[
        float | None, typer.Option(help="share of training labels kept known")
    ] = None,
    single_positive: Annotated[
        bool,
        typer.Option("--single-positive", help="of each training image keep one positive known, no more"),
    ] = False,
    init_from: Annotated[
        Path | None,
        typer.Option(help="go on from this run: its labels stay, new ones are added", metavar="RUN"),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="learn from this run's scores and label features too", metavar="RUN"),
    ] = None,
    unknown: Annotated[
        str | None, typer.Option(help="what the loss does with unknown labels  [default: auto]")
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(help="train in stages within this time, such as 10m, and keep the best", metavar="TIME"),
    ] = None,
    assign: options.Assign = None,
    config: options.Settings = None,
    resume: options.Resume = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="leave report.html out")] = False,
) -> None:
    """Train on photographs and labels, choose by the validation split, judge on the test split.

    Example: labelwise train --data csv:labels.csv --out runs/mine
    """
    # What is imported further down loads the networks' libraries, for which opening the data does not wait.
    from labelwise.training.fit import train as run_training
    from labelwise.training.plain_yaml import read_yaml

    settings: dict[str, Any] = read_yaml(config) if config else {}
    if init_from is not None:
        from labelwise.experiments.sweep import merged
        from labelwise.training.grown import settings_of

        settings = merged(settings_of(init_from), settings, {"init_from": str(init_from)})
    if resume and data is None and config is None:
        from labelwise.training.resuming import settings_begun

        settings = settings_begun(out) or settings
    given = {
        **options.of_model(method, backbone, weights, image_size, lr, seed),
        "data.source": data,
        "data.known_proportion": known_proportion,
        "data.known": "single-positive" if single_positive else None,
        "unknown.name": unknown,
        "teacher.run": None if teacher is None else str(teacher),
        "backbone.freeze": freeze_backbone or None,
        "epochs": epochs,
        "batch_size": batch_size,
    }
    with options.going_on_by("train", out, *(["--no-report"] if no_report else [])) as stop:
        if resume and (begun := _plan_begun(out)):
            from labelwise.anytime import train_within

            train_within(*begun, out, resume=True, stop=stop)
        else:
            named = {name for name, value in given.items() if value is not None}
            chosen = frozenset(named | settings.keys() | {one.partition("=")[0] for one in assign or []})
            made = options.laid_over(settings, given, assign)
            if time is None:
                run_training(made, out, resume=resume, stop=stop)
            else:
                from labelwise.anytime import seconds_of, train_within

                train_within(made, seconds_of(time), out, chosen, resume=resume, stop=stop)
        from labelwise.training.processes import is_first

        if not no_report and is_first():
            from labelwise.reports import finish_report

            finish_report(out)


def _plan_begun(out: Path) -> tuple[Config, float] | None:
    """Settings and seconds of training within a time that was begun in a folder."""
    from labelwise.anytime import settings_of_plan

    return settings_of_plan(out)
