"""Every recipe parses, and each of its rows and each option of a method's extractor builds and gives logits."""

from __future__ import annotations

import csv
import dataclasses
import inspect
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import nn

from documents import ROOT
from labelwise.errors import LabelwiseError
from labelwise.experiments.demo import settings as demo_settings
from labelwise.experiments.sweep import merged
from labelwise.methods import create_method
from labelwise.options import options_model
from labelwise.registry import LOSSES, list_methods
from labelwise.runs.config import make_config
from labelwise.runs.plain_yaml import read_yaml
from labelwise.types import Batch, Group, LabelPriors, LabelSet, Targets

RECIPES = sorted(ROOT.glob("recipes/**/*.yaml"))
ROWS = [
    pytest.param(recipe, name, id=f"{recipe.stem}-{name}")
    for recipe in RECIPES
    for name in read_yaml(recipe)["rows"]
]


class TinyBackbone(nn.Module):
    """A map of eight channels at a quarter of the size."""

    out_channels, stride = 8, 4

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 4, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.convolution(images.float() / 255)


def build_and_step(name: str, grouped: bool = False, **options: Any) -> torch.Tensor:
    """Loss of one batch by a method on a tiny backbone, of labels in a group and images of 4 to 3 where `grouped`."""
    torch.manual_seed(0)
    labels = LabelSet(("a", "b", "c"), {"one": Group(("a", "b"))} if grouped else {})
    targets = Targets.of(torch.tensor([[1.0, 0.0, float("nan")], [0.0, 1.0, 1.0]]))
    priors = dataclasses.replace(LabelPriors.count(targets), vectors=torch.randn(3, 5))
    options = {"priors": priors, **options}
    method = create_method(name, labels, TinyBackbone(), **options)
    images = torch.randint(0, 256, (2, 3, 32, 24) if grouped else (2, 3, 16, 20), dtype=torch.uint8)
    loss = method.loss(Batch(images, targets, torch.arange(2)))["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())
    return loss


def values_of(parameter: inspect.Parameter, hint: Any) -> list[Any]:
    """Values of an option worth building beside its default: other literals, half a share, twice a number."""
    default = parameter.default
    if parameter.name == "stripes":
        return [{"a": [0.0, 0.5]}]
    if get_args(hint):
        return [value for value in get_args(hint) if value != default]
    if isinstance(default, bool):
        return [not default]
    if isinstance(default, float):
        return [default / 2]
    return [2 * default if default else 2]


def options_of(name: str) -> list[tuple[type, str, Any]]:
    """(extractor, option, value) of a method."""
    part = type(create_method(name, ["a"], TinyBackbone()).model.extractor)
    hints = get_type_hints(part.__init__)
    with pytest.raises(LabelwiseError) as error:
        create_method(name, ["a"], TinyBackbone(), extractor={"no_such_option": 1})
    offered = str(error.value).partition("expected one of ")[2].partition(";")[0].split(", ")
    taken = {k: inspect.signature(part).parameters[k] for k in offered}
    return [(part, k, value) for k, p in taken.items() for value in values_of(p, hints[k])]


def test_there_are_recipes() -> None:
    assert RECIPES


built: set[str] = set()
"""What has been built: many rows differ in their data, schedule or seed alone."""


@pytest.mark.parametrize(("recipe", "row"), ROWS)
def test_rows_of_recipes(recipe: Path, row: str) -> None:
    plan = read_yaml(recipe)
    assert set(plan) - {"proportions"} == {"settings", "rows", "seeds"}
    assert plan["seeds"] == sorted(set(plan["seeds"]))
    assert all(0 < p <= 1 for p in plan.get("proportions", []))
    config = make_config(merged(plan["settings"], plan["rows"][row] or {}, {"seed": plan["seeds"][0]}))
    parts: dict[str, Any] = {
        "name": config.method,
        "grouped": config.image_width > 0,
        "extractor": config.extractor,
        "relation": config.relation,
        "classifier": config.classifier,
        "loss": config.loss,
        "terms": config.terms(),
        "controls": config.controls,
    }
    if repr(parts) not in built:
        build_and_step(**parts)
        built.add(repr(parts))


def test_the_demonstration() -> None:
    config = make_config(demo_settings(seed=3))
    assert config.seed == 3
    build_and_step(config.method, extractor=config.extractor, loss=config.loss)


@pytest.mark.parametrize("name", list_methods())
def test_every_option_of_an_extractor_builds(name: str) -> None:
    """Methods offer what their extractors take, and an extractor of several is built with each option once."""
    build_and_step(name)
    for part, option, value in options_of(name):
        if repr(place := (part, option, value)) not in built:
            build_and_step(name, extractor={option: value})
            built.add(repr(place))


@pytest.mark.parametrize(
    "loss", [name for name, part in LOSSES.items() if "reduction" in options_model(part).model_fields]
)
def test_every_loss_and_reduction_builds(loss: str) -> None:
    for reduction in ("mean_known", "label_sum", "sum"):
        build_and_step("baseline-gap", loss={"name": loss, "reduction": reduction})


def test_every_measured_row_is_a_recipes_row() -> None:
    planned = {name for recipe in RECIPES for name in read_yaml(recipe)["rows"]}
    measured = {
        row["row"]
        for file in ROOT.glob("results/voc-*.csv")
        if file.stem != "voc-partial-first"  # settings of before, told in results/LOG.md
        for row in csv.DictReader(file.open(newline="", encoding="utf-8"))
        if "method" in row
    }
    assert measured - planned == set()
