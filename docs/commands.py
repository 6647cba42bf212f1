"""Write docs/reference/commands.md from the program: `python docs/commands.py`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from labelwise.cli import app

HEAD = """# Commands

Every command of `labelwise` with its arguments and options. `labelwise COMMAND --help` prints the same. The exit code \
is 0 on success, 2 for an error of the caller, and 75 for work that a signal stopped and `--resume` continues. \
`python docs/commands.py` generates this page, and a test compares it.
"""
TYPES = {int: "whole number", float: "number", Path: "path", str: "text"}
PAGE = Path(__file__).parent / "reference" / "commands.md"


def commands(group: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield the full name and the command of each command below a group."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def cell(text: object) -> str:
    """Return a text for a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def value_of(parameter: Any) -> str:
    """Return what an option takes: its choices, its own word, or its type."""
    annotation = parameter.type_descriptor.annotation
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return " | ".join(f"{choice.value}" for choice in annotation)
    return parameter.metavar or TYPES.get(annotation, "text")


def row(parameter: Any) -> str:
    """Return the row of an argument or option: name, value, default, meaning."""
    if parameter.param_type_name == "argument":
        name, value = parameter.metavar or parameter.name.upper(), ""
    else:
        name = ", ".join([*parameter.opts, *parameter.secondary_opts])
        value = "" if parameter.is_flag else value_of(parameter)
    plain = getattr(parameter.default, "value", parameter.default)
    plain = plain if isinstance(plain, str | int | float | Path) and not isinstance(plain, bool) else None
    default = "required" if parameter.required else ("" if plain in (None, "") else plain)
    return (
        f"| `{cell(name)}` | {cell(value)} | {cell(default)} | {cell(getattr(parameter, 'help', '') or '')} |"
    )


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for name, command in sorted(commands(typer.main.get_command(app), ("labelwise",))):
        text, _, example = (command.help or "").strip().partition("Example:")
        parts += [f"## `{name}`\n", " ".join(text.split()) + "\n"]
        if example:
            parts.append(f"```console\n$ {' '.join(example.split())}\n```\n")
        shown = [p for p in command.params if p.name not in ("help",) and not getattr(p, "hidden", False)]
        if shown:
            parts.append(
                "| name | value | default | meaning |\n|---|---|---|---|\n"
                + "\n".join(map(row, shown))
                + "\n"
            )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
