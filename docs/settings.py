"""Write docs/settings.md from the settings classes: `python docs/settings.py`."""

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
from labelwise.methods.terms import TERM_CLASSES
from labelwise.training.config import Config

HEAD = """# Settings

This page lists every setting of a run. `labelwise train --config FILE` reads them from YAML, `--set a.b=c` \
overrides single ones, and `RUN/config.yaml` stores all of them. An error for a wrong name or value gives the dotted \
name. `augment.image_size` follows `image_size`. `python docs/settings.py` generates this page, and a test compares it.
"""
EXTRACTORS = {
    "dlfl, dafl": extractors.QueryAttention,
    "baseline-gap, baseline-gmp, baseline-mlp, ml-gcn": extractors.Pooled,
    "baseline-stripes": extractors.Stripes,
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
    """Return the whole page."""
    parts = [HEAD, table("A run", fields(Config))]
    parts += [table(title, rows) for title, rows in nested(Config)]
    parts.append(
        "## `extractor`\n\nOptions of the method's extractor; the page of a method names the ones it changes.\n"
    )
    parts += [table(name, options(part), "###") for name, part in EXTRACTORS.items()]
    parts.append("## `relation`\n\nOptions of the relation between label features and classifier.\n")
    parts += [table(name, options(part), "###") for name, part in RELATIONS.items()]
    parts.append("## `classifier`\n\nOptions of classifiers.\n")
    parts += [table(name, options(part), "###") for name, part in CLASSIFIERS.items()]
    parts.append("## `loss`\n\n`loss.name` selects the loss; the other options are its own.\n")
    parts += [table(name, options(part), "###") for name, part in LOSSES.items()]
    parts.append(
        "## `unknown`\n\n`unknown.name` selects the strategy, see [partial-labels.md](partial-labels.md).\n"
    )
    parts += [table(name, options(part), "###") for name, part in STRATEGIES.items() if options_of(part)]
    parts.append("## Loss terms\n\nThey work with any method; a `weight` of 0 disables a term.\n")
    parts += [table(f"`{name}`", options(part, f"{name}."), "###") for name, part in TERM_CLASSES.items()]
    return "\n".join(parts)


def table(title: str, rows: Iterator[tuple[str, str, str, str]], level: str = "##") -> str:
    """Return a table with a title."""
    head = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    body = [f"| `{name}` | {kind} | {default} | {meaning} |" for name, kind, default, meaning in rows]
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


def options(part: type, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield the rows of a part's options, with meanings from its docstring."""
    meanings = explained(part)
    hints = get_type_hints(part.__init__)  # type: ignore[misc]
    for name, parameter in inspect.signature(part).parameters.items():
        if parameter.default is not inspect.Parameter.empty and name != "text":  # a method passes it
            yield prefix + name, spelt(hints[name]), shown(parameter.default), meanings.get(name, "")


def options_of(part: type) -> list[str]:
    """Return the names of a part's options."""
    return [name for name, *_ in options(part)]


def explained(part: type) -> dict[str, str]:
    """Return the meaning of each argument, from the `Args:` of a docstring."""
    section = (inspect.getdoc(part) or "").partition("Args:\n")[2].partition("\n\n")[0]
    joined = re.sub(r"\n {8,}", " ", section)
    arguments = re.findall(r"^ {4}(\w+): (.+)$", joined, re.MULTILINE)
    return {name: text.rstrip(".").replace("|", "\\|") for name, text in arguments}


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page(), encoding="utf-8")
