"""Memories against slow rules written from the equations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from labelwise.continual.memories import (
    ClassBalanced,
    DistributionMatching,
    PartitioningReservoir,
    Reservoir,
    make_memory,
)
from labelwise.continual.memory import Memory

RULES = ("reservoir", "balanced", "prs", "ocdm")


def stream(rows: int, labels: int, seed: int = 0, most: int = 3) -> np.ndarray:
    """Long-tailed marks, some rows without a label."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, labels + 1)
    marks = np.zeros((rows, labels), bool)
    for row in marks:
        row[rng.choice(labels, int(rng.integers(0, most + 1)), p=share / share.sum())] = True
    return marks


def feed(memory: Memory, marks: np.ndarray, start: int = 0, batch: int = 7) -> None:
    for i in range(start, len(marks), batch):
        memory.offer(np.arange(i, min(i + batch, len(marks))), marks[i : i + batch], i // 50)


@pytest.mark.parametrize("rule", RULES)
def test_counts_are_those_of_a_recount(rule: str) -> None:
    marks = stream(300, 6)
    memory = make_memory(rule, 40, 6, seed=1)
    for i in range(0, 300, 7):
        memory.offer(np.arange(i, min(i + 7, 300)), marks[i : i + 7], i // 50)
        held = memory.rows[memory.rows >= 0]
        assert len(set(held.tolist())) == len(held) == min(40, i + 7, 300)
        assert (memory.held == marks[held].sum(0)).all()
        assert (memory.seen == marks[: i + 7].sum(0)).all()
        assert (marks[held] == memory.marks[:, memory.rows >= 0].T).all()
    assert (memory.tasks[memory.rows >= 0] == held // 7 * 7 // 50).all()
    rows, _ = memory.draw(15)
    assert len(set(rows.tolist())) == 15
    assert set(rows.tolist()) <= set(held.tolist())
    assert len(memory.draw(100)[0]) == 40


def test_a_reservoir_keeps_every_row_alike() -> None:
    kept, runs = np.zeros(30), 700
    marks = np.ones((30, 1), bool)
    for seed in range(runs):
        memory = Reservoir(6, 1, seed)
        memory.offer(np.arange(30), marks)
        kept[memory.rows] += 1
    error = math.sqrt(0.2 * 0.8 / runs)
    assert np.abs(kept / runs - 0.2).max() < 4.5 * error


def divergence(marks: np.ndarray, target: np.ndarray) -> float:
    """KL of the shares of rows that remain from a target, term by term."""
    total, total_divergence = marks.sum(), 0.0
    for j in range(marks.shape[1]):
        u = marks[:, j].sum() / total
        if u > 0:
            total_divergence += u * math.log(u / target[j])
    return total_divergence


def test_matching_by_hand() -> None:
    marks = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], bool)
    assert divergence(marks[1:], np.array([0.5, 0.5])) == pytest.approx(0.0566, abs=1e-4)
    assert divergence(marks[:3], np.array([0.5, 0.5])) == pytest.approx(0.6931, abs=1e-4)
    memory = DistributionMatching(3, 2, seed=0)
    memory.offer(np.arange(4), marks)
    assert memory.held.tolist() == [2, 1]
    assert 3 in memory.rows


@pytest.mark.parametrize(("labels", "power"), [(4, 0.0), (9, 0.5), (9, 1.0)])
def test_matching_leaves_out_the_best_row(labels: int, power: float) -> None:
    marks = stream(200, labels, seed=2)
    marks[:3] = True  # rows with all labels, for sizes that differ much
    memory = DistributionMatching(30, labels, 0, power)
    memory.offer(np.arange(30), marks[:30])
    for i in range(30, 200):
        before = [*memory.rows[memory.rows >= 0].tolist(), i]
        memory.offer(np.array([i]), marks[i : i + 1])
        seen = marks[: i + 1].sum(0)
        target = np.where(seen > 0, np.maximum(seen, 1) ** float(power), 0)
        target = target / target.sum()
        best = min(divergence(marks[[r for r in before if r != out]], target) for out in before)
        assert divergence(marks[memory.rows[memory.rows >= 0]], target) == pytest.approx(best, abs=1e-8)
        assert memory.target() == pytest.approx(target)


def test_of_equal_rows_matching_keeps_an_even_sample() -> None:
    kept, runs = np.zeros(40), 150
    marks = np.zeros((40, 2), bool)
    marks[:, 0] = True
    for seed in range(runs):
        memory = DistributionMatching(8, 2, seed)
        feed(memory, marks, batch=5)
        kept[memory.rows[memory.rows >= 0]] += 1
    assert np.abs(kept / runs - 0.2).max() < 4.5 * math.sqrt(0.16 / runs)


def test_admission_to_a_partitioning_reservoir() -> None:
    memory = PartitioningReservoir(10, 3, seed=0, power=0.5)
    memory.seen[:] = [100, 25, 0]
    raised = np.array([10.0, 5.0, 0.0])
    shares = [10 / 15, 5 / 15]
    weight = [math.exp(-75), 1.0]
    rates = [shares[0] * 10 / 100, shares[1] * 10 / 25]
    slow = sum(w * r for w, r in zip(weight, rates, strict=True)) / sum(weight)
    assert memory._admission(np.array([0, 1]), raised, 15.0) == pytest.approx(slow)
    assert memory._admission(np.array([1, 2]), raised, 15.0) == pytest.approx(1.0, abs=1e-9)
    memory.offered = 39
    assert memory._admission(np.array([], int), raised, 15.0) == 10 / 40


def test_what_leaves_a_partitioning_reservoir() -> None:
    marks = stream(60, 4, seed=3)
    memory = PartitioningReservoir(60, 4, seed=0)
    feed(memory, marks)
    shares = np.full(4, 0.25)
    excess = memory.held - shares * memory.held.sum()
    allowed = set()
    for label in range(4):
        having = [i for i in range(60) if marks[i, label]]
        scarce = [sum(marks[i, j] and excess[j] <= 0 for j in range(4)) for i in having]
        few = [i for i, s in zip(having, scarce, strict=True) if s == min(scarce)]
        loss = []
        for i in few:
            left = memory.held - marks[i]
            loss.append(sum(abs(left[j] - shares[j] * left.sum()) for j in range(4)))
        allowed.add(few[int(np.argmin(loss))])
    top = int(excess.argmax())
    for _ in range(20):
        place = memory._slot_to_clear(shares)
        assert place in allowed
        assert marks[place, top] or excess[top] < 20  # softmax over counts: the largest excess in effect


@pytest.mark.parametrize(("rule", "power"), [("prs", 0.0), ("prs", 0.3), ("ocdm", 0.0), ("ocdm", 1.0)])
def test_shares_meet_their_target(rule: str, power: float) -> None:
    marks = stream(3000, 10, seed=4)
    memory = make_memory(rule, 300, 10, 0, power)
    feed(memory, marks, batch=10)
    assert memory.distance() <= 0.05
    assert memory.target().sum() == pytest.approx(1)
    if not power:
        even = make_memory("reservoir", 300, 10, 0)
        feed(even, marks, batch=10)
        assert np.abs(even.histogram() - 0.1).sum() / 2 > 0.2


def test_a_balanced_memory_is_nearly_even() -> None:
    memory = ClassBalanced(300, 10, 0)
    feed(memory, stream(6000, 10, seed=4))
    assert memory.distance() <= 0.1


@pytest.mark.parametrize("rule", RULES)
def test_a_loaded_memory_goes_on_alike(rule: str) -> None:
    marks = stream(400, 6, seed=5)
    whole, first, second = (make_memory(rule, 50, 6, 0) for _ in range(3))
    feed(whole, marks)
    feed(first, marks[:210])
    second.load(first.state())
    feed(second, marks, start=210)
    assert (second.rows == whole.rows).all()
    assert (second.held == whole.held).all()
    assert (second.draw(9)[0] == whole.draw(9)[0]).all()
