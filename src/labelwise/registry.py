"""Parts by name: methods, extractors, relations, classifiers, losses, unknown strategies, terms and readers.

A part is registered where it is defined, `@LOSSES.register("asl")`, in a module of the subpackage of its kind. Names
are read from the source text of that subpackage, so that listing them imports nothing, and a part's module is imported
when the part is needed. Another package names its module in an entry point of the same group; see docs/extending.md.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from labelwise.errors import LabelwiseError, advice, first_line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Entry = TypeVar("Entry")
Object = TypeVar("Object", bound=Callable[..., Any])


class Registry(Mapping[str, Entry]):
    """The parts of one kind by name.

    Args:
        kind: what one part is called in messages.
        package: subpackage whose modules register the built-in ones.
        section: section of their options in the settings; empty for sections that are called as the part.
        group: of the entry points of other packages; by default the subpackage.
        pattern: regular expression that finds the names in the source text, as its first group.
        first: names that come first, where the order matters.
    """

    content = "a module that can be imported and registers it"
    """What an entry point must name, for errors."""

    def __init__(
        self,
        kind: str,
        package: str,
        section: str = "",
        group: str = "",
        pattern: str = "",
        first: tuple[str, ...] = (),
    ) -> None:
        self.kind, self.package, self.section, self.group = kind, package, section, group or package
        self._pattern, self._first = re.compile(pattern, re.MULTILINE), first
        self._entries: dict[str, Entry] = {}

    @cached_property
    def built_in(self) -> Mapping[str, str]:
        """Names of the built-in parts, with their modules."""
        folder = Path(__file__).parents[1] / self.package.replace(".", "/")
        modules: dict[str, str] = {}
        for file in sorted(folder.glob("*.py")):
            for match in self._pattern.finditer(file.read_text(encoding="utf-8")):
                modules[match[1] if match.re.groups else file.stem] = f"{self.package}.{file.stem}"
        return {name: modules[name] for name in sorted(modules, key=self._sort_key)}

    def _sort_key(self, name: str) -> tuple[int, str]:
        """The first names in their order, then the others."""
        return self._first.index(name) if name in self._first else len(self._first), name

    def _foreign_entries(self, name: str) -> list[EntryPoint]:
        """Entry points of a name in other packages."""
        return [entry for entry in _entry_points(self.group, tuple(sys.path)) if entry.name == name]

    def names(self) -> list[str]:
        """Names of all parts: built in, registered in this process, and of other packages. Imports none of them."""
        foreign = {entry.name for entry in _entry_points(self.group, tuple(sys.path))}
        return [*self.built_in, *sorted((foreign | set(self._entries)) - set(self.built_in))]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __getitem__(self, name: str) -> Entry:
        """The part of a name, from its module, which is imported if needed.

        Raises:
            LabelwiseError: no such part, a name that two packages use, or a package that cannot be imported.
        """
        foreign = self._foreign_entries(name)
        owners = [*(["labelwise"] if name in self.built_in else []), *map(_package_name, foreign)]
        if len(owners) > 1:
            raise LabelwiseError(
                f"{self.kind} {name!r} of {' and of '.join(owners)}",
                "each name in one package",
                f"remove {owners[-1]}, or rename its entry point of {self.group}",
            )
        if name not in self._entries:
            if name in self.built_in:
                self._add(name, import_module(self.built_in[name]))
            elif foreign:
                self._load(name, foreign[0])
            else:
                self.refuse_unknown(name)
        return self._entries[name]

    def refuse_unknown(self, name: str) -> None:
        """Raises `LabelwiseError` for a name that no part has."""
        if name not in (known := self.names()):
            raise LabelwiseError(f"{self.kind} {name!r}", f"one of {', '.join(known)}", advice(name, known))

    def register(self, name: str) -> Callable[[Object], Object]:
        """Register a class or function under a name, as a decorator; a class then checks its options.

        Raises:
            LabelwiseError: another one has the name.
        """
        from labelwise.options import checking  # loads pydantic, which names alone do not need

        def enter(part: Object) -> Object:
            self._enter(name, part, part)  # type: ignore[arg-type]
            return checking(self.section or name)(part) if isinstance(part, type) else part

        return enter

    def _enter(self, name: str, part: Any, entry: Entry) -> None:
        """Enter a part, or the same part again if its module was loaded again."""
        existing = self._entries.get(name)
        existing = existing[1] if isinstance(existing, tuple) else existing
        owner = getattr(existing, "__module__", None) or self.built_in.get(name, part.__module__)
        if owner != part.__module__:
            raise LabelwiseError(
                f"{self.kind} {name!r} of {part.__module__}", f"a name that {owner} does not use", "rename it"
            )
        self._entries[name] = entry

    def _add(self, name: str, loaded: Any) -> None:
        """Enter what an imported module or entry point holds, where that did not register it."""
        if name not in self._entries:
            if not callable(loaded):
                raise TypeError(f"it registers no {self.kind} {name!r}")
            self.register(name)(loaded)

    def _load(self, name: str, entry: EntryPoint) -> None:
        """Imports an entry point and enters its part."""
        try:
            self._add(name, entry.load())
        except Exception as error:  # a module may raise anything when it is imported
            raise LabelwiseError(
                f"{self.kind} {name!r} of {_package_name(entry)}, {entry.value} ({first_line(error)})",
                self.content,
                "correct or remove that package",
            ) from None


@cache
def _entry_points(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Entry points of a group; read once for each state of the path of imports."""
    from importlib.metadata import entry_points  # slow to import, and names may never be listed

    return tuple(entry_points(group=group))


def _package_name(entry: EntryPoint) -> str:
    return f"package {entry.dist.name}" if entry.dist else f"the package of {entry.value}"


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


class MethodRegistry(Registry[tuple[Card, Builder]]):
    """The methods by id, each with its card and its builder."""

    def register(self, card: Card) -> Callable[[Object], Object]:  # type: ignore[override]
        """Register the builder of a method under its card's name, as a decorator."""

        def enter(build: Object) -> Object:
            self._enter(card.name, build, (card, build))
            return build

        return enter

    def _add(self, name: str, loaded: Any) -> None:
        if name not in self._entries:
            raise TypeError(f"it registers no {self.kind} {name!r}")

    def cards(self) -> dict[str, Card]:
        """The cards of all methods by id, sorted, read from the source text: importing the methods would load torch.

        A card's arguments are literals, or names of literals in its module.

        Raises:
            LabelwiseError: a package whose module is not found, or holds no such card.
        """
        cards: dict[str, Card] = {}
        for name in self:
            module = self.built_in.get(name) or next((e.module for e in self._foreign_entries(name)), "")
            cards[name] = _cards_of(module).get(name) or self[name][0]
        return dict(sorted(cards.items()))


def _cards_of(module: str) -> dict[str, Card]:
    """The cards in the source text of a module, if it is found."""
    file = Path(__file__).parents[1] / f"{module.replace('.', '/')}.py"
    if not file.is_file():
        spec = None
        with suppress(ImportError, ValueError):
            spec = find_spec(module) if module else None
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            return {}
        file = Path(spec.origin)
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            with suppress(ValueError):
                names[statement.targets[0].id] = ast.literal_eval(statement.value)
    cards = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Card":
            values = [_literal(value, names) for value in node.args]
            card = Card(*values, **{str(k.arg): _literal(k.value, names) for k in node.keywords})
            cards[card.name] = card
    return cards


def _literal(node: ast.expr, names: Mapping[str, Any]) -> Any:
    return names[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node)


def _pattern_of(variable: str) -> str:
    """The pattern of a registry's decorator with a name."""
    return rf'^@{variable}\.register\(\s*"([^"]+)"'


METHODS = MethodRegistry("method", "labelwise.methods", pattern=r'\bCard\(\s*(?:name=)?"([^"]+)"')
EXTRACTORS: Registry[type] = Registry(
    "extractor", "labelwise.extractors", "extractor", pattern=_pattern_of("EXTRACTORS")
)
RELATIONS: Registry[type] = Registry(
    "relation", "labelwise.relations", "relation", pattern=_pattern_of("RELATIONS")
)
CLASSIFIERS: Registry[type] = Registry(
    "classifier", "labelwise.classifiers", "classifier", pattern=_pattern_of("CLASSIFIERS")
)
LOSSES: Registry[type] = Registry("loss", "labelwise.losses", "loss", pattern=_pattern_of("LOSSES"))
STRATEGIES: Registry[Any] = Registry(
    "unknown strategy", "labelwise.losses", "unknown", "labelwise.strategies", _pattern_of("STRATEGIES")
)
# A sum of losses depends on their order in its last bits, so that of the first terms stays.
TERMS: Registry[type] = Registry(
    "term", "labelwise.terms", pattern=_pattern_of("TERMS"), first=("blending", "contrast", "discriminative")
)


def list_methods() -> list[str]:
    """Ids of all methods, sorted.

    >>> "dlfl" in list_methods()
    True
    """
    return sorted(METHODS)
