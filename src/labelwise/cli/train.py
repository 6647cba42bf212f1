"""labelwise train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def train(
    out: Annotated[Path, typer.Option(help="folder of the run", metavar="RUN")],
    data: Annotated[
        str | None, typer.Option(help="SOURCE, for example csv:labels.csv or voc:VOC2007")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="method id, see `labelwise methods`  [default: dlfl]")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="timm model  [default: what the weights are of]")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="hub, none, package:NAME or FILE  [default: hub]")
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="side in pixels  [default: 224]")] = None,
    epochs: Annotated[int | None, typer.Option(help="passes over the training split")] = None,
    batch_size: Annotated[int | None, typer.Option(help="images per batch over all processes")] = None,
    lr: Annotated[float | None, typer.Option(help="peak learning rate of the head")] = None,
    seed: Annotated[int | None, typer.Option(help="of everything that is drawn  [default: 0]")] = None,
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
    unknown: Annotated[
        str | None, typer.Option(help="what the loss does with unknown labels  [default: auto]")
    ] = None,
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="any setting: a.b=c", metavar="A.B=C")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the last saved state")] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="leave report.html out")] = False,
) -> None:
    """Train on photographs and labels, choose by the validation split, judge on the test split.

    Example: labelwise train --data csv:labels.csv --out runs/mine
    """
    import shlex

    from labelwise.backbones import package_architecture
    from labelwise.errors import Stopped
    from labelwise.experiments.sweep import merged
    from labelwise.reports import finish_report
    from labelwise.training.config import make_config, override, put
    from labelwise.training.fit import train as run_training
    from labelwise.training.grown import settings_of
    from labelwise.training.plain_yaml import read_yaml
    from labelwise.training.processes import is_first
    from labelwise.training.resuming import settings_begun
    from labelwise.training.stopping import StopRequest

    settings: dict[str, Any] = read_yaml(config) if config else {}
    if init_from is not None:
        settings = merged(settings_of(init_from), settings, {"init_from": str(init_from)})
    if resume and data is None and config is None:
        settings = settings_begun(out) or settings
    options = {
        "data.source": data,
        "data.known_proportion": known_proportion,
        "data.known": "single-positive" if single_positive else None,
        "unknown.name": unknown,
        "method": method,
        "backbone.weights": weights,
        "backbone.name": backbone or (weights and package_architecture(weights)),
        "backbone.freeze": freeze_backbone or None,
        "image_size": image_size,
        "epochs": epochs,
        "batch_size": batch_size,
        "optim.lr": lr,
        "seed": seed,
    }
    for name, value in options.items():
        if value is not None:
            put(settings, name, value)
    request = StopRequest()
    try:
        with request.listening():
            run = run_training(
                make_config(override(settings, assign or [])), out, resume=resume, stop=request
            )
            if not no_report and is_first():
                finish_report(run.path)
    except Stopped as stopped:
        again = ["labelwise", "train", "--out", str(out), "--resume", *(["--no-report"] if no_report else [])]
        raise Stopped(stopped.given, shlex.join(again)) from None
