"""The command `predict`: labels of images."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from labelwise.cli import options
from labelwise.errors import LabelwiseError

MANY = 256
"""Number of images above which an export's images are decoded and resized by torch, which takes seconds to load."""


class Where(str, Enum):
    """Where images are predicted."""

    here = "here"
    ray = "ray"


def predict(
    run: Annotated[
        Path, typer.Argument(help="a run, an exported folder, or OWNER/NAME of the hub", metavar="RUN")
    ],
    paths: Annotated[
        list[str],
        typer.Argument(help="files, folders, globs, or @LIST with one path per line", metavar="PATH..."),
    ],
    json: Annotated[bool, typer.Option("--json", help="one JSON line per image")] = False,
    out: Annotated[
        str | None,
        typer.Option(
            help="write FILE in .csv, .tsv, .parquet or .jsonl; or a folder of parquet tables, which a second "
            "call resumes",
            metavar="FILE|DIR",
        ),
    ] = None,
    maps: Annotated[
        Path | None, typer.Option(help="write evidence pictures of selected labels", metavar="DIR")
    ] = None,
    batch_size: options.BatchSize = 32,
    workers: Annotated[
        int,
        typer.Option(help="images decoded at once; with ray, the number of models and of decoders", min=0),
    ] = 1,
    engine: Annotated[
        Where, typer.Option(help="this process, or Ray Data on this machine or a cluster")
    ] = Where.here,
    device: options.Device = None,
    part: Annotated[int, typer.Option(help="images per file of a folder", min=1)] = 4096,
    bits: Annotated[
        int | None, typer.Option(help="bits used by 16-bit grey images  [default: the run's]", min=8, max=16)
    ] = None,
) -> None:
    """Predict the labels of images; an unreadable one is reported and the others are predicted (exit code 1).

    Tables hold image, error, selected (in CSV, names separated by |), then a probability per label.

    Example: labelwise predict runs/mine photos/ --out predictions.csv
    """
    import sys
    import time

    from labelwise.inference.output import find_images
    from labelwise.inference.screen import note, print_rate
    from labelwise.inference.tables import is_one_file

    folder = out is not None and not is_one_file(out)
    if engine is Where.ray and not (folder and workers):
        raise LabelwiseError(
            "--engine ray with " + (f"--workers {workers}" if folder else f"--out {out}"),
            "a folder to write to and at least one worker",
            "add --out DIR --workers 2",
        )
    if folder and (json or maps):
        raise LabelwiseError(
            f"--out {out}, a folder, with --json or --maps", "one of them", "remove the others"
        )
    if engine is Where.ray and device is not None:
        raise LabelwiseError(
            f"--device {device.value} with --engine ray", "the devices of the cluster", "remove --device"
        )
    notes: list[str] = []
    files, started = find_images(paths, notes), time.perf_counter()
    for text in notes:
        note(text)
    if out is not None and folder:
        from labelwise.inference.folders import predict_collection

        result = predict_collection(
            run,
            files,
            Path(out),
            engine=engine.value,
            workers=workers,
            batch_size=batch_size,
            part=part,
            bits=bits,
            device=device and device.value,
            on_part=lambda done, total: typer.echo(f"part {done:,} of {total:,}", err=True),
            on_note=note,
        )
        failed = result.unreadable
        if result.answered < result.images:
            typer.echo(f"{result.images - result.answered:,} images had been answered before", err=True)
    else:
        if len(files) > MANY:
            import torch  # noqa: F401
        from labelwise.inference import load
        from labelwise.inference.screen import predict_files
        from labelwise.inference.tables import WRITERS

        predictor = load(run, device and device.value)
        writer_class = None if out is None else WRITERS[Path(out).suffix.lower()]
        has_familiarity = predictor.familiarity is not None
        failed = predict_files(
            predictor,
            files,
            writer_class and writer_class(Path(out or ""), predictor.labels.names, has_familiarity),
            json=json,
            maps=maps,
            workers=workers,
            batch_size=batch_size,
            bits=bits,
        )
    print_rate(len(files), started, failed, out)
    sys.exit(1 if failed else 0)
