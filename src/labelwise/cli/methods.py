"""The command `methods`: the list of methods and their options."""

from __future__ import annotations

from typing import Annotated

import typer

from labelwise.cli import options


def methods(
    name: Annotated[str | None, typer.Argument(help="method whose card is shown", metavar="NAME")] = None,
    json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
) -> None:
    """List the methods, or show the card of one.

    Example: labelwise methods dlfl
    """
    from labelwise.registry import METHODS

    if name:
        METHODS.refuse_unknown(name)
    all_cards = METHODS.cards()
    cards = [all_cards[name]] if name else list(all_cards.values())
    if json:
        options.print_json([card.to_json() for card in cards], indent=2)
    elif name:
        for key, value in cards[0].to_json().items():
            if value:
                typer.echo(f"{key}: {value}")
    else:
        for card in cards:
            typer.echo(f"{card.name:14} {card.summary}  [{card.source}]")
