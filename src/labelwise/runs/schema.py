"""The settings of a run with the options of every part: as a JSON schema, and as YAML with the meanings beside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from labelwise.composition.compose import Part
from labelwise.errors import LabelwiseError
from labelwise.methods.create import method_parts
from labelwise.options import checked_options, first_sentence, options_model
from labelwise.registry import (
    CLASSIFIERS,
    EXTRACTORS,
    LOSSES,
    METHODS,
    RELATIONS,
    STRATEGIES,
    TERMS,
    Registry,
)
from labelwise.runs.config import Config

DEFAULT_METHOD = "dlfl"
"""The method whose parts the options are of while `method` is auto."""
_PARTS: Mapping[str, Registry[type]] = {
    "extractor": EXTRACTORS,
    "relation": RELATIONS,
    "classifier": CLASSIFIERS,
}
_NAMED: Mapping[str, tuple[Registry[type], str, tuple[str, ...]]] = {
    "loss": (LOSSES, "asl", ()),
    "unknown": (STRATEGIES, "auto", ("auto", "ignore")),
}
"""Sections with a `name`: their registry, the default name, and names without options."""

Schema = dict[str, Any]


def json_schema() -> Schema:
    """The JSON schema of a settings file: every setting, the options of each part, and those of each method."""
    schema = Config.model_json_schema()
    definitions: Schema = schema["$defs"]
    schema["title"], schema["additionalProperties"] = "Settings of a Labelwise run", False
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    for section, (registry, default, plain) in _NAMED.items():
        schema["properties"][section] = _by_name(section, registry, default, plain, definitions)
    for name, term in TERMS.items():
        schema["properties"][name] = _options(term, name, definitions)
    for section, registry in _PARTS.items():
        for name, part in registry.items():
            _options(part, f"{section}.{name}", definitions, named=True)
        schema["properties"][section]["properties"] = {"name": {"enum": list(registry)}}
    schema["properties"]["teacher"] = {"anyOf": [schema["properties"]["teacher"], {"type": "string"}]}
    schema["properties"]["method"]["enum"] = ["auto", *METHODS]
    schema["allOf"] = [
        _if({"method": {"const": name}}, _of_method(name, definitions), ["method"]) for name in METHODS
    ]
    schema["allOf"].append(_if({"method": {"const": "auto"}}, _of_method(DEFAULT_METHOD, definitions)))
    return schema


def _of_method(name: str, definitions: Schema) -> Schema:
    """The sections of a method: the options of its own part, or of the part that the section names."""
    parts, sections = method_parts(name), {}
    for section, registry in _PARTS.items():
        own: Any = {"maxProperties": 0} if parts else {}
        if section in parts:
            part = parts[section]
            own = _options(part.kind, f"{name}.{section}", definitions, part.defaults, part.given)
        named = [
            _if({"name": {"const": other}}, {"$ref": f"#/$defs/{section}.{other}"}, ["name"])
            for other in registry
        ]
        sections[section] = {"allOf": [{"if": {"not": {"required": ["name"]}}, "then": own}, *named]}
    return {"properties": sections}


def _by_name(
    section: str, registry: Registry[type], default: str, plain: Iterable[str], definitions: Schema
) -> Schema:
    """A section whose `name` decides its options."""
    none = {"properties": {"name": True}, "additionalProperties": False}
    cases = [(name, none) for name in plain]
    cases += [
        (name, _options(part, f"{section}.{name}", definitions, named=True))
        for name, part in registry.items()
    ]
    chosen = [_if({"name": {"const": name}}, options, ["name"]) for name, options in cases]
    otherwise = {"if": {"not": {"required": ["name"]}}, "then": dict(cases)[default]}
    names = {"enum": [name for name, _ in cases], "default": default}
    return {"type": "object", "properties": {"name": names}, "allOf": [*chosen, otherwise]}


def _options(
    part: type,
    name: str,
    definitions: Schema,
    defaults: Mapping[str, Any] | None = None,
    given: Iterable[str] = (),
    named: bool = False,
) -> Schema:
    """The schema of a part's options, entered into the definitions under a name."""
    schema = options_model(part).model_json_schema()
    schema["title"] = name
    properties = {key: one for key, one in schema["properties"].items() if key not in given}
    for key, value in (defaults or {}).items():
        properties[key] = {**properties[key], "default": value}
    schema["properties"] = {**({"name": True} if named else {}), **properties}
    definitions.update(schema.pop("$defs", {}))
    definitions[name] = schema
    return {"$ref": f"#/$defs/{name}"}


def _if(properties: Schema, then: Schema, required: Iterable[str] = ()) -> Schema:
    return {"if": {"properties": properties, "required": list(required)}, "then": then}


def described_yaml(config: Config) -> str:
    """The settings as YAML, with the meaning of each beside it; options that are not set are comments.

    `labelwise train --config` reads the same settings from it.

    Raises:
        LabelwiseError: an option that a part does not take.
    """
    parts = method_parts(DEFAULT_METHOD if config.method == "auto" else config.method)
    lines: list[str] = []
    for name, value in config.model_dump(mode="json", exclude=set(config.terms())).items():
        field = Config.model_fields[name]
        if name in _PARTS or name in _NAMED:
            lines += _section(name, value, field.description or "", *_chosen(name, value, parts))
        elif isinstance(value, dict):
            meanings = {key: one.description for key, one in field.annotation.model_fields.items()}  # type: ignore[union-attr]
            lines += [f"{name}:", *(f"  {_line(key, one, meanings.get(key))}" for key, one in value.items())]
        else:
            lines.append(_line(name, value, field.description))
    for name, term in TERMS.items():
        changed = parts[name].defaults if name in parts else {}
        lines += _section(name, config.terms().get(name, {}), first_sentence(term), term, changed)
    return "\n".join(lines) + "\n"


def _chosen(section: str, value: Mapping[str, Any], parts: Mapping[str, Part]) -> tuple[Any, ...]:
    """Class, changed defaults and fixed arguments of the part that a section configures; empty without one."""
    registry, _, plain = _NAMED.get(section, (_PARTS.get(section), "", ()))
    if "name" in value and registry is not None:
        return () if value["name"] in plain else (registry[value["name"]],)
    if section in parts:
        return parts[section].kind, parts[section].defaults, parts[section].given
    if value and parts:
        raise LabelwiseError(f"{section}.{next(iter(value))}", f"a method with a {section}", "leave it out")
    return ()


def _section(
    name: str,
    value: Mapping[str, Any],
    meaning: str,
    part: type | None = None,
    defaults: Mapping[str, Any] | None = None,
    given: Iterable[str] = (),
) -> list[str]:
    """A section of options: those that are set, and the defaults of the others as comments.

    Raises:
        LabelwiseError: an option that the part does not take.
    """
    if part is not None:
        checked_options(part, {key: one for key, one in value.items() if key != "name"}, name, set(given))
    fields = {} if part is None else options_model(part).model_fields
    left = {key: (defaults or {}).get(key, field.default) for key, field in fields.items()}
    meanings = {key: field.description for key, field in fields.items()}
    set_ones = [f"  {_line(key, one, meanings.get(key))}" for key, one in value.items()]
    others = [_line(key, left[key], meanings[key]) for key in left if key not in value and key not in given]
    if value:
        return [f"{name}:  # {meaning}", *set_ones, *(f"  # {line}" for line in others)]
    return [f"# {name}:  # {meaning}", *(f"#   {line}" for line in others)] if others else []


def _line(name: str, value: Any, meaning: str | None) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    text = text.removesuffix("\n").removesuffix("\n...")
    return f"{name}: {text}" + (f"  # {' '.join(meaning.split())}" if meaning else "")
