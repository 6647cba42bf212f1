"""Recipes of the published data sets: each row takes a training step on its data set in the official layout."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import official_layouts as made
from documents import ROOT
from labelwise.data import Dataset, read, train_loader
from labelwise.data.splits import ensure_splits
from labelwise.data.transforms import build_transform
from labelwise.evaluation.protocols import PROTOCOLS
from labelwise.experiments.sweep import merged
from labelwise.runs import Run
from labelwise.runs.config import make_config
from labelwise.runs.plain_yaml import read_yaml
from labelwise.training.optim import build_optimizer
from labelwise.types import LabelPriors, Targets

MAKERS = {
    "coco2014": made.make_coco,
    "voc2007": made.make_voc2007,
    "voc2012": made.make_voc2012,
    "nuswide": made.make_nuswide,
    "vg500": made.make_vg,
    "vg200": made.make_vg,
    "peta": made.make_peta,
    "peta-zs": made.make_peta_zs,
    "pa100k": made.make_pa100k,
    "rapv1": made.make_rapv1,
    "rapv2": made.make_rapv2,
    "rapv2-zs": made.make_rapv2_zs,
}
FILES = {path.stem: path for path in ROOT.glob("recipes/*/*.yaml") if path.stem in MAKERS}
ROWS = [
    pytest.param(stem, row, id=f"{stem}-{row}") for stem, f in FILES.items() for row in read_yaml(f)["rows"]
]


@cache
def data_of(stem: str, base: Path) -> Dataset:
    """The recipe's data set, its folder in place of the recipe's."""
    MAKERS[stem](base / f"recipe-{stem}")
    source = read_yaml(FILES[stem])["settings"]["data"]["source"]
    kind, _, rest = source.partition(":")
    options = rest.partition("?")[2]
    data = read(f"{kind}:{base / f'recipe-{stem}'}" + (f"?{options}" if options else ""))
    return ensure_splits(data, seed=0)


def test_every_protocol_has_its_recipe() -> None:
    assert set(FILES) == set(MAKERS)
    other_conventions = {"voc2007-diffneg", "coco2014-all"}
    assert set(PROTOCOLS) - other_conventions == set(MAKERS)


@pytest.mark.parametrize("stem", MAKERS)
def test_a_recipe_s_data_fit_its_protocol(stem: str, base: Path) -> None:
    data = data_of(stem, base)
    assert len(PROTOCOLS[stem].rows(data.source, data, "test"))


@pytest.mark.parametrize(("stem", "row"), ROWS)
def test_a_step_of_training(stem: str, row: str, base: Path, tmp_path: Path) -> None:
    plan, data = read_yaml(FILES[stem]), data_of(stem, base)
    config = make_config(merged(plan["settings"], plan["rows"][row], small(plan), {"seed": 0}))
    torch.manual_seed(0)
    rows = data.split("train")
    targets = Targets(torch.from_numpy(rows.values).float(), torch.from_numpy(rows.known))
    method = Run(tmp_path, config, data.labels).build(priors=LabelPriors.count(targets))
    transform = build_transform(config.train_transform(method.model.backbone.stride), train=True)
    loader = train_loader(rows, transform, batch_size=4, seed=0, workers=0)
    batch = next(iter(loader.epoch(0)))
    assert tuple(batch.images.shape[2:]) == ((128, 96) if config.image_width else (64, 64))
    before = method.model.classifier.state_dict() if method.model.classifier else {}
    before = {name: value.clone() for name, value in before.items()}
    optimiser = build_optimizer(method, method.model.backbone, config.optim, config.backbone.lr_factor)
    loss = method.loss(batch)["loss"]
    loss.backward()
    optimiser.step()
    assert torch.isfinite(loss)
    if before:
        after = method.model.classifier.state_dict()
        assert any(not torch.equal(after[name], value) for name, value in before.items())


def small(plan: dict[str, Any]) -> dict[str, Any]:
    """What makes a step cheap: a tiny backbone without weights and small images of the recipe's shape."""
    side, width = (128, 96) if plan["settings"].get("image_width") else (64, 0)
    return {
        "backbone": {"name": "test_resnet", "weights": "none"},
        "image_size": side,
        "image_width": width,
        "train_size": side,
        "workers": 0,
    }
