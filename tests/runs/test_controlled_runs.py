"""Controls as settings of a run: stored with it, and read from the settings of earlier versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from labelwise.errors import LabelwiseError
from labelwise.export.card import card_of
from labelwise.runs.config import make_config
from labelwise.runs.run import Run
from labelwise.training.grown import settings_of_run
from labelwise.types import LabelPriors, LabelSet, Targets

LABELS = LabelSet(("a", "b", "c"))
BASE = {
    "data": {"source": "csv:labels.csv"},
    "backbone": {"name": "test_resnet", "weights": "none"},
    "image_size": 64,
}
IMAGES = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
FORMER = "extractor.attention=uniform; expected controls=uniform-attention, which replaced it; "


def trained(path: Path, **settings: Any) -> Run:
    """A run with random weights, as a training leaves it."""
    run = Run(path, make_config({**BASE, **settings}), LABELS)
    torch.manual_seed(0)
    priors = LabelPriors.count(Targets.of((torch.rand(40, 3) < 0.5).float()))
    method = run.build(priors=priors)
    path.mkdir(exist_ok=True)
    run.save()
    (path / "state").mkdir(exist_ok=True)
    run.save_weights(method.model)
    return run


@torch.no_grad()
@pytest.mark.parametrize("method", ["dlfl", "ssgrl"])
def test_a_run_with_uniform_attention_opens_with_it(method: str, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", method=method, controls=["uniform-attention"])
    opened = Run.open(run.path)
    assert opened.config.controls == ["uniform-attention"]
    maps = opened.model()(IMAGES, want_maps=True).maps
    assert torch.equal(maps, torch.full_like(maps, 1 / maps[0, 0].numel()))
    assert card_of(opened)["controls"] == ["uniform-attention"]
    assert settings_of_run(run.path)["controls"] == ["uniform-attention"]
    # The same weights without it attend.
    settings = yaml.safe_load((run.path / "config.yaml").read_text())
    (run.path / "config.yaml").write_text(yaml.safe_dump({**settings, "controls": []}))
    plain = Run.open(run.path)
    assert not torch.equal(plain.model()(IMAGES, want_maps=True).maps, maps)
    assert "controls" not in card_of(plain)


@torch.no_grad()
@pytest.mark.parametrize(("method", "section"), [("ssgrl", "relation"), ("ml-gcn", "classifier")])
def test_a_run_of_an_earlier_version_without_edges_opens_as_it_was(
    method: str, section: str, tmp_path: Path
) -> None:
    run = trained(tmp_path / "run", method=method, controls=["no-edges"])
    expected = Run.open(run.path).model()(IMAGES).logits
    settings = yaml.safe_load((run.path / "config.yaml").read_text())
    del settings["controls"]
    settings[section]["graph"] = "isolated"
    (run.path / "config.yaml").write_text(yaml.safe_dump(settings))
    opened = Run.open(run.path)
    assert opened.config == run.config
    assert torch.equal(opened.model()(IMAGES).logits, expected)


@torch.no_grad()
@pytest.mark.parametrize(
    ("method", "former"),
    [("dlfl", {"extractor": {"attention": "learned"}}), ("ssgrl", {"relation": {"graph": "cooccurrence"}})],
)
def test_a_run_of_an_earlier_version_with_a_plain_method_opens(
    method: str, former: dict[str, Any], tmp_path: Path
) -> None:
    run = trained(tmp_path / "run", method=method)
    expected = Run.open(run.path).model()(IMAGES).logits
    settings = yaml.safe_load((run.path / "config.yaml").read_text())
    del settings["controls"]
    (run.path / "config.yaml").write_text(yaml.safe_dump({**settings, **former}))
    opened = Run.open(run.path)
    assert opened.config == run.config
    assert torch.equal(opened.model()(IMAGES).logits, expected)


def test_a_run_of_an_earlier_version_with_uniform_attention_is_refused(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", method="dlfl", controls=["uniform-attention"])
    settings = yaml.safe_load((run.path / "config.yaml").read_text())
    settings["extractor"]["attention"] = "uniform"
    (run.path / "config.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(LabelwiseError) as error:
        Run.open(run.path)
    assert str(error.value).startswith(FORMER + "write --set controls=uniform-attention; a run ")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"extractor": {"attention": "uniform"}}, FORMER),
        ({"controls": ["blind"]}, "controls.0 = 'blind'; expected input should be 'uniform-attention' or "),
        ({"controls": "edges"}, "controls.0 = 'edges'; expected input should be 'uniform-attention' or "),
        ({"controls": 3}, "controls = 3; expected input should be a valid list; "),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        make_config({**BASE, **settings})
    assert str(error.value).startswith(says)


def test_other_options_and_the_given_mapping_stay() -> None:
    given = {**BASE, "relation": {"graph": "isolated", "steps": 2}, "controls": "uniform-attention"}
    config = make_config(given)
    assert (config.relation, config.controls) == ({"steps": 2}, ["uniform-attention", "no-edges"])
    assert given["relation"] == {"graph": "isolated", "steps": 2}
    assert make_config({**BASE, "extractor": {"attention": "unifrom"}}).extractor == {"attention": "unifrom"}
