"""The command `continual`: training on a sequence of tasks."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from labelwise.cli import options


def continual(
    out: options.Out,
    stream: Annotated[
        str | None, typer.Option(help="SOURCE, or cocoseq:DIR, nuswideseq:DIR", metavar="NAME|SOURCE")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(help="finetune, joint, er, balanced, prs, ocdm, ewc, lwf or features  [default: er]"),
    ] = None,
    memory: Annotated[int | None, typer.Option(help="images stored for replay  [default: 2000]")] = None,
    setting: Annotated[
        str | None, typer.Option(help="online, class-incremental or domain-incremental  [default: online]")
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="number of labels per task, such as 5,5,5,5  [default: four tasks]")
    ] = None,
    method: options.Method = None,
    backbone: options.Backbone = None,
    weights: options.Weights = None,
    image_size: options.ImageSize = None,
    lr: options.Rate = None,
    seed: options.Seed = None,
    seeds: Annotated[
        int, typer.Option(help="consecutive seeds to run; prints mean and standard deviation", min=1)
    ] = 1,
    assign: options.Assign = None,
    config: options.Settings = None,
    resume: options.Resume = False,
    json: options.Json = False,
) -> None:
    """Learn a stream of tasks in sequence on a frozen backbone, and report how well earlier ones are retained.

    Example: labelwise continual --stream csv:labels.csv --strategy ocdm --memory 200 --out runs/stream
    """
    from labelwise.cli.tables import print_stream
    from labelwise.continual.run import learn_stream, spread
    from labelwise.runs.plain_yaml import read_yaml
    from labelwise.training.resuming import settings_begun

    # Defaults of the published streams; every other source of settings overrides them.
    settings: dict[str, Any] = {"loss": {"name": "bce"}, "optim": {"name": "adam", "weight_decay": 0.0}}
    settings |= read_yaml(config) if config else {}
    if resume and stream is None and config is None:
        first_folder = out / "seed0" if seeds > 1 else out
        settings = settings_begun(first_folder) or settings
    if stream is None and "data" not in settings:
        raise typer.BadParameter("no stream is named; give --stream SOURCE")
    overrides = {
        **options.of_model(method, backbone, weights, image_size, lr, seed),
        "data.source": stream,
        "continual.strategy": strategy,
        "continual.memory": memory,
        "continual.setting": setting,
        "continual.tasks": None if tasks is None else [_task_size(size) for size in tasks.split(",")],
        "backbone.freeze": True,
    }
    base, results = options.merged_config(settings, overrides, assign), []
    flags = [*(["--json"] if json else []), *(["--seeds", str(seeds)] if seeds > 1 else [])]
    with options.resumable("continual", out, *flags) as stop:
        for offset in range(seeds):
            seed_config = base.model_copy(update={"seed": base.seed + offset})
            folder = out / f"seed{seed_config.seed}" if seeds > 1 else out
            results.append(learn_stream(seed_config, folder, resume=resume, quiet=json, stop=stop))
    if json:
        record = results[0] if seeds == 1 else {"seeds": results, "spread": spread(results)}
        options.print_json(record)
    else:
        print_stream(results, spread(results))


def _task_size(text: str) -> int:
    from labelwise.errors import LabelwiseError

    try:
        return int(text)
    except ValueError:
        expected = "whole numbers separated by commas"
        raise LabelwiseError(f"--tasks with {text!r}", expected, "write 5,5,5,5") from None
