"""Writes docs/settings.md from the settings themselves: `python docs/settings.py`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from labelwise import classifiers, extractors, losses, relations
from labelwise.losses.strategies import STRATEGIES
from labelwise.methods.terms import TERMS
from labelwise.training.config import Config

HEAD = """# Settings

Every setting of a run. `labelwise train --config FILE` reads them from YAML, `--set a.b=c` lays single ones over \
it, and `RUN/config.yaml` holds all of them as they were. A wrong name or value is refused by its dotted name. \
`augment.image_size` follows `image_size`. This page is written by `python docs/settings.py`; a test compares.
"""
EXTRACTORS = {
    "dlfl, dafl": extractors.QueryAttention,
    "baseline-gap, baseline-gmp, baseline-mlp, ml-gcn": extractors.Pooled,
    "query2label": extractors.Query2Label,
    "ml-decoder": extractors.MLDecoder,
    "c-tran": extractors.CTran,
    "class-features, add-gcn": extractors.ClassActivation,
    "csra": extractors.ResidualAttention,
    "mcar": extractors.RegionAttention,
    "tdrg": extractors.DualRelations,
    "ssgrl, dsrb, sarb, sst, hst": extractors.SemanticDecoupling,
}
RELATIONS = {
    "ssgrl, dsrb, sarb, sst, hst": relations.GGNN,
}
CLASSIFIERS = {
    "ml-gcn": classifiers.GraphClassifier,
}
LOSSES = {
    "asl": losses.AsymmetricLoss,
    "bce": losses.BinaryCrossEntropy,
    "weighted-bce": losses.WeightedBinaryCrossEntropy,
    "focal": losses.FocalLoss,
    "two-way": losses.TwoWayLoss,
    "logit-adjusted": losses.LogitAdjustedLoss,
    "distribution-balanced": losses.DistributionBalancedLoss,
}
SIGNS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}


def page() -> str:
    """The whole page."""
    parts = [HEAD, table("A run", fields(Config))]
    parts += [table(title, rows) for title, rows in nested(Config)]
    parts.append(
        "## `extractor`\n\nOptions of the method's extractor; a method's page says which it changes.\n"
    )
    parts += [table(name, options(part), "###") for name, part in EXTRACTORS.items()]
    parts.append("## `relation`\n\nOptions of the part between label features and classifier.\n")
    parts += [table(name, options(part), "###") for name, part in RELATIONS.items()]
    parts.append("## `classifier`\n\nOptions of classifiers that have any.\n")
    parts += [table(name, options(part), "###") for name, part in CLASSIFIERS.items()]
    parts.append("## `loss`\n\n`loss.name` chooses, and the other options are the loss's own.\n")
    parts += [table(name, options(part), "###") for name, part in LOSSES.items()]
    parts.append("## `unknown`\n\n`unknown.name` chooses; see [partial-labels.md](partial-labels.md).\n")
    parts += [table(name, options(part), "###") for name, part in STRATEGIES.items() if options_of(part)]
    parts.append("## Further terms of the loss\n\nOver any method; a `weight` of 0 leaves a term out.\n")
    parts += [table(f"`{name}`", options(part, f"{name}."), "###") for name, part in TERMS.items()]
    return "\n".join(parts)


def table(title: str, rows: Iterator[tuple[str, str, str, str]], level: str = "##") -> str:
    """A titled table."""
    head = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    body = [f"| `{name}` | {kind} | {default} | {meaning} |" for name, kind, default, meaning in rows]
    return "\n".join([f"{level} {title}", "", *head, *body, ""])


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Rows of the settings of a model that are not models themselves."""
    for name, info in model.model_fields.items():
        if not is_model(info.annotation):
            yield prefix + name, kind_of(info), default_of(info), info.description or ""


def nested(model: type[BaseModel]) -> Iterator[tuple[str, Iterator[tuple[str, str, str, str]]]]:
    """Title and rows of each model inside a model."""
    for name, info in model.model_fields.items():
        if is_model(info.annotation):
            yield f"`{name}`", fields(info.annotation, f"{name}.")


def is_model(annotation: Any) -> bool:
    """Whether a setting holds settings."""
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def kind_of(info: FieldInfo) -> str:
    """A type in words, with its range."""
    limits = [
        f"{SIGNS[type(m)][0]} {getattr(m, SIGNS[type(m)][1])}" for m in info.metadata if type(m) in SIGNS
    ]
    return ", ".join([spelt(info.annotation), *limits])


def spelt(hint: Any) -> str:
    """A type hint in words."""
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
    words = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    return words.get(hint.__name__, hint.__name__)


def default_of(info: FieldInfo) -> str:
    """A default as YAML shows it."""
    if info.default_factory is not None:
        return shown(info.default_factory())  # type: ignore[call-arg]
    return "needed" if info.default is PydanticUndefined else shown(info.default)


def shown(value: Any) -> str:
    """A value as YAML shows it."""
    if isinstance(value, dict):
        return f"`{{{', '.join(f'{k}: {v}' for k, v in value.items())}}}`"
    if value == "":
        return "none"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def options(part: type, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Rows of the options of a part, explained by its docstring."""
    told = explained(part)
    hints = get_type_hints(part.__init__)  # type: ignore[misc]
    for name, parameter in inspect.signature(part).parameters.items():
        if parameter.default is not inspect.Parameter.empty and name != "text":  # a method passes it
            yield prefix + name, spelt(hints[name]), shown(parameter.default), told.get(name, "")


def options_of(part: type) -> list[str]:
    """Names of the options that a part has."""
    return [name for name, *_ in options(part)]


def explained(part: type) -> dict[str, str]:
    """Meaning of each argument, from the `Args:` of a docstring."""
    section = (inspect.getdoc(part) or "").partition("Args:\n")[2].partition("\n\n")[0]
    joined = re.sub(r"\n {8,}", " ", section)
    found = dict(re.findall(r"^ {4}(\w+): (.+)$", joined, re.MULTILINE))
    return {name: text.rstrip(".").replace("|", "\\|") for name, text in found.items()}


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page(), encoding="utf-8")
