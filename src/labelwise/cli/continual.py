"""labelwise continual"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def continual(
    out: Annotated[Path, typer.Option(help="folder of the run", metavar="RUN")],
    stream: Annotated[
        str | None, typer.Option(help="SOURCE, or cocoseq:DIR, nuswideseq:DIR", metavar="NAME|SOURCE")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="finetune, joint, er, balanced, prs, ocdm, ewc or lwf  [default: er]")
    ] = None,
    memory: Annotated[int | None, typer.Option(help="images kept for replay  [default: 2000]")] = None,
    setting: Annotated[
        str | None, typer.Option(help="online or class-incremental  [default: online]")
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="labels of each task, as 5,5,5,5  [default: four tasks]")
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
    lr: Annotated[float | None, typer.Option(help="learning rate")] = None,
    seed: Annotated[int | None, typer.Option(help="the first one  [default: 0]")] = None,
    seeds: Annotated[
        int, typer.Option(help="runs of further seeds; mean and deviation at the end", min=1)
    ] = 1,
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="any setting: a.b=c", metavar="A.B=C")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the last saved state")] = False,
    json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Learn a stream of tasks, one after the other, over a frozen backbone, and tell what is kept.

    Example: labelwise continual --stream csv:labels.csv --strategy ocdm --memory 200 --out runs/stream
    """
    import json as js
    import shlex

    from labelwise.backbones import package_architecture
    from labelwise.cli.tables import print_stream
    from labelwise.continual.run import learn_stream, spread
    from labelwise.errors import Stopped
    from labelwise.training.config import make_config, override, put
    from labelwise.training.plain_yaml import read_yaml
    from labelwise.training.resuming import settings_begun
    from labelwise.training.stopping import StopRequest

    # What the published streams were learned with; anything may be laid over it.
    settings: dict[str, Any] = {"loss": {"name": "bce"}, "optim": {"name": "adam", "weight_decay": 0.0}}
    settings |= read_yaml(config) if config else {}
    if resume and stream is None and config is None:
        first = out / "seed0" if seeds > 1 else out
        settings = settings_begun(first) or settings
    options = {
        "data.source": stream,
        "continual.strategy": strategy,
        "continual.memory": memory,
        "continual.setting": setting,
        "continual.tasks": None if tasks is None else [_number(t) for t in tasks.split(",")],
        "method": method,
        "backbone.weights": weights,
        "backbone.name": backbone or (weights and package_architecture(weights)),
        "backbone.freeze": True,
        "image_size": image_size,
        "optim.lr": lr,
        "seed": seed,
    }
    for name, value in options.items():
        if value is not None:
            put(settings, name, value)
    if "data" not in settings:
        raise typer.BadParameter("no stream is named; give --stream SOURCE")
    made = make_config(override(settings, assign or []))
    results, request = [], StopRequest()
    try:
        with request.listening():
            for number in range(seeds):
                one = made.model_copy(update={"seed": made.seed + number})
                folder = out / f"seed{one.seed}" if seeds > 1 else out
                results.append(learn_stream(one, folder, resume=resume, quiet=json, stop=request))
    except Stopped as stopped:
        again = ["labelwise", "continual", "--out", str(out), "--resume", *(["--json"] if json else [])]
        again += ["--seeds", str(seeds)] if seeds > 1 else []
        raise Stopped(stopped.given, shlex.join(again)) from None
    if json:
        told = results[0] if seeds == 1 else {"seeds": results, "spread": spread(results)}
        typer.echo(js.dumps(told, ensure_ascii=False))
    else:
        print_stream(results, spread(results))


def _number(text: str) -> int:
    from labelwise.errors import LabelwiseError

    try:
        return int(text)
    except ValueError:
        raise LabelwiseError(f"--tasks with {text!r}", "whole numbers with commas", "write 5,5,5,5") from None
