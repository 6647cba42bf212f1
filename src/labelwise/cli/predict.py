"""labelwise predict"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict(
    run: Annotated[
        Path, typer.Argument(help="a run, an exported folder, or OWNER/NAME of the hub", metavar="RUN")
    ],
    paths: Annotated[
        list[str],
        typer.Argument(help="files, folders, globs, or @LIST with a path a line", metavar="PATH..."),
    ],
    json: Annotated[bool, typer.Option("--json", help="one JSON line an image")] = False,
    out: Annotated[Path | None, typer.Option(help="write a parquet table", metavar="FILE.parquet")] = None,
    maps: Annotated[
        Path | None, typer.Option(help="write evidence pictures of selected labels", metavar="DIR")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="images at once", min=1)] = 32,
    workers: Annotated[int, typer.Option(help="decoding processes", min=0)] = 1,
) -> None:
    """Name what is in photographs; one that cannot be read is told, and the rest go on (exit code 1).

    Example: labelwise predict runs/mine photos/ --out predictions.parquet
    """
    import json as js
    import sys
    import time

    from labelwise.serving import load
    from labelwise.serving.output import ParquetWriter, find_images, stems, write_maps

    files = find_images(paths)
    names = stems(files)
    predictor = load(run)
    table = ParquetWriter(out, predictor.labels.names) if out else None
    failed, started = 0, time.perf_counter()
    for p in predictor.predict(files, maps=maps is not None, batch_size=batch_size, workers=workers):
        failed += p.error is not None
        if table:
            table.add(p)
        if json:
            typer.echo(js.dumps(p.to_json(), ensure_ascii=False))
        elif p.error is not None:
            typer.echo(f"{p.image}: {p.error}", err=True)
        elif not out:
            shown = (
                ", ".join(f"{name} {p.scores[name]:.2f}" for name in p.selected)
                or "(nothing over its threshold)"
            )
            typer.echo(f"{p.image}: {shown}")
        if maps and p.error is None:
            write_maps(p, maps, names[p.image])
    if table:
        table.close()
    seconds = time.perf_counter() - started
    where = f" -> {out}" if out else ""
    told = f"{len(files):,} images in {seconds:.1f} s, {len(files) / seconds:.1f} images/s, {failed} unreadable{where}"
    typer.echo(told, err=True)
    sys.exit(1 if failed else 0)
