"""Several batches to a step: the step of the joined batch, the rest of an epoch as a smaller step, and going on."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import distributed as dist

import partial_batches
import tiny_runs
from labelwise.composition import Method
from labelwise.errors import Stopped
from labelwise.losses import Facts, UnknownLoss, build_loss
from labelwise.registry import STRATEGIES
from labelwise.runs.config import Config, make_config
from labelwise.runs.run import WEIGHTS
from labelwise.training.checkpoint import STATE, load_state
from labelwise.training.fit import train
from labelwise.training.loop import Trainer
from labelwise.training.progress import ProgressBar
from labelwise.training.stopping import StopRequest
from labelwise.types import Batch, LabelPriors, Targets
from small_trainers import a_trainer

ROWS, LABELS, STEPS = 12, partial_batches.LABELS, 5
LOSSES = ("bce", "weighted-bce", "focal", "asl", "logit-adjusted", "distribution-balanced")
COUNTS = replace(
    LabelPriors.nothing(LABELS),
    positive=torch.linspace(1, 9, LABELS).round(),
    known=torch.full((LABELS,), 12.0),
)
REDUCTIONS = ("mean_known", "label_sum", "sum")
OF_THE_BATCH = {"epr", "role", "vpu", "csl"}
"""Strategies with a part that needs the joined batch."""
NEEDED: dict[str, dict[str, Any]] = {"epr": {"expected": 1.5}, "role": {"expected": 1.5}, "external": {}}
SCORES = torch.rand(ROWS, LABELS, generator=torch.Generator().manual_seed(3))
SCORES[1, 2] = SCORES[9, 0] = float("nan")
CASES = [
    *({"loss": name, "reduction": reduction} for name in LOSSES for reduction in REDUCTIONS),
    *({"unknown": name} for name in STRATEGIES if name not in OF_THE_BATCH),
    {"unknown": "negative", "reduction": "label_sum"},
    {"unknown": "hill", "reduction": "sum"},
]


def a_method(loss: str = "bce", reduction: str = "mean_known", unknown: str = "") -> Method:
    """In float64; without losses of the whole batch, in an epoch in which strategies act on single cells."""
    method = partial_batches.build((0 if unknown.startswith("ll-") else 6, 10))
    method.criterion = build_loss(loss, torch.linspace(0.1, 0.8, LABELS), COUNTS, reduction=reduction)
    if unknown:
        facts = Facts(ROWS, LABELS, torch.full((LABELS,), 0.2), SCORES)
        rule = STRATEGIES[unknown](facts, **NEEDED.get(unknown, {}))
        if unknown == "em-apl":
            rule.pseudo.copy_(SCORES.nan_to_num().masked_fill(SCORES < 0.5, float("nan")))
        method.unknown = UnknownLoss(method.criterion, rule)
    return method.double()


def parts_of_a_step(seed: int) -> list[Batch]:
    """Two batches, of 8 and of 4 images: 38 cells are known of the first, 2 of the second."""
    g = torch.Generator().manual_seed(seed)
    batches = []
    for first, rows, known in ((0, 8, 38), (8, 4, 2)):
        known_cells = torch.zeros(rows * LABELS, dtype=torch.bool)
        known_cells[torch.randperm(len(known_cells), generator=g)[:known]] = True
        values = (torch.rand(rows, LABELS, generator=g) < 0.5).float()
        images = torch.randn(rows, partial_batches.CHANNELS, 3, 4, generator=g, dtype=torch.float64)
        index = torch.arange(first, first + rows)
        batches.append(Batch(images, Targets(values, known_cells.unflatten(0, values.shape)), index))
    return batches


def joined(parts: list[Batch]) -> Batch:
    values, known = (torch.cat([getattr(b.targets, name) for b in parts]) for name in ("values", "known"))
    return Batch(
        torch.cat([b.images for b in parts]), Targets(values, known), torch.cat([b.index for b in parts])
    )


def share(batch: Batch, rank: int, world: int) -> Batch:
    """Unequal shares: of two processes the first has one image in four."""
    edge = len(batch.index) // 4
    rows = slice(None) if world == 1 else (slice(0, edge), slice(edge, None))[rank]
    return Batch(batch.images[rows], batch.targets[rows], batch.index[rows])


def weights_after(folder: Path, case: dict[str, str], accumulate: int, rank: int = 0, world: int = 1) -> Any:
    """Weights and reported losses after five steps of plain SGD, which depends on the scale of a gradient."""
    optim = {"name": "sgd", "lr": 0.3, "clip_norm": 0, "accumulate": accumulate, "schedule": "constant"}
    batches: list[Batch] = []
    for step in range(STEPS):
        parts = parts_of_a_step(step)
        batches += parts if accumulate > 1 else [joined(parts)]
    batches = [share(batch, rank, world) for batch in batches]
    trainer = a_trainer(folder, batches, a_method(**case).train(), optim=optim, ema=0.0)
    stream, losses = iter(batches), []
    for _ in range(STEPS):
        terms, _, _ = trainer._step(stream)
        losses.append(trainer._process_mean(terms["loss"]))
        trainer.progress.step += 1
    return {"losses": torch.stack(losses), **{n: p.detach() for n, p in trainer.method.named_parameters()}}


@functools.cache
def _of_the_joined(case: tuple[tuple[str, str], ...]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return weights_after(Path(folder), dict(case), 1)


def of_the_joined(case: dict[str, str]) -> Any:
    """Weights after steps of joined batches, the same for all that is compared with them."""
    return _of_the_joined(tuple(case.items()))


def assert_close(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(
            actual[name], value, atol=1e-6, rtol=0, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(case.values()))
def test_an_accumulated_step_is_that_of_the_joined_batch(tmp_path: Path, case: dict[str, str]) -> None:
    one, two = of_the_joined(case), weights_after(tmp_path, case, 2)
    begun = dict(a_method(**case).named_parameters())
    assert max((one[name] - p).abs().max() for name, p in begun.items()) > 1e-3
    assert_close(two, one)


def _over_processes(folder: str) -> None:
    rank = int(os.environ["RANK"])
    ends = [weights_after(Path(folder) / f"{rank}-{i}", case, 2, rank, 2) for i, case in enumerate(CASES)]
    torch.save(ends, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_it_is_so_over_two_processes(tmp_path: Path) -> None:
    tiny_runs.together(2, _over_processes, str(tmp_path))
    for rank in (0, 1):
        for case, weights in zip(CASES, torch.load(tmp_path / f"{rank}.pt"), strict=True):
            assert_close(weights, of_the_joined(case))


@pytest.mark.parametrize("unknown", ["csl", "vpu", "epr", "role"])
def test_what_needs_the_joined_batch_is_averaged(tmp_path: Path, unknown: str) -> None:
    parts = parts_of_a_step(0)
    method = a_method(unknown=unknown)
    divisor = method.divisor(parts)
    known = [int(b.targets.known.sum()) for b in parts]
    assert known == [38, 2]
    assert divisor is None if unknown == "csl" else divisor is not None
    assert method.unknown is not None
    if unknown == "vpu":  # unknown cells do not count in the mean
        assert divisor == 20
    if unknown in ("epr", "role"):
        assert divisor == ROWS * LABELS / 2
    trainer = a_trainer(tmp_path, parts, method.train(), optim={"accumulate": 2}, ema=0.0)
    own = [a_method(unknown=unknown).train()(b)["loss"].item() for b in parts]
    terms, _, _ = trainer._step(iter(parts))
    if unknown == "csl":
        assert terms["loss"].item() == pytest.approx(sum(own) / 2, rel=1e-9)


def test_losses_that_compare_cells_are_averaged() -> None:
    method = a_method()
    method.criterion = build_loss("two-way")
    assert method.divisor(parts_of_a_step(0)) is None


def test_nothing_known_in_a_whole_step_moves_nothing(tmp_path: Path) -> None:
    parts = parts_of_a_step(0)
    for part in parts:
        part.targets.known[:] = False
    trainer = a_trainer(
        tmp_path,
        parts,
        a_method().train(),
        ema=0.0,
        optim={"name": "sgd", "accumulate": 2, "weight_decay": 0},
    )
    before = [p.detach().clone() for p in trainer.method.parameters()]
    terms, _, _ = trainer._step(iter(parts))
    assert terms["loss"] == 0
    assert all(torch.equal(p, old) for p, old in zip(trainer.method.parameters(), before, strict=True))


# The rest of an epoch.


def _runs(folder: Path, accumulate: int, batches: int = 5) -> tuple[Trainer, list[int]]:
    """A trainer over some batches an epoch, and the number of batches of each step that it makes in one epoch."""
    stream = [part for seed in range(batches) for part in parts_of_a_step(seed)[:1]]
    rank = int(os.environ.get("RANK", "0"))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    stream = [share(batch, rank, world) for batch in stream]
    trainer = a_trainer(
        folder, stream, a_method().train(), epochs=2, ema=0.0, optim={"accumulate": accumulate, "name": "sgd"}
    )
    honest, sizes = trainer._step, []

    def step(batches: Any) -> Any:
        outcome = honest(batches)
        sizes.append(outcome[2] // 8 if world == 1 else outcome[2] // (2 * len(stream[0].index)))
        return outcome

    trainer._step = step  # type: ignore[method-assign]
    return trainer, sizes


@pytest.mark.parametrize(
    ("accumulate", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (4, [4, 1]), (5, [5]), (9, [5])]
)
def test_the_rest_of_an_epoch_is_a_smaller_step(
    tmp_path: Path, accumulate: int, sizes: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer, counts = _runs(tmp_path, accumulate)
    assert trainer.steps == 2 * len(sizes)
    progress = trainer.fit(ProgressBar())
    assert counts == sizes * 2
    assert progress.step == 2 * len(sizes)
    printed = capsys.readouterr().err
    warning = f"warning: optim.accumulate={accumulate} but 5 batches an epoch: each epoch is one step"
    assert (warning in printed) is (accumulate == 9)


def test_the_smaller_step_is_that_of_what_it_has(tmp_path: Path) -> None:
    batches = [part for seed in range(3) for part in parts_of_a_step(seed)[:1]]
    optim = {"name": "sgd", "lr": 0.3, "clip_norm": 0, "schedule": "constant", "warmup": 0.0}
    ends = []
    for accumulate, stream in ((2, batches), (1, [joined(batches[:2]), batches[2]])):
        trainer = a_trainer(
            tmp_path / str(accumulate),
            stream,
            a_method().train(),
            optim={**optim, "accumulate": accumulate},
            ema=0.0,
            epochs=1,
        )
        trainer._epoch(ProgressBar(quiet=True), 0.0)
        assert trainer.progress.step == 2
        ends.append({name: p.detach() for name, p in trainer.method.named_parameters()})
    assert_close(*ends)


def _ends(folder: str) -> None:
    """Weights are the same in both processes after each step, so gradients were joined in its last part."""
    trainer, _ = _runs(Path(folder), 2)
    honest = trainer._step

    def step(batches: Any) -> Any:
        outcome = honest(batches)
        weights = torch.cat([p.detach().flatten() for p in trainer.method.parameters()])
        everywhere = [torch.empty_like(weights) for _ in range(2)]
        dist.all_gather(everywhere, weights)
        assert torch.equal(*everywhere)
        return outcome

    trainer._step = step  # type: ignore[method-assign]
    trainer.fit(ProgressBar(quiet=True))
    assert trainer.progress.step == 6
    torch.save(trainer.method.state_dict(), f"{folder}/{trainer.accelerator.process_index}.pt")
    dist.destroy_process_group()


def test_the_rest_of_an_epoch_over_two_processes(tmp_path: Path) -> None:
    tiny_runs.together(2, _ends, str(tmp_path))
    trainer, _ = _runs(tmp_path / "one", 2)
    trainer.fit(ProgressBar(quiet=True))
    expected = {name: p.detach() for name, p in trainer.method.named_parameters()}
    for rank in (0, 1):
        assert_close(torch.load(tmp_path / f"{rank}.pt"), expected)


@pytest.fixture(scope="module")
def whole(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[Config, Path]]:
    """Settings that join some batches, and the run that nobody stops, made once for each number."""

    @functools.cache
    def made(accumulate: int) -> tuple[Config, Path]:
        optim, out = {"accumulate": accumulate}, tmp_path_factory.mktemp("whole")
        data = {"source": f"parquet:{table}", "train_images": 24}
        config = make_config(tiny_runs.settings("", data=data, batch_size=4, optim=optim, epochs=2))
        train(config, out / "run", quiet=True)
        return config, out / "run"

    return made


@pytest.mark.parametrize(("steps", "accumulate"), [(2, 4), (3, 4), (1, 8)])
@pytest.mark.usefixtures("unjudged")
def test_going_on_in_an_epoch_with_a_rest(
    tmp_path: Path, whole: Any, monkeypatch: pytest.MonkeyPatch, steps: int, accumulate: int
) -> None:
    """Six batches an epoch; a stop after the last step of the epoch is one of those."""
    config, expected = whole(accumulate)
    stop, honest = StopRequest(), Trainer._step

    def step(self: Trainer, batches: Any) -> Any:
        outcome = honest(self, batches)
        if self.progress.step + 1 == steps:
            stop.by = "a test"
        return outcome

    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        with pytest.raises(Stopped):
            train(config, out, quiet=True, stop=stop)
    assert load_state(out / STATE)[0].step == steps
    train(config, out, quiet=True, resume=True)
    assert (out / WEIGHTS).read_bytes() == (expected / WEIGHTS).read_bytes()
    last, of_whole = (load_state(run / STATE)[1]["method"] for run in (out, expected))
    assert all(torch.equal(last[name], value) for name, value in of_whole.items())
