"""The discriminative term over whole methods: what it reads, what it learns, and two processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tiny_runs
from labelwise.composition import Method
from labelwise.errors import LabelwiseError
from labelwise.losses import BinaryCrossEntropy, CentreLoss, PairwiseLoss
from labelwise.methods import create_method
from labelwise.model import LabelModel
from labelwise.runs.config import make_config
from labelwise.terms.discriminative import DiscriminativeTerm
from labelwise.terms.term import HeadSizes, Step, Term
from labelwise.training.fit import train
from labelwise.types import Batch, Output, Targets

NAMES = ("a", "b", "c", "d")
SIZES = HeadSizes(4, 5, 6)
MODEL = LabelModel(nn.Identity(), nn.Identity(), None)
VARIANTS = ("pairwise", "center", "logit", "pcl", "opl", "supcon")
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def a_step(rows: int = 5) -> Step:
    generator = torch.Generator().manual_seed(0)
    logits, features, decoupled = (
        torch.randn(rows, 4, *size, generator=generator) for size in ((), (6,), (5,))
    )
    values = torch.rand(rows, 4, generator=generator).round()
    targets = Targets(values, torch.rand(rows, 4, generator=generator) < 0.8)
    output = Output(logits, features, None, decoupled)
    return Step(MODEL, targets, output, BinaryCrossEntropy(), torch.arange(rows), 0, 1)


def build(name: str, **options: Any) -> Method:
    torch.manual_seed(0)
    terms = {"discriminative": {"weight": 0.1, **options}}
    return create_method(name, NAMES, "test_resnet", weights="none", image_size=64, terms=terms)


def a_batch(rows: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (rows, 3, 64, 64), generator=generator, dtype=torch.uint8)
    values = torch.randint(0, 2, (rows, 4), generator=generator).float()
    return Batch(images, Targets.of(values), torch.arange(rows))


@every_variant
def test_it_keeps_the_protocol(variant: Any) -> None:
    term = DiscriminativeTerm(SIZES, 0.1, variant)
    assert isinstance(term, Term)
    assert not term.needs_maps


@every_variant
@pytest.mark.parametrize("name", ["baseline-mlp", "dlfl", "class-features"])
def test_it_can_be_laid_over_any_method(name: str, variant: str) -> None:
    method, batch = build(name, variant=variant), a_batch()
    losses = method(batch)
    assert set(losses) == {"loss", "classification", "discriminative_intra", "discriminative_inter"}
    torch.testing.assert_close(losses["loss"], sum(v for key, v in losses.items() if key != "loss"))
    losses["loss"].backward()
    idle = [key for key, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)
    assert all(p.grad.any() for p in method.terms.parameters())


@every_variant
@pytest.mark.parametrize("half", ["intra", "inter"])
def test_either_half_can_be_left_out(variant: str, half: str) -> None:
    method, whole = build("dlfl", variant=variant, **{half: False}), build("dlfl", variant=variant)
    assert f"discriminative_{half}" not in method.eval()(a_batch())
    method(a_batch())["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in method.terms.parameters())
    assert len(list(whole.terms.parameters())) == {"center": 1, "pcl": 2}.get(variant, 0)


@pytest.mark.parametrize("features", ["classifier", "decoupled"])
def test_it_reads_the_features_that_were_asked_for(features: Any) -> None:
    step = a_step()
    term = DiscriminativeTerm(SIZES, 0.5, "pairwise", gamma=3.0, features=features)
    given = step.output.features if features == "classifier" else step.output.decoupled
    intra, inter = PairwiseLoss()(given, step.targets)
    losses = term(step)
    torch.testing.assert_close(losses["discriminative_intra"], 0.5 * intra)
    torch.testing.assert_close(losses["discriminative_inter"], 0.5 * 3.0 * inter)
    assert intra > 0
    assert inter > 0
    center = DiscriminativeTerm(SIZES, 0.5, "center", features=features)
    assert center(step)["discriminative_intra"] > 0
    assert next(center.parameters()).shape == given.shape[1:]


@pytest.mark.parametrize(
    ("variant", "option", "value"),
    [
        ("pairwise", "margin", 0.5),
        ("pairwise", "same_image", False),
        ("opl", "same_image", False),
        ("center", "margin", 0.5),
        ("center", "centre_margin", 0.0),
        ("logit", "margin", 0.3),
        ("logit", "space", "probabilities"),
        ("supcon", "temperature", 0.7),
        ("supcon", "jaccard", 1.0),
        ("pcl", "repel", 0.3),
        ("pairwise", "cells", 4),
    ],
)
def test_options_reach_the_loss(variant: Any, option: str, value: Any) -> None:
    losses = []
    for options in ({}, {option: value}):
        torch.manual_seed(1)
        term = DiscriminativeTerm(SIZES, 1.0, variant, **options)
        losses.append(torch.stack(list(term(a_step()).values())))
    assert not torch.allclose(*losses)


def test_opl_has_no_hinge_and_pcl_and_supcon_their_own_balance() -> None:
    step = a_step()
    _, inter = PairwiseLoss(hinge=False)(step.output.features, step.targets)
    losses = DiscriminativeTerm(SIZES, 1.0, "opl", gamma=2.0)(step)
    torch.testing.assert_close(losses["discriminative_inter"], 2 * inter)
    for variant, share in (("pcl", 1e-4), ("supcon", 1.0)):
        torch.manual_seed(0)
        term: Any = DiscriminativeTerm(SIZES, 1.0, variant, gamma=7.0)
        expected = share * term.loss(step.output.features, step.targets)[1]
        torch.testing.assert_close(term(step)["discriminative_inter"], expected)


def test_a_weight_of_zero_leaves_it_out() -> None:
    assert not build("class-features", weight=0.0).terms
    assert set(build("class-features")(a_batch())) > {"discriminative_intra", "discriminative_inter"}
    plain = create_method("dlfl", NAMES, "test_resnet", weights="none", image_size=64)
    assert not plain.terms


@torch.no_grad()
def test_centres_are_state_and_return_to_unit_length() -> None:
    method, other = build("dlfl"), build("dlfl")
    loss = method.terms["discriminative"].loss
    assert isinstance(loss, CentreLoss)
    loss.centres.mul_(3).add_(0.5)
    direction = nn.functional.normalize(loss.centres, dim=1)
    before = method.eval()(a_batch())["loss"]
    assert "terms.discriminative.loss.centres" in method.state_dict()
    method.start_epoch(lambda: [])
    torch.testing.assert_close(loss.centres, direction)
    torch.testing.assert_close(method(a_batch())["loss"], before)
    other.load_state_dict(method.state_dict(), strict=True)
    assert torch.equal(other.eval()(a_batch())["loss"], method(a_batch())["loss"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"intra": False, "inter": False},
            "discriminative.intra=False with inter=False; expected at least one of them; set weight to 0 instead",
        ),
        ({"cells": 1}, "discriminative.cells=1; expected a whole number from 2; correct the option"),
        ({"margin": 2.0}, "discriminative.margin=2.0; expected a number from -1 to 1; correct the option"),
        ({"gamma": -0.5}, "discriminative.gamma=-0.5; expected a number from 0; correct the option"),
        (
            {"variant": "centre"},
            "discriminative.variant='centre'; expected one of pairwise, center, logit, pcl, opl, supcon; ",
        ),
        ({"lamda": 1}, "discriminative.lamda; expected one of weight, variant, gamma, "),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        build("dlfl", **options)
    assert says in str(error.value)


def _curve(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "step"]


def test_two_processes_train_as_one(tmp_path: Path, table: Path) -> None:
    settings = tiny_runs.settings(f"parquet:{table}", augment={"flip": 0.0, "multi_scale": []})
    settings["extractor"] |= {"dropout": 0.0, "map_dropout": 0.0}
    config = make_config({**settings, "discriminative": {"weight": 0.5}})
    train(config, tmp_path / "one", quiet=True)
    tiny_runs.together(2, train, config, tmp_path / "two")
    one, two = (_curve(tmp_path / name) for name in ("one", "two"))
    assert len(one) == len(two) >= 8
    for key in ("loss", "discriminative_intra", "discriminative_inter"):
        actual, expected = ([step[key] for step in steps] for steps in (two, one))
        assert all(expected)
        np.testing.assert_allclose(actual, expected, atol=1e-4, rtol=0)
