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
    for section, (registry, default, no_options) in _NAMED.items():
        schema["properties"][section] = _named_schema(section, registry, default, no_options, definitions)
    for name, term in TERMS.items():
        schema["properties"][name] = _options_ref(term, name, definitions)
    for section, registry in _PARTS.items():
        for name, part in registry.items():
            _options_ref(part, f"{section}.{name}", definitions, named=True)
        schema["properties"][section]["properties"] = {"name": {"enum": list(registry)}}
    controls = schema["properties"]["controls"]
    schema["properties"]["controls"] = {"anyOf": [controls, controls["items"]]}
    schema["properties"]["teacher"] = {"anyOf": [schema["properties"]["teacher"], {"type": "string"}]}
    schema["properties"]["method"]["enum"] = ["auto", *METHODS]
    schema["allOf"] = [
        _when({"method": {"const": name}}, _method_schema(name, definitions), ["method"]) for name in METHODS
    ]
    schema["allOf"].append(_when({"method": {"const": "auto"}}, _method_schema(DEFAULT_METHOD, definitions)))
    return schema


def _method_schema(name: str, definitions: Schema) -> Schema:
    """The sections of a method: the options of its own part, or of the part that the section names."""
    parts, sections = method_parts(name), {}
    for section, registry in _PARTS.items():
        unnamed: Any = {"maxProperties": 0} if parts else {}
        if section in parts:
            part = parts[section]
            unnamed = _options_ref(part.kind, f"{name}.{section}", definitions, part.defaults, part.given)
        by_name = [
            _when({"name": {"const": part_name}}, {"$ref": f"#/$defs/{section}.{part_name}"}, ["name"])
            for part_name in registry
        ]
        sections[section] = {"allOf": [{"if": {"not": {"required": ["name"]}}, "then": unnamed}, *by_name]}
    return {"properties": sections}


def _named_schema(
    section: str, registry: Registry[type], default: str, no_options: Iterable[str], definitions: Schema
) -> Schema:
    """A section whose `name` decides its options."""
    empty = {"properties": {"name": True}, "additionalProperties": False}
    cases = [(name, empty) for name in no_options]
    cases += [
        (name, _options_ref(part, f"{section}.{name}", definitions, named=True))
        for name, part in registry.items()
    ]
    conditions = [_when({"name": {"const": name}}, options, ["name"]) for name, options in cases]
    otherwise = {"if": {"not": {"required": ["name"]}}, "then": dict(cases)[default]}
    names = {"enum": [name for name, _ in cases], "default": default}
    return {"type": "object", "properties": {"name": names}, "allOf": [*conditions, otherwise]}


def _options_ref(
    part: type,
    name: str,
    definitions: Schema,
    defaults: Mapping[str, Any] | None = None,
    fixed: Iterable[str] = (),
    named: bool = False,
) -> Schema:
    """A reference to the schema of a part's options, which is entered into the definitions under a name."""
    schema = options_model(part).model_json_schema()
    schema["title"] = name
    properties = {key: option for key, option in schema["properties"].items() if key not in fixed}
    for key, value in (defaults or {}).items():
        properties[key] = {**properties[key], "default": value}
    schema["properties"] = {**({"name": True} if named else {}), **properties}
    definitions.update(schema.pop("$defs", {}))
    definitions[name] = schema
    return {"$ref": f"#/$defs/{name}"}


def _when(properties: Schema, then: Schema, required: Iterable[str] = ()) -> Schema:
    """`then` must hold for an object that has the required names and these properties."""
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
            lines += _section_lines(name, value, field.description or "", *_part_of(name, value, parts))
        elif isinstance(value, dict):
            meanings = {k: v.description for k, v in field.annotation.model_fields.items()}  # type: ignore[union-attr]
            lines += [f"{name}:", *(f"  {_setting_line(k, v, meanings.get(k))}" for k, v in value.items())]
        else:
            lines.append(_setting_line(name, value, field.description))
    for name, term in TERMS.items():
        changed = parts[name].defaults if name in parts else {}
        lines += _section_lines(name, config.terms().get(name, {}), first_sentence(term), term, changed)
    return "\n".join(lines) + "\n"


def _part_of(section: str, value: Mapping[str, Any], parts: Mapping[str, Part]) -> tuple[Any, ...]:
    """Class, changed defaults and fixed arguments of the part that a section configures; empty without one."""
    registry, _, no_options = _NAMED.get(section, (_PARTS.get(section), "", ()))
    if "name" in value and registry is not None:
        return () if value["name"] in no_options else (registry[value["name"]],)
    if section in parts:
        return parts[section].kind, parts[section].defaults, parts[section].given
    if value and parts:
        raise LabelwiseError(f"{section}.{next(iter(value))}", f"a method with a {section}", "leave it out")
    return ()


def _section_lines(
    name: str,
    value: Mapping[str, Any],
    meaning: str,
    part: type | None = None,
    defaults: Mapping[str, Any] | None = None,
    fixed: Iterable[str] = (),
) -> list[str]:
    """A section of options: those that are set, and the defaults of the others as comments.

    Raises:
        LabelwiseError: an option that the part does not take.
    """
    if part is not None:
        checked_options(part, {k: v for k, v in value.items() if k != "name"}, name, set(fixed))
    fields = {} if part is None else options_model(part).model_fields
    effective = {k: (defaults or {}).get(k, field.default) for k, field in fields.items()}
    meanings = {k: field.description for k, field in fields.items()}
    set_lines = [f"  {_setting_line(k, v, meanings.get(k))}" for k, v in value.items()]
    default_lines = [
        _setting_line(k, effective[k], meanings[k]) for k in effective if k not in value and k not in fixed
    ]
    if value:
        return [f"{name}:  # {meaning}", *set_lines, *(f"  # {line}" for line in default_lines)]
    return [f"# {name}:  # {meaning}", *(f"#   {line}" for line in default_lines)] if default_lines else []


def _setting_line(name: str, value: Any, meaning: str | None) -> str:
    """A setting as YAML in one line, with its meaning as a comment."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    text = text.removesuffix("\n").removesuffix("\n...")
    return f"{name}: {text}" + (f"  # {' '.join(meaning.split())}" if meaning else "")
