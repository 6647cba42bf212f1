"""The registry of methods, with a card and a builder for each."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from labelwise.errors import LabelwiseError

# The modules that register methods; a method file is added here and nowhere else.
_MODULES = (
    "labelwise.methods.add_gcn",
    "labelwise.methods.baselines",
    "labelwise.methods.c_tran",
    "labelwise.methods.class_features",
    "labelwise.methods.csra",
    "labelwise.methods.dafl",
    "labelwise.methods.dlfl",
    "labelwise.methods.dsrb",
    "labelwise.methods.hst",
    "labelwise.methods.mcar",
    "labelwise.methods.ml_decoder",
    "labelwise.methods.ml_gcn",
    "labelwise.methods.query2label",
    "labelwise.methods.sarb",
    "labelwise.methods.ssgrl",
    "labelwise.methods.sst",
    "labelwise.methods.tdrg",
)
TERMS = ("blending", "contrast", "discriminative", "consistency", "pseudo", "rules")
"""Names of the additional terms of the loss, in their order; `NAME` is `NameTerm` of terms/NAME.py."""


@dataclass(frozen=True)
class Card:
    """The description of a method.

    Args:
        name: the id on the command line.
        summary: one line.
        task: its task.
        source: paper, or "baseline".
        standing: which parts are published and which are reconstructed.
        differences: deviations from the source, with reasons.
        licence: a note on the origin of the code.
    """

    name: str
    summary: str
    task: str
    source: str
    standing: str
    differences: str = ""
    licence: str = "Apache-2.0; written from the mathematics"
    defaults: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


Builder = Callable[..., Any]
_METHODS: dict[str, tuple[Card, Builder]] = {}


def register(card: Card) -> Callable[[Builder], Builder]:
    """Register a method's builder under its card's name."""

    def enter(build: Builder) -> Builder:
        _METHODS[card.name] = (card, build)
        return build

    return enter


def list_methods() -> list[str]:
    """Ids of all methods, sorted.

    >>> "dlfl" in list_methods()
    True
    """
    for module in _MODULES:
        import_module(module)
    return sorted(_METHODS)


def cards() -> dict[str, Card]:
    """The cards of all methods by id, sorted, read from the source text: importing the methods would load torch.

    A card's arguments are literals, or names of literals in its module.
    """
    by_name: dict[str, Card] = {}
    for module in _MODULES:
        file = Path(__file__).parent / "methods" / f"{module.rpartition('.')[2]}.py"
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names: dict[str, Any] = {}
        for line in tree.body:
            if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
                with suppress(ValueError):
                    names[line.targets[0].id] = ast.literal_eval(line.value)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Card":
                values = [_literal(value, names) for value in node.args]
                card = Card(*values, **{str(k.arg): _literal(k.value, names) for k in node.keywords})
                by_name[card.name] = card
    return dict(sorted(by_name.items()))


def _literal(node: ast.expr, names: Mapping[str, Any]) -> Any:
    return names[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node)


def method(name: str) -> tuple[Card, Builder]:
    """Card and builder of a method.

    Raises:
        LabelwiseError: no such method.
    """
    check_name(name, list_methods())
    return _METHODS[name]


def check_name(name: str, names: Iterable[str]) -> None:
    """Raises `LabelwiseError` for a name that is no method."""
    if name not in (known := list(names)):
        raise LabelwiseError(f"method {name!r}", f"one of {', '.join(known)}", "see labelwise methods")
