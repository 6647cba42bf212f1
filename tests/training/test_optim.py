"""Parameter groups and the schedule."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from labelwise.backbones import TimmBackbone
from labelwise.training.config import OptimSettings
from labelwise.training.optim import build_optimizer, rate_factor, set_rate


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
    found = {n.split(".blocks")[0] for n in tables}
    assert found == kept
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


def test_cosine_step_by_step() -> None:
    settings = OptimSettings(schedule="cosine", warmup=0.2)
    expected = [1 / 3, 2 / 3] + [0.5 + 0.5 * math.cos(math.pi * i / 8) for i in range(8)]
    assert [rate_factor(s, 10, settings) for s in range(10)] == pytest.approx(expected)


def test_constant_rises_and_stays() -> None:
    settings = OptimSettings(schedule="constant", warmup=0.2)
    assert [rate_factor(s, 10, settings) for s in range(10)] == pytest.approx([1 / 3, 2 / 3] + [1.0] * 8)


def test_one_cycle_is_that_of_torch() -> None:
    steps, parameter = 40, nn.Parameter(torch.zeros(1))
    oracle = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        oracle, max_lr=1.0, total_steps=steps + 1, pct_start=0.25, div_factor=25, final_div_factor=1e4
    )
    settings = OptimSettings(schedule="one-cycle", warmup=0.25)
    for step in range(steps):
        # torch counts the last step as the end of the fall, and so the rise ends one step earlier.
        ours = rate_factor(step, steps, settings)
        assert ours == pytest.approx(schedule.get_last_lr()[0], abs=0.08)
        oracle.step()
        schedule.step()
    assert rate_factor(0, steps, settings) == pytest.approx(1 / 25)
    assert rate_factor(10, steps, settings) == pytest.approx(1.0)
    assert rate_factor(40, steps, settings) == pytest.approx(1e-4 / 25)


@given(
    st.integers(1, 500),
    st.floats(0, 0.99),
    st.sampled_from(["cosine", "one-cycle", "constant"]),
    st.data(),
)
def test_the_factor_is_positive_and_at_most_one(
    steps: int, warmup: float, schedule: str, data: st.DataObject
) -> None:
    settings = OptimSettings(schedule=schedule, warmup=warmup)
    factor = rate_factor(data.draw(st.integers(0, steps - 1)), steps, settings)
    assert 0 < factor <= 1
