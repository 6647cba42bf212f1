"""The commands `cache list` and `cache clear`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from labelwise.cli import options

if TYPE_CHECKING:
    from labelwise.data.cached import Entry

app = typer.Typer(help="List and clear the stored maps and other files of the cache.", no_args_is_help=True)


def _days_ago(used: float) -> str:
    """Whole days since a time in seconds since 1970, as text."""
    import time

    days = int((time.time() - used) // 86_400)
    return "today" if days < 1 else f"{days} days ago"


def _entry_line(entry: Entry) -> str:
    return f"{entry.kind:28} {entry.size / 1e6:10,.1f} MB   {_days_ago(entry.used):14} {entry.path.name}"


@app.command("list")
def list_cache(as_json: options.Json = False) -> None:
    """List what the cache holds, the least recently used first.

    Example: labelwise cache list
    """
    from labelwise.data.cache import cache_folder
    from labelwise.data.cached import entries

    listed = entries()
    total = sum(entry.size for entry in listed)
    if as_json:
        rows = [{"kind": e.kind, "path": str(e.path), "bytes": e.size, "used": round(e.used)} for e in listed]
        options.print_json({"folder": str(cache_folder()), "bytes": total, "entries": rows})
        return
    for entry in listed:
        typer.echo(_entry_line(entry))
    typer.echo(f"{total / 1e6:,.1f} MB in {cache_folder()}, entries: {len(listed)}")


@app.command("clear")
def clear_cache(
    to: Annotated[
        str | None,
        typer.Option(help="remove the least recently used until this size is left", metavar="SIZE"),
    ] = None,
    unused: Annotated[
        float | None, typer.Option(help="remove what was not used for so many days", metavar="DAYS", min=0)
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Clear the cache, or a part of it; whatever is removed is computed again when it is needed.

    Example: labelwise cache clear --to 20GB
    """
    from labelwise.data.cached import bytes_of, entries, least_recently_used, remove, unused_for

    listed = entries()
    chosen = listed if to is None and unused is None else []
    if unused is not None:
        chosen = unused_for(listed, unused)
    if to is not None:
        others = [entry for entry in listed if entry not in chosen]
        chosen = [*chosen, *least_recently_used(others, bytes_of(to))]
    removed, skipped = remove(chosen)
    freed = sum(entry.size for entry in removed)
    if as_json:
        kept_rows = [{"path": str(entry.path), "reason": reason} for entry, reason in skipped]
        options.print_json({"removed": [str(e.path) for e in removed], "bytes": freed, "skipped": kept_rows})
        return
    for entry in removed:
        typer.echo(f"removed {_entry_line(entry)}")
    for entry, reason in skipped:
        typer.echo(f"skipped {entry.kind} {entry.path.name}: {reason}")
    typer.echo(f"{freed / 1e6:,.1f} MB freed, entries removed: {len(removed)}")
