"""Two processes that share out the weights take the steps of one, and write the files of one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch.distributed.tensor import DTensor

import tiny_runs
from labelwise.errors import LabelwiseError, Stopped
from labelwise.methods.create import create_method
from labelwise.runs.config import make_config
from labelwise.runs.run import Run
from labelwise.training import sharding
from labelwise.training.checkpoint import STATE, load_state
from labelwise.training.fit import train
from labelwise.training.loop import Trainer
from labelwise.training.stopping import StopRequest
from labelwise.types import LabelSet


def _settings(table: Path, **changes: Any) -> dict[str, Any]:
    """Settings under which a step depends on its global batch alone: no augmentation, no dropout."""
    settings = tiny_runs.settings(f"parquet:{table}", augment={"flip": 0.0, "multi_scale": []}, epochs=2)
    settings["extractor"] |= {"dropout": 0.0, "map_dropout": 0.0}
    return {**settings, **changes}


def _train(config: Any, out: Path, resume: bool = False) -> None:
    """Train, and write what share of the weights and moments this process holds after its first step."""
    honest = Trainer._step

    def step(self: Trainer, batches: Any) -> Any:
        found = honest(self, batches)
        held = [p for p in self.method.parameters() if p.requires_grad]
        moments = [v for one in self.optimizer.state.values() for v in one.values() if v.ndim]
        ours = sum(v.to_local().numel() for v in (*held, *moments) if isinstance(v, DTensor))
        shares = {"ours": ours, "all": sum(v.numel() for v in (*held, *moments))}
        out.with_suffix(f".{os.environ['RANK']}.json").write_text(json.dumps(shares))
        return found

    Trainer._step = step  # type: ignore[method-assign]
    train(config, out, resume=resume)


def _same_tensors(one: Any, other: Any, within: float) -> None:
    if isinstance(one, torch.Tensor):
        assert type(one) is type(other) is torch.Tensor
        torch.testing.assert_close(other, one, atol=within, rtol=0)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            _same_tensors(one[key], other[key], within)


def _states(one: Path, other: Path, within: float) -> None:
    (_, a), (_, b) = (load_state(out / STATE) for out in (one, other))
    for name in ("method", "ema", "optimizer"):
        _same_tensors(a[name], b[name], within)
    a_run, b_run = (Run.open(out).model().state_dict() for out in (one, other))
    _same_tensors(dict(a_run), dict(b_run), within)


def _losses(out: Path) -> list[float]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "step"]


def test_one_step_of_two_processes_is_that_of_one(tmp_path: Path, table: Path) -> None:
    """Weights, averages and moments after one step, and each process's share of them."""
    optim = {"name": "sgd", "lr": 0.05, "clip_norm": 0.1}
    config = make_config(_settings(table, sharding="full", optim=optim, epochs=1, batch_size=48))
    train(config, tmp_path / "one", quiet=True)
    tiny_runs.together(2, _train, config, tmp_path / "two")
    assert load_state(tmp_path / "two" / STATE)[0].step == 1
    _states(tmp_path / "one", tmp_path / "two", 1e-5)
    shares = [json.loads((tmp_path / f"two.{rank}.json").read_text()) for rank in (0, 1)]
    assert sum(share["ours"] for share in shares) == shares[0]["all"]
    assert all(share["ours"] < 0.6 * share["all"] for share in shares)
    one, two = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two"))
    assert two["training"]["processes"] == 2
    assert two["training"]["trained_parameters"] == one["training"]["trained_parameters"]


@pytest.mark.parametrize("name", ["test_convnext", "test_vit"])
def test_processes_that_hold_shares_train_as_one(tmp_path: Path, table: Path, name: str) -> None:
    """A backbone that rests at first, and steps of two batches of which the last of an epoch has one."""
    weights = tmp_path / "weights.pt"
    torch.manual_seed(0)
    size = {"img_size": 32} if name == "test_vit" else {}
    torch.save(timm.create_model(name, num_classes=0, **size).state_dict(), weights)
    backbone = {"name": name, "weights": str(weights), "lr_factor": 1.0, "warm_epochs": 1}
    optim = {"accumulate": 2}
    config = make_config(_settings(table, sharding="full", backbone=backbone, optim=optim, batch_size=10))
    train(config, tmp_path / "one", quiet=True)
    tiny_runs.together(2, _train, config, tmp_path / "two")
    one, two = (_losses(tmp_path / name) for name in ("one", "two"))
    assert len(one) == len(two) == 4
    np.testing.assert_allclose(two, one, atol=1e-4, rtol=0)


def _stop_at(config: Any, out: Path, step: int) -> None:
    """Train until all processes are asked to stop at a step."""
    honest, stop = Trainer._step, StopRequest()

    def counted(self: Trainer, batches: Any) -> Any:
        if self.progress.step + 1 == step:
            stop.by = "SIGTERM"
        return honest(self, batches)

    Trainer._step = counted  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        train(config, out, stop=stop)


@pytest.fixture(scope="module")
def stopped(table: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Settings, and the folder of a whole run and of one that two processes stopped."""
    optim, made = {"name": "sgd", "lr": 0.02, "momentum": 0.9}, tmp_path_factory.mktemp("stopped")
    config = make_config(_settings(table, sharding="full", optim=optim))
    train(config, made / "whole", quiet=True)
    tiny_runs.together(2, _stop_at, config, made / "parts", 8)
    assert 8 <= load_state(made / "parts" / STATE)[0].step < 12
    return config, made


@pytest.mark.parametrize("world", [1, 2])
def test_a_stopped_run_goes_on_over_any_number_of_processes(
    tmp_path: Path, stopped: tuple[Any, Path], world: int
) -> None:
    config, made = stopped
    shutil.copytree(made / "parts", tmp_path / "parts")
    if world == 1:
        train(config, tmp_path / "parts", quiet=True, resume=True)
    else:
        tiny_runs.together(2, _train, config, tmp_path / "parts", True)
    _states(made / "whole", tmp_path / "parts", 1e-5)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"compile": True}, "compile = true"),
        ({"precision": "fp16"}, "precision = fp16"),
        ({"optim": {"fused": True}}, "optim.fused = true"),
        ({"backbone": {"freeze": True}}, "backbone.freeze = true"),
        ({"method": "dsrb"}, "the term blending"),
    ],
)
def test_what_has_not_been_held_against_one_process_is_refused(changes: dict[str, Any], named: str) -> None:
    config = make_config({"data": {"source": ""}, "sharding": "full", **changes})
    method = create_method(
        config.method if "method" in changes else "dlfl", LabelSet(("a", "b")), "test_vit", weights="none"
    )
    with pytest.raises(LabelwiseError) as error:
        sharding._refuse_untested(config, method)
    assert str(error.value) == (
        f"sharding = full with {named}; expected processes that each hold all weights; leave one of the two out"
    )
