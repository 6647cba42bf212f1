"""Switches of the device: fused optimisers, TF32, batch statistics over processes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

import partial_batches
import tiny_runs
from labelwise.backbones import TimmBackbone
from labelwise.errors import LabelwiseError
from labelwise.runs.config import make_config
from labelwise.runs.sections import OptimSettings
from labelwise.training.optim import is_fused
from labelwise.training.processes import make_accelerator, matrix_products, synchronise
from small_trainers import a_trainer, everything


@pytest.mark.parametrize(
    ("setting", "device", "scaled", "expected"),
    [
        ("auto", "cpu", False, True),
        ("auto", "cuda", False, True),
        ("auto", "cuda", True, False),  # as before there was a setting
        (True, "cpu", False, True),
        (True, "cuda", True, True),
        (False, "cuda", False, False),
    ],
)
def test_which_optimisers_are_fused(setting: Any, device: str, scaled: bool, expected: bool) -> None:
    assert is_fused(OptimSettings(fused=setting), torch.device(device), scaled) is expected


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_a_fused_run_moves_as_the_plain_one(tmp_path: Path, name: str) -> None:
    states = {}
    for fused in (False, True):
        torch.manual_seed(0)
        batches = [partial_batches.a_batch(seed=seed) for seed in range(4)]
        for batch in batches:
            batch.images = batch.images.double()  # Adam divides small gradients by their own size
        method = partial_batches.build().double()
        trainer = a_trainer(tmp_path / f"{fused}", batches, method, optim={"name": name, "fused": fused})
        assert {group["fused"] for group in trainer.optimizer.param_groups} == {fused or None}
        before = everything(trainer)
        for batch in batches:
            trainer._step(iter([batch]))
            trainer.progress.step += 1
        states[fused] = everything(trainer)
        assert any(not torch.equal(states[fused][key], value) for key, value in before.items())
    assert states[True].keys() == states[False].keys()
    for key, value in states[False].items():
        torch.testing.assert_close(states[True][key], value, atol=1e-6, rtol=1e-5)


def test_tf32_ends_with_the_block() -> None:
    flags = torch.backends.cuda.matmul
    assert not flags.allow_tf32
    with matrix_products(True):
        assert flags.allow_tf32
    assert not flags.allow_tf32
    with suppress(KeyError), matrix_products(True):
        raise KeyError
    assert not flags.allow_tf32
    flags.allow_tf32 = True  # somebody else's choice stays
    try:
        with matrix_products(False):
            assert flags.allow_tf32
        assert flags.allow_tf32
    finally:
        flags.allow_tf32 = False


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device takes them")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tf32": True}, "tf32 = true on cpu; expected a CUDA device; leave it out"),
        (
            {"backbone": {"statistics": "synchronised"}},
            "backbone.statistics = synchronised on cpu; expected a CUDA device; set backbone.statistics=batch",
        ),
    ],
)
def test_switches_of_gpus_are_refused_without_one(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        make_accelerator(make_config({"data": {"source": "digits:"}, **changes}))
    assert str(error.value) == message


def test_the_statistics_of_weights_that_are_not_there_may_be_synchronised() -> None:
    settings = tiny_runs.settings("digits:", backbone={"weights": "none", "statistics": "synchronised"})
    assert make_config(settings).backbone.statistics == "synchronised"


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_synchronised_batch_norms_say_the_same_in_evaluation(name: str) -> None:
    torch.manual_seed(0)
    method = partial_batches.build()
    method.model.backbone = TimmBackbone(name, "none", 64)
    norms = [m for m in method.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 2.0)
        norm.running_mean.uniform_(-1, 1)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = method.eval().model.backbone(images)
    keys = list(method.state_dict())
    synchronise(method)
    synchronised = [m for m in method.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert len(synchronised) == len(norms) > 0
    assert list(method.state_dict()) == keys
    with torch.no_grad():
        assert torch.equal(method.model.backbone(images), expected)
    method.train()
    assert all(m.training for m in synchronised)
    if name == "test_efficientnet":  # timm's norms hold an activation
        assert any(isinstance(m, timm.layers.SyncBatchNormAct) for m in synchronised)
