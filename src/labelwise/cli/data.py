"""`labelwise data check | import | split | pack`; `complete` and `convert` have files of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labelwise.cli import options
from labelwise.progress import bar

if TYPE_CHECKING:
    from rich.console import Console

    from labelwise.data.check import CheckReport
    from labelwise.data.dataset import Dataset

app = typer.Typer(help="Check, import, split, pack and correct data.", no_args_is_help=True)

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="any SOURCE: a kind and a path, such as csv:FILE, or only a path; docs/data.md lists all kinds",
    ),
]
OutArgument = Annotated[Path, typer.Argument(metavar="OUT.parquet", help="the table to write")]


@app.command()
def check(
    source: SourceArgument,
    near_duplicates: Annotated[
        bool, typer.Option(help="also look for near duplicates, which decodes every image")
    ] = True,
    decode: Annotated[
        bool, typer.Option("--decode", help="decode every image fully, not only its header")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Report counts, balance, unreadable and repeated images, and leaks; exit code 1 if there is a problem.

    Example: labelwise data check csv:labels.csv
    """
    from labelwise.data.check import check as run_check

    report = run_check(source, near_duplicates, decode)
    if as_json:
        options.print_json(report.to_json())
    else:
        _print_report(report)
    if report.problems:
        raise typer.Exit(1)


@app.command("import")
def import_(
    source: SourceArgument,
    out: OutArgument,
    embed_images: Annotated[
        bool, typer.Option("--embed-images", help="store the image files in the table")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Write a data set as the canonical table.

    Example: labelwise data import voc:VOC2007 voc.parquet
    """
    from labelwise.data.readers import read
    from labelwise.data.table import write_table

    data = read(source)
    write_table(data, _table_path(out), embed_images)
    _print_written(data, out, as_json)


@app.command()
def split(
    source: SourceArgument,
    out: OutArgument,
    fractions: Annotated[
        str, typer.Option(help="shares of train, val and test (two: train and test), with sum 1")
    ] = ".7,.15,.15",
    seed: Annotated[int, typer.Option(help="random seed", min=0)] = 0,
    near_duplicates: Annotated[
        bool, typer.Option(help="also keep near duplicates together, which decodes every image")
    ] = True,
    as_json: options.Json = False,
) -> None:
    """Write the canonical table with new stratified splits; groups and copies stay in one split.

    Example: labelwise data split csv:labels.csv split.parquet --fractions .8,.1,.1
    """
    from labelwise.data.readers import read
    from labelwise.data.splits import split_dataset
    from labelwise.data.table import write_table

    shares = _fractions(fractions)
    names = ("train", "val", "test") if len(shares) == 3 else ("train", "test")
    data = split_dataset(read(source), names, shares, seed, near_duplicates)
    write_table(data, _table_path(out))
    _print_written(data, out, as_json)


@app.command()
def pack(
    source: SourceArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="the folder to write; read it as packed:OUT")],
    size: Annotated[int, typer.Option(help="pixels: the short side, or the square's side when raw")] = 256,
    form: Annotated[str, typer.Option(help="jpeg, or raw: pixels squashed to a square")] = "jpeg",
    workers: Annotated[
        int | None, typer.Option(help="decoding threads  [default: one per processor]", min=1)
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write a store of resized images for fast training; a second call resumes it (exit code 1: unreadable images).

    Example: labelwise data pack voc:VOC2007 voc-256 --size 256
    """
    import time

    from labelwise.data.check import counted
    from labelwise.data.pack import pack as write_store
    from labelwise.data.readers import read

    started = time.perf_counter()
    data = read(source)
    with bar("images", len(data)) as tick:
        result = write_store(data, out, size, form, workers, tick)
    seconds = time.perf_counter() - started
    failures = [{"image": data.image_id(row), "reason": reason} for row, reason in result.unreadable]
    if as_json:
        record = {"out": str(out), "images": result.rows, "kept": result.kept, "bytes": result.bytes}
        record |= {"seconds": round(seconds, 2), "unreadable": failures}
        options.print_json(record)
    else:
        for row in failures:
            typer.echo(f"{row['image']}: {row['reason']}", err=True)
        earlier_text = f", {result.kept:,} of them by an earlier run" if result.kept else ""
        typer.echo(
            f"{counted(result.rows, 'image')}{earlier_text}, {result.bytes / 1e6:,.1f} MB, {seconds:.1f} s"
        )
        typer.echo(f"written: {out}; use it as packed:{out}")
    if failures:
        raise typer.Exit(1)


def _fractions(text: str) -> list[float]:
    from labelwise.errors import LabelwiseError

    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) not in (2, 3):
        raise LabelwiseError(f"--fractions {text!r}", "two or three numbers", "write for example .7,.15,.15")
    return shares


def _table_path(out: Path) -> Path:
    """The path, if it ends in .parquet."""
    from labelwise.errors import LabelwiseError

    if out.suffix.lower() != ".parquet":
        raise LabelwiseError(f"{str(out)!r} to write", "a file name that ends in .parquet", "rename it")
    return out


def _print_written(data: Dataset, out: Path, as_json: bool) -> None:
    if as_json:
        record = {"out": str(out), "rows": len(data), "labels": list(data.labels), "splits": data.splits()}
        options.print_json({**record, "notes": list(data.notes)})
        return
    typer.echo(data.summary())
    typer.echo(f"written: {out}")


def _print_report(report: CheckReport) -> None:
    """The report as text: counts, rare labels, duplicates, leaks, then notes, doubts and problems."""
    from rich.console import Console

    from labelwise.data.check import counted
    from labelwise.rarity import FEWEST, format_rare

    console = Console(highlight=False, soft_wrap=True)
    show = console.print if console.is_terminal else lambda text: typer.echo(text)
    show(f"{report.source}: {counted(report.rows_before, 'row')}, {counted(report.rows_after, 'image')} kept")
    show("splits: " + (", ".join(f"{name} {count:,}" for name, count in report.splits.items()) or "none"))
    _print_balance(report, console)
    for split, rare in report.rare.items():
        show(f"rare labels{split and ' in ' + split}, fewer than {FEWEST} positives: {format_rare(rare)}")
    show(
        f"images without a positive label: {report.without_positive:,}; "
        f"with nothing known: {report.without_known:,}"
    )
    pairs = ", ".join(f"{a} + {b} {count:,}" for a, b, count in report.together[:5])
    show(f"most often together: {pairs or 'no two labels'}")
    show(f"unreadable images: {len(report.unreadable):,}")
    for name, reason in report.unreadable[:10]:
        show(f"  {name}: {reason}")
    _print_groups(show, "exact duplicates", report.exact)
    if report.near is not None:
        _print_groups(show, "near duplicates", report.near)
    _print_groups(show, "leaks between splits", report.leaks)
    if report.contradictions:
        show(f"images that contradict the rules: {len(report.contradictions):,}")
        for name, reason in report.contradictions[:10]:
            show(f"  {name}: {reason}")
    for note in report.notes:
        show(f"note: {note}")
    for doubt in report.doubts:
        show(f"doubt: {doubt}")
    for problem in report.problems:
        show(f"problem: {problem}")
    if report.problems:
        show(counted(len(report.problems), "problem"))
    elif report.doubts:
        show(
            f"no image is lost and none leaks; {counted(len(report.doubts), 'doubt')} that only you can settle"
        )
    else:
        show("nothing is lost and nothing leaks")


def _print_groups(show: Callable[[str], None], title: str, groups: list[list[str]]) -> None:
    """The number of groups of equal images, and the first five groups."""
    show(f"{title}: {len(groups):,}")
    for names in groups[:5]:
        show("  " + " = ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else ""))


def _print_balance(report: CheckReport, console: Console) -> None:
    """Counts per label: a table in a terminal, else lines with tabs."""
    from rich.table import Table

    header = ["label", "positive", "negative", "unknown", *report.splits]
    rows = [
        [b.name, *(f"{n:,}" for n in (b.positive, b.negative, b.unknown, *b.by_split.values()))]
        for b in report.labels
    ]
    if not console.is_terminal:
        for row in [header, *rows]:
            typer.echo("\t".join(row))
        return
    table = Table(*header)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    console.print(table)
