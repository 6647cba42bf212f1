"""labelwise predict"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from labelwise.cli import options
from labelwise.errors import LabelwiseError


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
        int, typer.Option(help="decoding processes; with ray, the number of models and of decoders", min=0)
    ] = 1,
    engine: Annotated[
        Where, typer.Option(help="this process, or Ray Data on this machine or a cluster")
    ] = Where.here,
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

    from labelwise.serving.output import find_images
    from labelwise.serving.writers import is_one_file

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
    notes: list[str] = []
    files, started = find_images(paths, notes), time.perf_counter()
    for note in notes:
        _note(note)
    if out is not None and folder:
        failed = _collection(run, files, Path(out), engine.value, workers, batch_size, part, bits)
    else:
        failed = _each(run, files, Path(out) if out else None, json, maps, workers, batch_size, bits)
    seconds = time.perf_counter() - started
    rate, target = f"{len(files) / seconds:.1f} images/s", f" -> {out}" if out else ""
    typer.echo(f"{len(files):,} images in {seconds:.1f} s, {rate}, {failed} unreadable{target}", err=True)
    sys.exit(1 if failed else 0)


def _note(text: str) -> None:
    typer.echo(f"note: {text}", err=True)


def _collection(
    run: Path,
    files: Sequence[str],
    out: Path,
    engine: str,
    workers: int,
    batch_size: int,
    part: int,
    bits: int | None,
) -> int:
    """Write predictions to a folder of parts; return the number of unreadable images."""
    from labelwise.serving.collection import predict_collection

    def print_part(done: int, of: int) -> None:
        typer.echo(f"part {done:,} of {of:,}", err=True)

    result = predict_collection(
        run,
        files,
        out,
        engine=engine,
        workers=workers,
        batch_size=batch_size,
        part=part,
        bits=bits,
        on_part=print_part,
        on_note=_note,
    )
    if result.answered < result.images:
        typer.echo(f"{result.images - result.answered:,} images had been answered before", err=True)
    return result.unreadable


def _each(
    run: Path,
    files: Sequence[str],
    out: Path | None,
    json: bool,
    maps: Path | None,
    workers: int,
    batch_size: int,
    bits: int | None,
) -> int:
    """Write predictions to the terminal, a table or pictures; return the number of unreadable images."""
    import json as js
    from contextlib import nullcontext

    from labelwise.decisions import never_selected_note
    from labelwise.serving import load
    from labelwise.serving.output import stems, write_maps
    from labelwise.serving.writers import WRITERS

    names = stems(files) if maps else {}
    predictor = load(run)
    predictor = predictor if bits is None else predictor.with_bits(bits)
    if note := never_selected_note(predictor.never_selected):
        _note(note)
    image_notes: list[str] = []
    writer = (
        WRITERS[out.suffix.lower()](out, predictor.labels.names, predictor.familiarity is not None)
        if out
        else None
    )
    failed = 0
    with writer or nullcontext():
        for p in predictor.predict(files, maps=maps is not None, batch_size=batch_size, workers=workers):
            failed += p.error is not None
            image_notes += [p.note] * bool(p.note)
            if writer:
                writer.add(p)
            if json:
                typer.echo(js.dumps(p.to_json(), ensure_ascii=False))
            elif p.error is not None:
                typer.echo(f"{p.image}: {p.error}", err=True)
            elif not out:
                shown = ", ".join(f"{name} {p.scores[name]:.2f}" for name in p.selected)
                strange = (
                    f"  [unfamiliar: has seen nothing like it, p {p.familiar:.3f}]" if p.unfamiliar else ""
                )
                typer.echo(f"{p.image}: {shown or '(nothing over its threshold)'}{strange}")
            if maps and p.error is None:
                write_maps(p, maps, names[p.image], predictor.transform.config.bits)
    if image_notes:
        more = len(image_notes) - 1
        _note(image_notes[0] + (f" So are {more:,} more." if more else ""))
    return failed
