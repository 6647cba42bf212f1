"""Loss classes: masks, precision, options and two processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import tiny_runs
from labelwise.errors import LabelwiseError
from labelwise.losses import (
    AsymmetricLoss,
    BinaryCrossEntropy,
    FocalLoss,
    WeightedBinaryCrossEntropy,
    build_loss,
    functional,
)
from labelwise.types import Targets

RATE = torch.tensor([0.1, 0.5, 0.7])
REDUCTIONS = ("mean_known", "label_sum", "sum")
LOSSES: dict[str, Callable[..., nn.Module]] = {
    "bce": BinaryCrossEntropy,
    "weighted-bce": lambda **options: WeightedBinaryCrossEntropy(RATE, **options),
    "focal": FocalLoss,
    "asl": lambda **options: AsymmetricLoss(4.0, 1.0, 0.05, **options),
}
every_loss = pytest.mark.parametrize("name", LOSSES)
every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)


def some_batch(seed: int = 0, rows: int = 4, scale: float = 2.0) -> tuple[Tensor, Targets]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(rows, 3, generator=generator)
    values = torch.rand(rows, 3, generator=generator).round()
    return logits, Targets(values, torch.rand(rows, 3, generator=generator) < 0.7)


def with_gradient(loss: nn.Module, logits: Tensor, targets: Targets | Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, targets)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


@every_loss
@every_reduction
def test_known_cells_alone_count(name: str, reduction: str) -> None:
    logits, targets = some_batch()
    one_by_one = LOSSES[name](reduction="sum")
    total = torch.zeros(())
    for row, label in targets.known.nonzero().tolist():
        only = torch.zeros_like(targets.known)
        only[row, label] = True
        total = total + one_by_one(logits, Targets(targets.values, only))
    over = {"sum": 1, "label_sum": len(logits), "mean_known": int(targets.known.sum())}[reduction]
    torch.testing.assert_close(LOSSES[name](reduction=reduction)(logits, targets), total / over)


@every_loss
@every_reduction
@pytest.mark.parametrize("filling", [0.0, 1.0, 0.3, float("nan"), float("inf")])
def test_unknown_values_have_no_influence_bit_for_bit(name: str, reduction: str, filling: float) -> None:
    logits, targets = some_batch()
    other = Targets(targets.values.masked_fill(~targets.known, filling), targets.known)
    loss = LOSSES[name](reduction=reduction)
    for before, after in zip(
        with_gradient(loss, logits, targets), with_gradient(loss, logits, other), strict=True
    ):
        assert torch.equal(before, after)


@every_loss
@every_reduction
def test_all_unknown_is_exactly_zero_with_zero_gradients(name: str, reduction: str) -> None:
    logits, targets = some_batch()
    nothing = Targets(targets.values, torch.zeros_like(targets.known))
    value, gradient = with_gradient(LOSSES[name](reduction=reduction), logits, nothing)
    assert value.item() == 0
    assert not gradient.any()


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_finite_and_near_full_precision(name: str, dtype: torch.dtype) -> None:
    logits = torch.linspace(-60, 60, 60).view(20, 3)
    values = (torch.arange(60).view(20, 3) % 2).float()
    loss = LOSSES[name]()
    expected, _ = with_gradient(loss, logits, values)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradient = with_gradient(loss, logits.to(dtype), values)
    assert value.dtype == torch.float32
    assert gradient.isfinite().all()
    assert value.item() == pytest.approx(expected.item(), rel=0.02)


@every_loss
def test_tensor_with_nan_or_mask_equals_targets(name: str) -> None:
    logits, targets = some_batch()
    loss = LOSSES[name]()
    expected = loss(logits, targets)
    assert torch.equal(loss(logits, targets.values.masked_fill(~targets.known, float("nan"))), expected)
    assert torch.equal(loss(logits, targets.values, targets.known), expected)


def test_default_options_equal_the_functional_core() -> None:
    logits, targets = some_batch()
    z, y, k = logits, targets.values, targets.known
    for loss, cells in [
        (build_loss("bce"), functional.binary_cross_entropy(z, y)),
        (build_loss("focal"), functional.focal(z, y, 2.0, 0.25)),
        (build_loss("asl"), functional.asymmetric(z, y, 2.0, 0.0, 0.0)),
    ]:
        torch.testing.assert_close(loss(logits, targets), cells[k].sum() / k.sum())
    weighted = build_loss("weighted-bce", RATE)(logits, targets)
    cells = functional.weighted_binary_cross_entropy(z, y, RATE)
    torch.testing.assert_close(weighted, cells[k].sum() / len(z))


def test_options_reach_the_loss() -> None:
    logits, targets = some_batch()
    value = build_loss("asl", gamma_negative=1.0, gamma_positive=3.0, margin=0.2, reduction="sum")(
        logits, targets
    )
    cells = functional.asymmetric(logits, targets.values, 1.0, 3.0, 0.2)
    torch.testing.assert_close(value, cells[targets.known].sum())


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        (
            "bcee",
            {},
            "loss 'bcee'; expected one of asl, bce, distribution-balanced, focal, logit-adjusted, two-way, "
            "weighted-bce; did you mean bce?",
        ),
        ("asl", {"gama": 2}, "loss.gama; expected one of gamma_negative, "),
        (
            "bce",
            {"reduction": "mean"},
            "loss.reduction='mean'; expected one of mean_known, label_sum, sum; correct the option",
        ),
        (
            "weighted-bce",
            {},
            "loss 'weighted-bce' without positive_rate; expected what its method or data pass to it; ",
        ),
    ],
)
def test_bad_options_are_refused(name: str, options: dict, says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        build_loss(name, **options)
    assert str(error.value).startswith(says)


CASES = ("uneven", "one process knows nothing", "one cell in all")


def known_of(case: str, targets: Targets) -> Tensor:
    known = targets.known.clone()
    if case != "uneven":
        known[4:] = False
    if case == "one cell in all":
        known[:] = False
        known[1, 2] = True
    return known


def _process(folder: str, name: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    logits, targets = some_batch(rows=6)
    # Uneven on purpose: one process has more images and knows more than the other.
    rows = slice(0, 4) if rank == 0 else slice(4, 6)
    outcomes = {}
    for case in CASES:
        known = known_of(case, targets)
        part = Targets(targets.values[rows], known[rows])
        for reduction in REDUCTIONS:
            loss = LOSSES[name](reduction=reduction)
            value, gradient = with_gradient(loss, logits[rows], part)
            with torch.no_grad():
                outcomes[case, reduction] = value, gradient, loss(logits[rows], part)
    torch.save(outcomes, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_mean_over_two_processes_equals_one_process(tmp_path: Path) -> None:
    tiny_runs.together(2, _process, str(tmp_path), "asl")
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    logits, targets = some_batch(rows=6)
    for (case, reduction), (value, gradient, quiet) in first.items():
        known = known_of(case, targets)
        loss = LOSSES["asl"](reduction=reduction)
        expected, expected_gradient = with_gradient(loss, logits, Targets(targets.values, known))
        other_value, other_gradient, _ = second[case, reduction]
        torch.testing.assert_close((value + other_value) / 2, expected)
        # Each image lives in one process; the mean over processes is what a parameter would receive.
        torch.testing.assert_close(torch.cat([gradient, other_gradient]) / 2, expected_gradient)
        alone = loss(logits[:4], Targets(targets.values[:4], known[:4]))
        torch.testing.assert_close(quiet, alone)
