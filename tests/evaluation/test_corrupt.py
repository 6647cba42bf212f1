"""Corruptions: seeded by the picture, stronger by strength; and the co-occurrence shift against scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

import labelwise as lw
import tiny_runs
from labelwise.cli.robustness import losses_by_group
from labelwise.data.transforms import TransformConfig, build_transform
from labelwise.errors import LabelwiseError
from labelwise.evaluation.companions import Companion, companions, cooccurrence_shift, weighted_ap
from labelwise.evaluation.corrupt import LEVELS, STRENGTHS, Corruption, corrupt, corruption_table
from labelwise.runs import Run
from labelwise.types import Group, LabelSet

kinds = pytest.mark.parametrize("kind", LEVELS)


def picture(side: int = 64) -> torch.Tensor:
    """Smooth shapes with edges, as photographs have."""
    y, x = torch.meshgrid(torch.linspace(0, 6, side), torch.linspace(0, 9, side), indexing="ij")
    wave = (127 + 100 * torch.sin(x) * torch.cos(y)).to(torch.uint8)
    shape = ((x - 4).abs() + (y - 3).abs() < 2).to(torch.uint8) * 60
    return torch.stack([wave, wave // 2 + shape, 255 - wave])


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@kinds
def test_each_strength_changes_more(kind: str) -> None:
    image = picture(224)
    before = image.clone()
    images = [corrupt(image, kind, strength, draws()) for strength in STRENGTHS]
    assert all(f.shape == image.shape and f.dtype == torch.uint8 for f in images)
    assert torch.equal(image, before)
    errors = [(f.float() - image.float()).square().mean().item() for f in images]
    assert errors[0] > 0
    assert errors == sorted(errors)


def test_what_a_strength_means() -> None:
    grey = torch.full((3, 128, 128), 128, dtype=torch.uint8)
    noise = corrupt(grey, "noise", 3, draws()).float() - 128
    assert noise.std().item() / 255 == pytest.approx(LEVELS["noise"][2], rel=0.02)
    black = torch.zeros(3, 100, 100, dtype=torch.uint8)
    share = (corrupt(black, "erasing", 4, draws()) == 128).float().mean().item()
    assert share == pytest.approx(LEVELS["erasing"][3], abs=0.01)
    edge = torch.zeros(3, 224, 224, dtype=torch.uint8)
    edge[:, :, 112:] = 255
    slope = corrupt(edge, "blur", 4, draws())[0, 100].float().diff()
    place = torch.arange(223.0)
    mean = (slope * place).sum() / slope.sum()
    deviation = ((slope * (place - mean) ** 2).sum() / slope.sum()).sqrt().item()
    assert deviation == pytest.approx(LEVELS["blur"][3], rel=0.1)


@kinds
def test_random_numbers_depend_only_on_the_picture(kind: str) -> None:
    transform = build_transform(TransformConfig(image_size=32), train=False)
    one, other = Corruption(transform, kind, 3), Corruption(transform, kind, 3)
    image, second = picture(), picture().flip(1)
    torch.manual_seed(1)
    first = one(image)
    state = torch.get_rng_state()
    one(second)
    assert torch.equal(one(image), first)
    assert torch.equal(other(image), first)
    assert torch.equal(torch.get_rng_state(), state)
    if kind in ("noise", "erasing"):
        assert not torch.equal(Corruption(transform, kind, 3, seed=1)(image), first)


def test_names_and_strengths_that_are_not_there() -> None:
    with pytest.raises(LabelwiseError, match="corruption 'fog'; expected one of noise, blur, jpeg, erasing"):
        corrupt(picture(), "fog", 1, draws())
    with pytest.raises(LabelwiseError, match="strength 6; expected a whole number from 1 to 5"):
        corrupt(picture(), "blur", 6, draws())


def test_a_run_on_corrupted_scenes(run_folder: Path, table: Path) -> None:
    run, rows = Run.open(run_folder), lw.read(f"parquet:{table}").split("test")
    lines: list[str] = []
    result = corruption_table(run, rows, ["noise", "erasing"], progress=lines.append)
    assert len(lines) == 11
    whole = lw.evaluate(run, lw.read(f"parquet:{table}"), pointing=False)
    assert result.clean["mAP"] == pytest.approx(whole.metrics["mAP"])
    assert result.clean["OF1"] == pytest.approx(whole.metrics["OF1"])
    again = corruption_table(run, rows, ["noise"], batch_size=3)
    for row, other in zip(result.rows[:5], again.rows, strict=True):
        assert (row.kind, row.strength) == (other.kind, other.strength)
        assert row.mAP == pytest.approx(other.mAP, abs=1e-6)
    for row in result.rows:
        assert np.mean(list(row.AP.values())) == pytest.approx(row.mAP)
    assert np.mean(list(result.clean_AP.values())) == pytest.approx(result.clean["mAP"])
    assert not set(result.clean_AP) & set(result.without)
    record = json.loads(json.dumps(result.to_json()))
    assert record["protocol"]["name"] == "corruption.v1"
    assert record["mean"]["noise"] == pytest.approx(np.mean([r.mAP for r in result.rows[:5]]))
    with pytest.raises(LabelwiseError, match="corruption 'rain'"):
        corruption_table(run, rows, ["rain"])


def test_what_groups_of_labels_lose() -> None:
    labels = LabelSet(
        ("hat", "cap", "shoes", "bag"),
        groups={"head": Group(("hat", "cap")), "feet": Group(("shoes",)), "bags": Group(("bag",))},
    )
    corrupted = [
        {"kind": "blur", "AP": {"hat": 0.6, "cap": 0.2, "shoes": 0.5}},
        {"kind": "blur", "AP": {"hat": 0.4, "cap": 0.0, "shoes": 0.4}},
        {"kind": "noise", "AP": {"hat": 0.8, "cap": 0.4, "shoes": 0.1}},
    ]
    clean = {"hat": 0.8, "cap": 0.4, "shoes": 0.5}
    losses = losses_by_group({"AP": clean, "corrupted": corrupted, "mean": {"blur": 0, "noise": 0}}, labels)
    assert list(losses) == ["head", "feet"]
    assert losses["head"] == pytest.approx([0.6, 0.3, 0.0])
    assert losses["feet"] == pytest.approx([0.5, 0.05, 0.4])


def test_the_command(run_folder: Path) -> None:
    outcome = tiny_runs.command(
        "evaluate", run_folder, "--corrupt", "--images", 5, "--json", "--workers", "0"
    )
    assert outcome.code == 0, outcome
    record = json.loads(outcome.out)
    assert record["images"] == 5
    assert [(r["kind"], r["strength"]) for r in record["corrupted"]] == [
        (k, s) for k in LEVELS for s in STRENGTHS
    ]
    shift = tiny_runs.command("evaluate", run_folder, "--shift", "--json", "--workers", "0")
    assert set(json.loads(shift.out)["cooccurrence"]) == {"with", "without", "gap", "labels", "per_label"}
    error = tiny_runs.command("evaluate", run_folder, "--corrupt", "--protocol", "voc2007").message
    assert "--protocol voc2007 on other images than its own" in error


@pytest.mark.parametrize("seed", range(4))
def test_weighted_ap_is_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.random(40) < 0.3
    y[0] = True
    s, w = np.round(rng.normal(size=40), 1), rng.random(40) + 0.1
    expected = average_precision_score(y, s, sample_weight=w)
    assert weighted_ap(s, w, y) == pytest.approx(expected, abs=1e-12)


def test_companions_are_counted_on_what_is_known() -> None:
    values = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 0], [0, 1, 1]])
    known = np.ones((4, 3), bool)
    known[1, 1] = False
    usual = {c.label: (c.other, c.share) for c in companions(values, known)}
    assert usual[0] == (1, 1.0)
    assert usual[1] == (0, pytest.approx(2 / 3))
    assert companions(np.eye(3), np.ones((3, 3), bool)) == []


def test_only_a_model_that_depends_on_the_companion_has_a_gap() -> None:
    rng = np.random.default_rng(0)
    n = 4000
    label = rng.random(n) < 0.3
    companion = np.where(label, rng.random(n) < 0.7, rng.random(n) < 0.1)
    values = np.stack([label, companion], 1).astype(np.uint8)
    known = np.ones((n, 2), bool)
    own = 2.0 * label + rng.normal(size=n)
    pair = [Companion(0, 1, 0.7)]
    independent, dependent = (
        cooccurrence_shift(np.stack([z, z], 1), values, known, pair, ["cup", "table"])
        for z in (own, own + 2.0 * companion)
    )
    assert abs(independent["gap"]) < 0.02
    assert dependent["gap"] > 0.2
    row = dependent["per_label"]["cup"]
    assert (row["companion"], row["images_with"]) == ("table", int((label & companion).sum()))
    part = ~label | (label & ~companion)
    weights = np.where(label, label.sum() / (label & ~companion).sum(), 1.0)[part]
    z = (own + 2.0 * companion)[part].astype(np.float64)
    expected = average_precision_score(label[part], z, sample_weight=weights)
    assert row["without"] == pytest.approx(expected, abs=1e-12)


def test_too_few_images_give_no_figure() -> None:
    values = np.array([[1, 1], [1, 0], [0, 0]], np.uint8)
    shift = cooccurrence_shift(
        np.zeros((3, 2)), values, np.ones((3, 2), bool), [Companion(0, 1, 0.5)], ["a", "b"]
    )
    assert shift == {"with": None, "without": None, "gap": None, "labels": 0, "per_label": {}}
