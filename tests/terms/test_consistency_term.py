"""Group consistency: the memory by hand and by a loop, its warm-up, sizes of maps, and two processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tiny_runs
from labelwise.composition import Method
from labelwise.errors import LabelwiseError
from labelwise.losses import BinaryCrossEntropy
from labelwise.methods import create_method
from labelwise.model import LabelModel
from labelwise.terms.consistency import ConsistencyTerm
from labelwise.terms.term import HeadSizes, Step, Term
from labelwise.types import Batch, Group, LabelSet, Output, Targets

GROUPS = ((0, 1), (2,), (1, 3))  # label 1 in two groups, label 4 in none
LABELS = 5
MODEL = LabelModel(nn.Identity(), nn.Identity(), None)
GROUPED = LabelSet(
    ("hat", "hair", "shoes", "boots"),
    {"head": Group(("hat", "hair")), "feet": Group(("shoes", "boots"), exclusive=True)},
)


def make(**options: Any) -> ConsistencyTerm:
    options = {"weight": 1.0, "warmup": 0, "rows": 2, "columns": 3, **options}
    return ConsistencyTerm(HeadSizes(LABELS, 4, 4, GROUPS), **options).double()


def a_step(seed: int = 0, rows: int = 6, h: int = 2, w: int = 3, epoch: int = 0) -> Step:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(rows, LABELS, h * w, generator=generator).double().softmax(2).unflatten(2, (h, w))
    logits = torch.randn(rows, LABELS, generator=generator)
    values = torch.rand(rows, LABELS, generator=generator).round()
    targets = Targets(values, torch.rand(rows, LABELS, generator=generator) < 0.8)
    features = torch.zeros(rows, LABELS, 4)
    output = Output(logits, features, maps.requires_grad_(), features)
    return Step(MODEL, targets, output, BinaryCrossEntropy(), torch.arange(rows), epoch, 5)


def slow(memory: list[Tensor | None], step: Step, momentum: float) -> tuple[list[Tensor | None], float]:
    """The memory after a step, and the step's loss, by loops over groups and cells."""
    maps, t = step.output.maps, step.targets
    assert maps is not None
    after, distances = [], []
    for group, old in zip(GROUPS, memory, strict=True):
        cells = [(b, label) for b in range(len(maps)) for label in group if t.known[b, label]]
        cells = [(b, label) for b, label in cells if t.values[b, label] == 1]
        sure = [
            maps[b, label].flatten() for b, label in cells if step.output.logits[b, label].sigmoid() >= 0.5
        ]
        new = old
        if sure:
            mean = sum(sure) / len(sure)
            new = mean if old is None else momentum * old + (1 - momentum) * mean
            new = (new / new.sum()).detach()  # type: ignore[union-attr]
        after.append(new)
        if new is not None:
            distances += [(maps[b, label].flatten() - new).square().sum().item() for b, label in cells]
    return after, sum(distances) / max(1, len(distances))


@pytest.mark.parametrize("momentum", [0.9, 0.3])
def test_loops_over_groups_and_cells(momentum: float) -> None:
    term = make(momentum=momentum, weight=2.0)
    memory: list[Tensor | None] = [None] * len(GROUPS)
    for seed in range(5):
        step = a_step(seed, rows=2)
        memory, loss = slow(memory, step, momentum)
        assert term(step)["consistency"].item() == pytest.approx(2 * loss, rel=1e-9)
        assert loss > 0
        for row, expected, seen in zip(term.memory, memory, term.seen, strict=True):
            assert bool(seen) is (expected is not None)
            torch.testing.assert_close(
                row, torch.full((6,), 1 / 6, dtype=row.dtype) if expected is None else expected
            )
        torch.testing.assert_close(term.memory.sum(1), torch.ones(3, dtype=torch.float64))
    assert term.seen.all()


def test_values_by_hand() -> None:
    term = ConsistencyTerm(HeadSizes(2, 1, 1, ((0, 1),)), weight=1.0, warmup=0, rows=1, columns=2)
    maps = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    output = Output(torch.tensor([[1.0, -1.0]]), torch.zeros(1, 2, 1), maps, torch.zeros(1, 2, 1))
    step = Step(MODEL, Targets.of(torch.ones(1, 2)), output, BinaryCrossEntropy(), torch.arange(1), 0, 1)
    # Only the first label is sure of itself: the memory is its map, from which the other stands at 1 + 1.
    assert term(step)["consistency"].item() == pytest.approx((0 + 2) / 2)
    assert term.memory.tolist() == [[1.0, 0.0]]
    step.output.logits = torch.tensor([[-1.0, 1.0]])
    term(step)
    assert term.memory[0].tolist() == pytest.approx([0.9, 0.1])


def test_gradients_reach_maps_of_held_cells_alone_and_never_the_memory() -> None:
    term, step = make(), a_step()
    term(step)["consistency"].backward()
    maps, t = step.output.maps, step.targets
    assert maps is not None
    held = t.known & (t.values == 1)
    held &= torch.stack([term.seen[[0, 0, 1, 2, 2]]]) & (torch.arange(LABELS) < 4)
    assert held.any()
    assert maps.grad is not None
    assert torch.equal(maps.grad.flatten(2).any(2), held)
    fixed = term.eval()
    assert torch.autograd.gradcheck(
        lambda m: fixed(_with_maps(step, m))["consistency"], maps.detach().clone().requires_grad_()
    )


def _with_maps(step: Step, maps: Tensor) -> Step:
    output = Output(step.output.logits, step.output.features, maps, step.output.decoupled)
    return Step(step.model, step.targets, output, step.criterion, step.index, step.epoch, step.epochs)


def test_the_warm_up_fills_the_memory_and_asks_for_nothing() -> None:
    term = make(warmup=2)
    for epoch in (0, 1):
        step = a_step(epoch, epoch=epoch)
        loss = term(step)["consistency"]
        loss.backward()
        assert loss.item() == 0
        assert step.output.maps is not None
        assert step.output.maps.grad is not None
        assert not step.output.maps.grad.any()
    assert term.seen.all()
    assert term(a_step(epoch=2))["consistency"] > 0


def test_judging_leaves_the_memory_alone() -> None:
    term = make()
    term(a_step())
    before = term.memory.clone()
    term.eval()(a_step(1))
    assert torch.equal(term.memory, before)
    term.train()(a_step(1))
    assert not torch.equal(term.memory, before)


def test_nothing_known_is_exactly_zero_and_leaves_the_memory_alone() -> None:
    term, step = make(), a_step()
    term(a_step(1))
    before = term.memory.clone()
    step.targets.known[:] = False
    loss = term(step)["consistency"]
    loss.backward()
    assert loss.item() == 0
    assert step.output.maps is not None
    assert step.output.maps.grad is not None
    assert not step.output.maps.grad.any()
    assert torch.equal(term.memory, before)


@pytest.mark.parametrize("filling", [0.0, 1.0, float("nan")])
def test_unknown_cells_have_no_influence_bit_for_bit(filling: float) -> None:
    outcomes = []
    for value in (0.5, filling):
        term, step = make(), a_step()
        step.targets.values[~step.targets.known] = value
        loss = term(step)["consistency"]
        loss.backward()
        assert step.output.maps is not None
        outcomes.append((loss.detach(), step.output.maps.grad, term.memory))
    assert all(torch.equal(a, b) for a, b in zip(*outcomes, strict=True))


@pytest.mark.parametrize("factor", [2, 3])
def test_larger_maps_of_one_aspect_are_averaged_onto_the_grid(factor: int) -> None:
    term, step = make(), a_step()
    maps = step.output.maps
    assert maps is not None
    larger = maps.repeat_interleave(factor, 2).repeat_interleave(factor, 3) / factor**2
    torch.testing.assert_close(term.on_grid(larger), maps.flatten(2))
    grid = term.on_grid(a_step(h=6, w=9).output.maps)  # type: ignore[arg-type]
    torch.testing.assert_close(grid.sum(2), torch.ones(6, LABELS, dtype=torch.float64))


def test_maps_of_another_aspect_are_refused() -> None:
    with pytest.raises(LabelwiseError) as error:
        make()(a_step(h=3, w=3))
    assert str(error.value) == (
        "maps of 3 x 3 places for a group memory of 2 x 3; expected maps of the memory's aspect ratio, since a "
        "location must mean the same in every image; set consistency.rows and consistency.columns to the map's"
    )


def build(name: str, labels: LabelSet | tuple[str, ...], **options: Any) -> Method:
    torch.manual_seed(0)
    return create_method(name, labels, "test_resnet", weights="none", image_size=64, **options)


def a_batch(rows: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (rows, 3, 64, 64), generator=generator, dtype=torch.uint8)
    values = torch.randint(0, 2, (rows, 4), generator=generator).float()
    return Batch(images, Targets.of(values), torch.arange(rows))


def test_dafl_has_its_term_where_labels_have_groups() -> None:
    method = build("dafl", GROUPED)
    term = method.terms["consistency"]
    assert isinstance(term, Term)
    assert term.needs_maps
    assert term.weight == 1.0
    assert term.memory.shape == (2, 49)
    method.clock = (1, 3)
    losses = method(a_batch())
    losses["loss"].backward()
    assert losses["consistency"] > 0
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)
    assert not build("dafl", GROUPED.names).terms
    assert not build("dafl", GROUPED, terms={"consistency": {"weight": 0.0}}).terms


def test_only_the_term_moves_the_maps_towards_the_memory() -> None:
    method = build("dafl", GROUPED, extractor={"dropout": 0.0, "map_dropout": 0.0, "query_std": 1.0})
    method.clock = (1, 3)
    method(a_batch())
    optimizer = torch.optim.Adam(method.model.extractor.parameters(), 1e-4)
    method.eval()
    losses = []
    for _ in range(20):
        loss = method(a_batch())["consistency"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@torch.no_grad()
def test_the_memory_is_state() -> None:
    method, other = build("dlfl", GROUPED, terms={"consistency": {"weight": 1.0}}), None
    method(a_batch())
    state = method.state_dict()
    assert {key for key in state if key.startswith("terms.")} == {
        "terms.consistency.memory",
        "terms.consistency.seen",
    }
    other = build("dlfl", GROUPED, terms={"consistency": {"weight": 1.0}})
    assert not torch.equal(other.terms["consistency"].memory, method.terms["consistency"].memory)
    other.load_state_dict(state, strict=True)
    method.clock = other.clock = (1, 3)
    torch.manual_seed(2)
    expected = method(a_batch())["loss"]
    torch.manual_seed(2)
    assert torch.equal(other(a_batch())["loss"], expected)


@pytest.mark.parametrize(
    ("labels", "options", "says"),
    [
        (
            GROUPED.names,
            {},
            "consistency.weight for labels without groups; expected labels in groups, "
            "LabelSet(names, groups={name: Group(labels)}); name the groups or set the weight to 0",
        ),
        (
            GROUPED,
            {"momentum": 1.1},
            "consistency.momentum=1.1; expected a number from 0 to 1; correct the option",
        ),
        (GROUPED, {"rows": 0}, "consistency.rows=0; expected a whole number from 1; correct the option"),
    ],
)
def test_what_does_not_fit_is_refused(labels: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        build("dlfl", labels, terms={"consistency": {"weight": 1.0, **options}})
    assert says in str(error.value)


def _part(step: Step, rows: slice) -> Step:
    o = step.output
    assert o.maps is not None
    maps = o.maps.detach()[rows].clone().requires_grad_()
    output = Output(o.logits[rows], o.features[rows], maps, o.decoupled[rows])
    return Step(step.model, step.targets[rows], output, step.criterion, step.index[rows], 1, 5)


def member(folder: str) -> None:
    """One of two processes, with four images or two."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo")
    rank, term = torch.distributed.get_rank(), make()
    steps = []
    for seed in range(3):
        step = _part(a_step(seed), slice(0, 4) if rank == 0 else slice(4, 6))
        loss = term(step)["consistency"]
        loss.backward()
        steps.append((loss.detach(), step.output.maps.grad, term.memory.clone()))  # type: ignore[union-attr]
    torch.save(steps, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one_with_the_joined_batch(tmp_path: Path) -> None:
    tiny_runs.together(2, member, str(tmp_path))
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    term = make()
    for seed, (one, two) in enumerate(zip(first, second, strict=True)):
        step = _part(a_step(seed), slice(None))
        loss = term(step)["consistency"]
        loss.backward()
        torch.testing.assert_close((one[0] + two[0]) / 2, loss.detach())
        torch.testing.assert_close(torch.cat([one[1], two[1]]) / 2, step.output.maps.grad)  # type: ignore[union-attr]
        for memory in (one[2], two[2]):
            torch.testing.assert_close(memory, term.memory)
