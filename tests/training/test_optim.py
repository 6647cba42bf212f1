"""Parameter groups and their rates."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from labelwise.backbones import TimmBackbone
from labelwise.errors import LabelwiseError
from labelwise.runs.sections import OptimSettings
from labelwise.training.optim import build_optimizer, set_rate


class _Method(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)
        self.queries = nn.Parameter(torch.zeros(2, 4))
        self.fixed = nn.Parameter(torch.zeros(3, 3), requires_grad=False)


def _groups(settings: OptimSettings, factor: float) -> dict[str, tuple[float, float]]:
    method = _Method()
    optimizer = build_optimizer(method, method.backbone, settings, factor)
    names = {id(p): n for n, p in method.named_parameters()}
    return {names[id(p)]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}


def test_rates_and_decay_of_each_parameter() -> None:
    assert _groups(OptimSettings(lr=0.5, weight_decay=0.25), factor=0.1) == {
        "backbone.0.weight": (0.05, 0.25),
        "backbone.0.bias": (0.05, 0.0),
        "backbone.1.weight": (0.05, 0.0),
        "backbone.1.bias": (0.05, 0.0),
        "head.weight": (0.5, 0.25),
        "head.bias": (0.5, 0.0),
        "queries": (0.5, 0.0),
    }


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("test_vit", {"net.cls_token", "net.pos_embed"}),
        ("test_vit3", {"net.pos_embed", "net.reg_token"}),
        ("swin_tiny_patch4_window7_224", {f"net.layers.{i}" for i in range(4)}),
    ],
)
def test_what_a_network_keeps_from_decay_is_kept(name: str, kept: set[str]) -> None:
    backbone = TimmBackbone(name, weights="none", image_size=224 if "swin" in name else 64)
    method = nn.ModuleDict({"backbone": backbone})
    optimizer = build_optimizer(method, backbone, OptimSettings(weight_decay=0.25), 1.0)
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    tables = [n for n, p in backbone.named_parameters() if p.ndim >= 2 and decays.get(id(p)) == 0.0]
    parts = {n.split(".blocks")[0] for n in tables}
    assert parts == kept
    assert not any(n.endswith("weight") for n in tables)


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)]
)
def test_the_named_optimiser_is_built(name: str, kind: type) -> None:
    method = _Method()
    optimizer = build_optimizer(method, method.backbone, OptimSettings(name=name, momentum=0.7), 1.0)
    assert type(optimizer) is kind
    assert name != "sgd" or {g["momentum"] for g in optimizer.param_groups} == {0.7}


def test_the_rate_scales_every_group_from_its_peak() -> None:
    method = _Method()
    optimizer = build_optimizer(method, method.backbone, OptimSettings(lr=0.5), 0.1)
    for factor in (0.2, 1.0, 0.5):
        set_rate(optimizer, factor)
        assert {g["lr"] for g in optimizer.param_groups} == {0.5 * factor, 0.5 * 0.1 * factor}


def _rates(backbone: TimmBackbone, layer_decay: float) -> dict[str, set[float]]:
    """Rates of the parameters below each of a network's layers, at a head rate of 1 and a backbone's of 0.5."""
    method = nn.ModuleDict({"backbone": backbone, "head": nn.Linear(4, 2)})
    optimizer = build_optimizer(method, backbone, OptimSettings(lr=1.0), 0.5, layer_decay=layer_decay)
    names = {id(p): n for n, p in method.named_parameters()}
    rates: dict[str, set[float]] = {}
    for group in optimizer.param_groups:
        for p in group["params"]:
            name = names[id(p)]
            place = re.match(r"backbone.net.((blocks|layer|stages)\W?\d+(.blocks.\d+)?|[a-z_]+)|head", name)
            assert place, name
            rates.setdefault(place[1] or "head", set()).add(round(group["lr"], 9))
    return rates


def test_layers_of_a_transformer_learn_slower_towards_the_image() -> None:
    rates = _rates(TimmBackbone("test_vit", weights="none", image_size=64), 0.5)
    stem = {name: rates.pop(name) for name in ("cls_token", "pos_embed", "patch_embed")}
    assert set().union(*stem.values()) == {0.5 * 0.5**6}
    assert rates.pop("head") == {1.0}
    assert rates.pop("norm") == {0.5}
    assert rates == {f"blocks.{i}": {0.5 * 0.5 ** (5 - i)} for i in range(6)}


def test_the_last_layer_of_a_convolutional_network_learns_at_the_backbones_rate() -> None:
    rates = _rates(TimmBackbone("test_convnext", weights="none", image_size=64), 0.5)
    assert rates["stages.3.blocks.1"] == {0.5}
    assert rates["stages.3.blocks.0"] == {0.25}
    assert rates["stem"] == {min(min(rate) for rate in rates.values())}


def test_layers_that_do_not_learn_change_no_rate() -> None:
    rates = _rates(TimmBackbone("test_vit", weights="none", image_size=64, unfrozen_groups=2), 0.5)
    assert rates == {"blocks.4": {0.25}, "blocks.5": {0.5}, "norm": {0.5}, "head": {1.0}}


def test_a_layer_decay_of_one_is_one_rate() -> None:
    assert set().union(*_rates(TimmBackbone("test_resnet", "none", 64), 1.0).values()) == {0.5, 1.0}


def test_a_network_without_timm_layers_takes_no_layer_decay() -> None:
    method = _Method()
    with pytest.raises(
        LabelwiseError, match=r"backbone.layer_decay = 0.5 of a backbone without timm's layers"
    ):
        build_optimizer(method, method.backbone, OptimSettings(), 1.0, layer_decay=0.5)
