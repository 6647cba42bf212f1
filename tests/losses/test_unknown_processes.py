"""Strategies over two processes: values, gradients and memories of the joined batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as dist

import tiny_runs
from labelwise.blending import FeatureQueue
from labelwise.losses import BinaryCrossEntropy, Facts, Moment, UnknownLoss
from labelwise.registry import STRATEGIES
from labelwise.runs.config import make_config
from labelwise.training.fit import train
from labelwise.types import Targets

ROWS, LABELS, EPOCHS = 9, 5, 4
NEEDED: dict[str, dict[str, Any]] = {
    "epr": {"expected": 1.5},
    "role": {"expected": 1.5},
    "csl": {"topk": 0.4},
    **{name: {"delta": 0.06} for name in ("ll-r", "ll-ct", "ll-cp")},
}


def passes(name: str, part: slice, world: int) -> dict[str, torch.Tensor]:
    """Gradients of several steps on a share of each batch, and what is remembered in the end."""
    facts = Facts(ROWS, LABELS, torch.full((LABELS,), 0.2), torch.full((ROWS, LABELS), 0.3))
    loss = UnknownLoss(BinaryCrossEntropy(), STRATEGIES[name](facts, **NEEDED.get(name, {})))
    gradients = {}
    for epoch in range(EPOCHS):
        g = torch.Generator().manual_seed(epoch)
        loss.start_epoch(epoch, EPOCHS)
        order = torch.randperm(ROWS, generator=g)[:8]
        known = torch.rand(8, LABELS, generator=g) < 0.4
        targets = Targets(torch.rand(8, LABELS, generator=g).round(), known)
        logits = torch.randn(8, LABELS, generator=g).requires_grad_()
        loss(logits[part], targets[part], Moment(order[part], epoch, EPOCHS)).backward()
        assert logits.grad is not None
        gradients[f"gradient {epoch}"] = logits.grad / world
    return {**gradients, **loss.state_dict()}


def filled(part: slice) -> dict[str, torch.Tensor]:
    """A queue after several batches, of each of which a share is given to it."""
    queue = FeatureQueue(LABELS, dim=3, size=4)
    g = torch.Generator().manual_seed(0)
    for _ in range(EPOCHS):
        features, present = torch.randn(8, LABELS, 3, generator=g), torch.rand(8, LABELS, generator=g) < 0.3
        queue.put(features[part].requires_grad_(), present[part])
    return dict(queue.state_dict())


def share(folder: str) -> None:
    """What one of two processes does; their shares differ in length."""
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    part = (slice(0, 3), slice(3, 8))[rank]
    states = {"queue": filled(part), **{name: passes(name, part, 2) for name in STRATEGIES}}
    torch.save(states, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, torch.Tensor]]]:
    folder = tmp_path_factory.mktemp("shares")
    tiny_runs.together(2, share, str(folder))
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("name", STRATEGIES)
def test_two_processes_learn_and_remember_as_one(shares: list, name: str) -> None:
    alone = passes(name, slice(0, 8), 1)
    one, two = (states[name] for states in shares)
    for key, expected in alone.items():
        if key.startswith("gradient"):
            assert expected.any()
            torch.testing.assert_close(one[key] + two[key], expected, atol=1e-6, rtol=1e-5)
        else:
            torch.testing.assert_close(one[key], expected, equal_nan=True)
            torch.testing.assert_close(two[key], one[key], equal_nan=True, atol=0, rtol=0)


def test_a_queue_keeps_the_features_of_all_processes(shares: list) -> None:
    alone = filled(slice(0, 8))
    for states in shares:
        for key, expected in alone.items():
            torch.testing.assert_close(states["queue"][key], expected, atol=0, rtol=0)


def test_a_memory_goes_through_the_distributed_wrapper(tmp_path: Path, table: Path) -> None:
    frozen = {"name": "test_convnext", "weights": "none", "freeze": True}
    data = {"source": f"parquet:{table}", "known_proportion": 0.3}
    given = {
        "method": "baseline-gap",
        "extractor": {},
        "backbone": frozen,
        "loss": {"name": "bce"},
        "epochs": 3,
    }
    config = make_config(
        tiny_runs.settings("", **given, data=data, unknown={"name": "role", "expected": 2.0})
    )
    train(config, tmp_path / "one", quiet=True)
    tiny_runs.together(2, train, config, tmp_path / "two")
    one, two = (
        torch.load(tmp_path / run / "state/last.pt", weights_only=True)["method"] for run in ("one", "two")
    )
    assert "unknown.strategy.table" in one
    for key in one:  # three epochs of Adam carry on what each sum was rounded by
        torch.testing.assert_close(two[key], one[key], atol=2e-3, rtol=2e-3)
