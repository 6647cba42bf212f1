"""The command `train`: training, selection and evaluation of a method."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelwise.cli import options
from labelwise.errors import LabelwiseError

if TYPE_CHECKING:
    from labelwise.runs.config import Config

_STAGE_SETTINGS = {"data", "unknown", "seed", "workers", "test_time", "backbone.name", "backbone.weights"}
"""Settings that may be given while training in stages stays the default."""


class Preset(str, Enum):
    """How much time training takes; see `labelwise.anytime.PRESETS`."""

    FAST, GOOD, BEST = "fast", "good", "best"


def train(
    out: Annotated[Path | None, typer.Option(help="folder of the run  [required]", metavar="RUN")] = None,
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
        bool, typer.Option("--freeze-backbone", help="train only the head, on stored maps")
    ] = False,
    known_proportion: Annotated[
        float | None, typer.Option(help="share of training labels that stay known")
    ] = None,
    single_positive: Annotated[
        bool,
        typer.Option("--single-positive", help="keep one known positive per training image"),
    ] = False,
    init_from: Annotated[
        Path | None,
        typer.Option(help="start from this run: its labels stay, new ones are added", metavar="RUN"),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="also learn from this run's scores and label features", metavar="RUN"),
    ] = None,
    unknown: Annotated[str | None, typer.Option(help="unknown strategy of the loss  [default: auto]")] = None,
    time: Annotated[
        str | None,
        typer.Option(
            help="train in stages within this time, such as 10m, and keep the best stage", metavar="TIME"
        ),
    ] = None,
    preset: Annotated[
        Preset | None,
        typer.Option(
            help="stages within 3m, 20m or 90m  [default: good, if no setting of training is given]"
        ),
    ] = None,
    assign: options.Assign = None,
    config: options.Settings = None,
    resume: options.Resume = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="write no report.html")] = False,
    print_config: Annotated[
        bool,
        typer.Option("--print-config", help="print the settings with their meanings as YAML; train nothing"),
    ] = False,
    json_schema: Annotated[
        bool,
        typer.Option("--json-schema", help="print the JSON schema of --config for editors; train nothing"),
    ] = False,
) -> None:
    """Train on images and labels, select on the validation split, evaluate on the test split.

    Without training settings, such as a method or epochs, it trains stages within 20 minutes and keeps the best.

    Example: labelwise train --data csv:labels.csv --out runs/mine
    """
    if json_schema:
        import json

        from labelwise.runs.schema import json_schema as schema_of_settings

        typer.echo(json.dumps(schema_of_settings(), indent=2, ensure_ascii=False))
        return
    if out is None and not print_config:
        raise typer.BadParameter("no folder is named; give --out RUN")
    out = out or Path()
    # Later imports load torch; the data are opened before that.
    from labelwise.runs.plain_yaml import read_yaml
    from labelwise.training.fit import train as run_training

    settings: dict[str, Any] = read_yaml(config) if config else {}
    if init_from is not None:
        from labelwise.experiments.sweep import merged
        from labelwise.training.grown import settings_of_run

        settings = merged(settings_of_run(init_from), settings, {"init_from": str(init_from)})
    if resume and data is None and config is None and not print_config:
        from labelwise.training.resuming import settings_begun

        settings = settings_begun(out) or settings
    overrides = {
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
    if print_config:
        _print_config(options.merged_config(settings, overrides, assign))
        return
    with options.resumable("train", out, *(["--no-report"] if no_report else [])) as stop:
        from labelwise.anytime import settings_of_plan, train_within

        if resume and (plan := settings_of_plan(out)):
            from labelwise.experiments.sweep import merged

            stored = merged(plan[0].model_dump(mode="json"), settings)
            resumed = options.merged_config(stored, overrides, assign)
            _refuse_another(*plan, resumed, _given_seconds(time, preset))
            train_within(resumed, plan[1], out, resume=True, stop=stop)
        else:
            given = {name for name, value in overrides.items() if value is not None}
            chosen = frozenset(
                given | settings.keys() | {assignment.partition("=")[0] for assignment in assign or []}
            )
            resolved = options.merged_config(settings, overrides, assign)
            seconds = _stage_seconds(time, preset, resolved, chosen, out)
            if seconds is None:
                run_training(resolved, out, resume=resume, stop=stop)
            else:
                train_within(resolved, seconds, out, chosen, resume=resume, stop=stop)
        from labelwise.training.processes import is_first

        if not no_report and is_first():
            from labelwise.reports import finish_report

            typer.echo(f"report: {finish_report(out)}", err=True)


def _print_config(config: Config) -> None:
    """Print the settings with which a single training would begin."""
    from labelwise.training.opening import open_data

    opened = open_data(config)
    from labelwise.runs.schema import described_yaml  # these load torch
    from labelwise.training.course import settings_to_train

    typer.echo(described_yaml(settings_to_train(opened, config)), nl=False)


def _refuse_another(begun: Config, seconds: float, now: Config, given: float | None) -> None:
    """Raise `LabelwiseError` if stages are to be resumed under another time or another setting.

    Args:
        begun, seconds: those of the plan.
        now: the settings of the command.
        given: its seconds; `None` without `--time` and `--preset`.
    """
    from labelwise.training.resuming import refuse_changes

    if given not in (None, seconds):
        raise LabelwiseError(
            f"--resume with another time ({given:g} s after {seconds:g} s)",
            "the time that the plan was made for",
            "leave --time and --preset out, or use another --out",
        )
    refuse_changes(begun, now)


def _given_seconds(time: str | None, preset: Preset | None) -> float | None:
    """Return the seconds of `--time` or `--preset`; `None` without either.

    Raises:
        LabelwiseError: both, or an invalid time.
    """
    from labelwise.anytime import PRESETS, seconds_of

    if time is not None and preset is not None:
        raise LabelwiseError(f"--time {time} and --preset {preset.value}", "one of the two", "remove one")
    if time is not None:
        return seconds_of(time)
    return None if preset is None else PRESETS[preset.value]


def _stage_seconds(
    time: str | None, preset: Preset | None, config: Config, chosen: frozenset[str], out: Path
) -> float | None:
    """Return the time in seconds for training in stages; `None` for a single training.

    Stages are the default if no training setting was given and nothing in the configuration rules them out.

    Raises:
        LabelwiseError: both a time and a preset, or an invalid time.
    """
    from labelwise.anytime import PRESETS, conflict_of

    if (seconds := _given_seconds(time, preset)) is not None:
        return seconds
    allows_stages = all(name in _STAGE_SETTINGS or name.startswith(("data.", "unknown.")) for name in chosen)
    has_run = (out / "config.yaml").exists()
    return PRESETS["good"] if allows_stages and not has_run and conflict_of(config) is None else None
