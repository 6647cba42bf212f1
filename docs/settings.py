"""Write docs/settings.md from the settings classes: `python docs/settings.py`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from labelwise.methods.create import method_parts
from labelwise.options import first_sentence, options_model
from labelwise.registry import CLASSIFIERS, EXTRACTORS, LOSSES, METHODS, RELATIONS, STRATEGIES, TERMS
from labelwise.runs.config import Config

HEAD = """# Settings

This page lists every setting of a run. `labelwise train --config FILE` reads them from YAML, `--set a.b=c` \
overrides single ones, and `RUN/config.yaml` stores all of them. An error for a wrong name or value gives the dotted \
name. `augment.image_size` follows `image_size`. `labelwise train --print-config` prints all of them, \
those that are set and the defaults of the others, and trains nothing. `python docs/settings.py` generates this page, \
and a test compares it.

Editors complete and check a settings file by its schema. Write it once, and name it in the file's first line:

```
labelwise train --json-schema > labelwise.schema.json
```

```yaml
# yaml-language-server: $schema=labelwise.schema.json
method: dlfl
```

Packages add parts of their own, see [extending.md](extending.md); their options then stand in both.
"""
PARTS = {"extractor": EXTRACTORS, "relation": RELATIONS, "classifier": CLASSIFIERS}
INTRODUCTIONS = {
    "extractor": "Options of the method's extractor; the page of a method names the ones it changes. In brackets are "
    "the methods that use one; `extractor.name` selects another in place of the method's own.",
    "relation": "Options of the relation between label features and classifier; `relation.name` selects another.",
    "classifier": "Options of classifiers; `classifier.name` selects another.",
    "loss": "`loss.name` selects the loss; the other options are its own.",
    "unknown": "`unknown.name` selects the strategy, see [partial-labels.md](partial-labels.md).",
}
SIGNS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}


def page() -> str:
    """Return the whole page."""
    parts = [HEAD, table("A run", fields(Config))]
    parts += [table(title, rows) for title, rows in nested(Config)]
    for section, registry in PARTS.items():
        parts.append(f"## `{section}`\n\n{INTRODUCTIONS[section]}\n")
        for name, part in registry.items():
            methods = [m for m in METHODS if (own := method_parts(m).get(section)) and own.kind is part]
            title = f"{name} ({', '.join(methods)})" if methods else name
            parts += options(title, part)
    for section, registry in {"loss": LOSSES, "unknown": STRATEGIES}.items():
        parts.append(f"## `{section}`\n\n{INTRODUCTIONS[section]}\n")
        parts += [text for name, part in registry.items() for text in options(name, part)]
    parts.append("## Loss terms\n\nThey work with any method; a `weight` of 0 disables a term.\n")
    parts += [text for name, part in TERMS.items() for text in options(f"`{name}`", part, f"{name}.")]
    return "\n".join(parts)


def table(title: str, rows: Iterator[tuple[str, str, str, str]], level: str = "##") -> str:
    """Return a table with a title."""
    head = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    cells = ((name, kind, default, meaning.replace("|", "\\|")) for name, kind, default, meaning in rows)
    body = [f"| `{name}` | {kind} | {default} | {meaning} |" for name, kind, default, meaning in cells]
    return "\n".join([f"{level} {title}", "", *head, *body, ""])


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield the rows of a model's settings, without nested models."""
    for name, info in model.model_fields.items():
        if not is_model(info.annotation):
            yield prefix + name, kind_of(info), default_of(info), info.description or ""


def nested(model: type[BaseModel]) -> Iterator[tuple[str, Iterator[tuple[str, str, str, str]]]]:
    """Yield title and rows of each nested model."""
    for name, info in model.model_fields.items():
        if is_model(info.annotation):
            yield f"`{name}`", fields(info.annotation, f"{name}.")


def is_model(annotation: Any) -> bool:
    """Whether a setting is a nested model."""
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def kind_of(info: FieldInfo) -> str:
    """Describe a type with its range."""
    limits = [
        f"{SIGNS[type(m)][0]} {getattr(m, SIGNS[type(m)][1])}" for m in info.metadata if type(m) in SIGNS
    ]
    return ", ".join([spelt(info.annotation), *limits])


def spelt(hint: Any) -> str:
    """Describe a type hint."""
    if get_origin(hint) is Literal:
        return " \\| ".join(f"`{value}`" for value in get_args(hint))
    if get_origin(hint) is Annotated:
        return spelt(get_args(hint)[0])
    origin, inner = get_origin(hint), [spelt(a) for a in get_args(hint) if a is not Ellipsis]
    if origin in (tuple, list):
        return f"list of {inner[0]}"
    if origin is dict:
        return "options"
    if inner:
        return " or ".join(dict.fromkeys(inner))
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    return names.get(hint.__name__, hint.__name__)


def default_of(info: FieldInfo) -> str:
    """Return a default in YAML notation."""
    if info.default_factory is not None:
        return shown(info.default_factory())  # type: ignore[call-arg]
    return "required" if info.default is PydanticUndefined else shown(info.default)


def shown(value: Any) -> str:
    """Return a value in YAML notation."""
    if isinstance(value, dict):
        return f"`{{{', '.join(f'{k}: {v}' for k, v in value.items())}}}`"
    if value == "":
        return "none"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def options(title: str, part: type, prefix: str = "") -> list[str]:
    """Return the first sentence of a part, and the table of its options if it has any."""
    rows = list(fields(options_model(part), prefix))
    text = f"{title}\n\n{first_sentence(part)}"
    return [table(text, iter(rows), "###")] if rows else [f"### {text}\n"]


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page(), encoding="utf-8")
