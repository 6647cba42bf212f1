"""The JSON schema of settings, and settings printed with their meanings: both agree with what a run accepts."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from labelwise.errors import LabelwiseError
from labelwise.experiments.sweep import merged
from labelwise.options import options_model
from labelwise.registry import LOSSES, METHODS, STRATEGIES, TERMS
from labelwise.runs.config import make_config
from labelwise.runs.schema import described_yaml, json_schema
from tiny_runs import command

DATA = {"data": {"source": "digits:"}}
ROOT = Path(__file__).resolve().parents[2]


@cache  # not at import: every worker imports this file, and one runs it
def validator() -> jsonschema.Draft202012Validator:
    """What settings are held against."""
    return jsonschema.Draft202012Validator(json_schema())


def faults(settings: dict[str, Any]) -> list[str]:
    """Places of what the schema refuses."""
    return [error.json_path for error in validator().iter_errors({**DATA, **settings})]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(validator().schema)
    assert json.loads(command("train", "--json-schema").out) == validator().schema


@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_resolved_settings_of_each_method_fit_the_schema(method: str) -> None:
    settings = make_config({**DATA, "method": method}).model_dump(mode="json")
    assert faults(settings) == []


def test_recipes_fit_the_schema() -> None:

    for recipe in sorted(ROOT.glob("recipes/**/*.yaml")):
        plan = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        for name, row in plan["rows"].items():
            assert faults(merged(plan["settings"], row or {})) == [], f"{recipe.name}, {name}"


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": {"name": "focal", "gamma": 1}},
        {"loss": {"margin": 0.05}},
        {"unknown": {"name": "splc", "tau": 0.5}},
        {"method": "dlfl", "extractor": {"heads": 4}},
        {"extractor": {"heads": 4}},
        {"method": "dlfl", "extractor": {"name": "pooled", "hidden": 8}},
        {"method": "ssgrl", "relation": {"steps": 1}},
        {"blending": {"weight": 1.0, "prototypes": "kmeans"}},
        {"controls": "no-edges"},
        {"controls": ["uniform-attention", "no-edges"]},
    ],
)
def test_options_that_a_run_takes_fit(settings: dict[str, Any]) -> None:
    assert faults(settings) == []
    described_yaml(make_config({**DATA, **settings}))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"loss": {"name": "focal", "margin": 1}}, "loss.margin; expected one of gamma, alpha, reduction; "),
        (
            {"loss": {"gamma_negative": -1}},
            "loss.gamma_negative=-1; expected a number from 0; correct the option",
        ),
        ({"loss": {"name": "fokal"}}, "loss 'fokal'; expected one of asl, "),
        ({"unknown": {"name": "splc", "tau": 2}}, "unknown.tau=2; expected a number from 0 to 1; "),
        (
            {"method": "csra", "extractor": {"normalise": "men"}},
            "extractor.normalise='men'; expected one of none, mean, rms, layer, batch; did you mean mean?",
        ),
        ({"method": "dlfl", "extractor": {"lam": 1}}, "extractor.lam; expected one of dim, "),
        (
            {"method": "dlfl", "extractor": {"name": "pooled", "lam": 1}},
            "extractor.lam; expected one of pool, ",
        ),
        (
            {"method": "add-gcn", "extractor": {"activation": "softmax"}},
            "extractor.activation; expected one of dim, ",
        ),
        ({"controls": "edges"}, "controls.0 = 'edges'; expected input should be 'uniform-attention' or "),
        ({"method": "dlfl", "relation": {"steps": 1}}, "relation.steps; expected a method with a relation; "),
        (
            {"method": "csra", "classifier": {"weights": "text"}},
            "classifier.weights; expected a method with a ",
        ),
        (
            {"contrast": {"weight": "much"}},
            "contrast.weight='much'; expected a number from 0; correct the option",
        ),
        (
            {"contrast": {"rise": 1.5}},
            "contrast.rise=1.5; expected a whole number from 0; correct the option",
        ),
    ],
)
def test_options_that_a_run_refuses_do_not_fit(settings: dict[str, Any], says: str) -> None:
    assert faults(settings)
    with pytest.raises(LabelwiseError) as error:
        described_yaml(make_config({**DATA, **settings}))
    assert str(error.value).startswith(says)


@pytest.mark.parametrize("method", ["dlfl", "dsrb", "csra", "ml-gcn"])
def test_printed_settings_are_read_back_equal(method: str) -> None:
    changes = {"method": method, "loss": {"name": "focal", "gamma": 1.0}, "contrast": {"weight": 0.5}}
    config = make_config({**DATA, **changes, "augment": {"multi_scale": [1.0, 0.5]}})
    assert make_config(yaml.safe_load(described_yaml(config))) == config


def test_printed_comments_are_settings_too() -> None:
    """What is commented out is what a run does without it."""
    text = described_yaml(make_config({**DATA, "method": "dsrb", "unknown": {"name": "splc"}}))
    whole = yaml.safe_load(re.sub(r"^( *)# ", r"\1", text, flags=re.MULTILINE))
    assert faults(whole) == []
    assert whole["blending"]["weight"] == 1.0, "the default of the method"
    assert whole["unknown"].keys() - {"name"} == options_model(STRATEGIES["splc"]).model_fields.keys()
    assert whole["loss"].keys() - {"name"} == options_model(LOSSES["asl"]).model_fields.keys()
    assert set(TERMS) <= set(whole)


def test_the_command_prints_what_would_be_trained_and_trains_nothing(tmp_path: Path) -> None:
    source = "digits:?train=40&val=16&test=16&size=64"
    words = ("--backbone", "test_resnet", "--weights", "none", "--set", "loss.margin=0.1", "--epochs", "3")
    outcome = command("train", "--data", source, "--out", tmp_path / "run", "--print-config", *words)
    assert outcome.code == 0, outcome.err
    settings = yaml.safe_load(outcome.out)
    assert (settings["method"], settings["epochs"], settings["loss"]["margin"]) == ("csra", 3, 0.1)
    assert not (tmp_path / "run").exists()
    missing = command("train", "--data", source)
    assert missing.code == 2
    assert "give --out RUN" in missing.err
