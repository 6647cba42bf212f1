"""labelwise evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    run: Annotated[Path, typer.Argument(help="folder of a run", metavar="RUN")],
    data: Annotated[str | None, typer.Option(help="SOURCE  [default: the run's own]")] = None,
    split: Annotated[str, typer.Option(help="split to judge on, or several as val+test")] = "test",
    angles: Annotated[
        bool, typer.Option("--angles", help="angles between label features and classifiers")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
    batch_size: Annotated[int, typer.Option(help="images at once", min=1)] = 32,
    workers: Annotated[int, typer.Option(help="decoding processes", min=0)] = 1,
) -> None:
    """Judge a run on a split; under torchrun each process scores its share, every image once.

    Example: labelwise evaluate runs/mine --data voc:VOC2007 --split test --json
    """
    import json as js

    from labelwise import evaluation
    from labelwise.cli.tables import print_angles, print_labels
    from labelwise.data import read
    from labelwise.data.splits import ensure_splits
    from labelwise.training.processes import joined_processes
    from labelwise.training.run import Run

    opened = Run.open(run)
    with joined_processes() as first:
        source = ensure_splits(read(data or opened.config.data.source), seed=opened.config.seed)
        result = evaluation.evaluate(
            opened, source, split, angles=angles, batch_size=batch_size, workers=workers
        ).to_json()
        if first and json:
            typer.echo(js.dumps(result, ensure_ascii=False))
        elif first:
            print_labels(result)
            if angles:
                print_angles(result["angles"])
