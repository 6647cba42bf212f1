"""The command `evaluate`: metrics of a trained run."""

from __future__ import annotations

from typing import Annotated

import typer

from labelwise.cli import options


def evaluate(
    run: options.Run,
    data: options.Source = None,
    split: Annotated[str, typer.Option(help="split to evaluate, or several as val+test")] = "test",
    protocol: Annotated[
        str | None, typer.Option(help="the data set's protocol, for example pa100k; see docs/datasets.md")
    ] = None,
    corrupt: Annotated[
        bool, typer.Option("--corrupt", help="figures on corrupted images: five kinds, five strengths")
    ] = False,
    shift: Annotated[
        bool,
        typer.Option("--shift", help="figures of labels with and without their usual companion"),
    ] = False,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="figures of parts of the images: folder, height, label:NAME or group:NAME; may be repeated",
            metavar="PARTS",
        ),
    ] = None,
    images: Annotated[
        int, typer.Option(help="size of a random sample of the split; 0 for all images", min=0)
    ] = 0,
    angles: Annotated[
        bool, typer.Option("--angles", help="angles between label features and classifiers")
    ] = False,
    json: options.Json = False,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 1,
) -> None:
    """Evaluate a run on a split; under torchrun each process scores its share, every image once.

    Example: labelwise evaluate runs/mine --data voc:VOC2007 --split test --json
    """
    from labelwise.cli.parts import figures_by, print_parts
    from labelwise.cli.robustness import corruption, print_corruption, print_shift, sampled, with_shift
    from labelwise.cli.tables import print_angles, print_frequency, print_groups, print_growth, print_labels
    from labelwise.data import read
    from labelwise.data.implied import completion_notes
    from labelwise.data.splits import ensure_splits
    from labelwise.errors import LabelwiseError
    from labelwise.evaluation import evaluate as run_evaluation
    from labelwise.runs.run import Run
    from labelwise.training.processes import joined_processes

    if protocol and (images or corrupt):
        raise LabelwiseError(
            f"--protocol {protocol} on other images than its own",
            "the whole, unchanged split",
            "remove --protocol, or --images and --corrupt",
        )
    if corrupt and by:
        raise LabelwiseError(f"--by {by[0]} with --corrupt", "one of them", "remove the other")
    opened = Run.open(run)
    with joined_processes() as is_first:
        source = read(data or opened.config.data.source)
        if not set(split.split("+")) <= set(source.splits()):
            source = ensure_splits(source, seed=opened.config.seed)
        rows = sampled(source, split, images)
        if corrupt:
            result = corruption(opened, rows, split, batch_size, workers, is_first and not json)
        else:
            evaluation = run_evaluation(
                opened, rows, split, angles=angles, protocol=protocol, batch_size=batch_size, workers=workers
            )
            result = with_shift(evaluation, source) if shift else evaluation.to_json()
            if by:
                result["parts"] = figures_by(opened, evaluation, rows, split, by, protocol)
        if not is_first:
            return
        for note in (*completion_notes(rows.notes), *result["conditions"]["data_notes"][len(rows.notes) :]):
            typer.echo(f"note: {note}", err=True)
        if not corrupt and "warning" in result["conditions"]:
            typer.echo(f"warning: {result['conditions']['warning']}", err=True)
        if json:
            options.print_json(result)
        elif corrupt:
            print_corruption(result, opened.labels)
        else:
            print_labels(result)
            print_frequency(result)
            print_growth(result)
            print_groups(result)
            if shift:
                print_shift(result["cooccurrence"])
            for way, figures in result.get("parts", {}).items():
                print_parts(way, figures)
            if angles:
                print_angles(result["angles"])
