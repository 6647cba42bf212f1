"""Rules by which a memory keeps rows of a stream: reservoir, class-balanced, PRS and OCDM."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from labelwise.continual.memory import Marks, Memory, Rows, power_shares


class Reservoir(Memory):
    """An even sample of the stream: row t enters with probability `min(1, M / t)` in place of any other.

    >>> memory = Reservoir(2, num_labels=1, seed=0)
    >>> memory.offer(np.arange(9), np.ones((9, 1), bool))
    >>> len(memory), memory.offered
    (2, 9)
    """

    def offer(self, rows: Rows, marks: Marks, task: int = 0) -> None:
        """Show the next rows of the stream."""
        order = np.arange(self.offered, self.offered + len(rows))
        place = np.where(order < self.size, order, self.rng.integers(0, order + 1))
        for i in np.flatnonzero(place < self.size):
            self.put(int(place[i]), int(rows[i]), np.flatnonzero(marks[i]), task)
        self.seen += marks.sum(0)
        self.offered += len(rows)

    def target(self) -> Float[np.ndarray, " L"]:
        """The stream's own shares."""
        return power_shares(self.seen, 1.0)


class ClassBalanced(Memory):
    """Equal shares, greedily: a full memory gives up a row of its largest label.

    A row that lacks the largest label enters in the stead of one, drawn evenly, that has it. One that has it enters
    with probability `m_l / n_l` in the stead of such a row, so that each label's rows are an even sample of it. A row
    without a positive enters at the reservoir's rate in the stead of another such row.

    Source: class-balancing reservoirs (Chrysakis and Moens, 2020), for a row of several labels by us.
    """

    def offer(self, rows: Rows, marks: Marks, task: int = 0) -> None:
        """Show the next rows of the stream."""
        for row, mark in zip(rows.tolist(), marks, strict=True):
            self._one(row, mark, task)
            self.seen += mark
            self.offered += 1

    def _one(self, row: int, mark: np.ndarray, task: int) -> None:
        labels = np.flatnonzero(mark)
        if self.offered < self.size:
            return self.put(self.offered, row, labels, task)
        most = int(self.held.argmax())
        chance = self.held[most] / (self.seen[most] + 1) if mark[most] else 1.0
        place = None
        if not len(labels):
            chance, place = self.size / (self.offered + 1), self.place_without_labels()
        if self.rng.random() < chance:
            places = np.flatnonzero(self.marks[most]) if self.held[most] else np.arange(self.size)
            self.put(int(self.rng.choice(places)) if place is None else place, row, labels, task)

    def target(self) -> Float[np.ndarray, " L"]:
        """Equal shares of the labels that came."""
        return power_shares(self.seen, 0.0)


class PartitioningReservoir(Memory):
    """PRS: each label's share of the memory follows its frequency to a power.

        pi_l = n_l^q / sum_j n_j^q
        in:  with probability sum_{l in pos} w_l min(1, pi_l M / n_l),   w = softmax(-n_l) over pos
        out: delta_l = m_l - pi_l sum_j m_j;  a label y ~ softmax(delta);  of the rows with y those with the fewest
             labels of delta <= 0;  of these the one without which sum_l |delta_l| is least

    Args:
        power: q; 0 for equal shares, 1 for the stream's.

    Counts `n` grow after a row's admission was decided, as in the published code.

    Source: Kim, Jeong and Kim, "Imbalanced Continual Learning with Partitioning Reservoir Sampling" (2020).
    Differs: a row without a positive has probability 0 there and never enters; here it enters at the reservoir's rate
    in the stead of another such row, so that their number stays what it was when the memory was full.
    """

    def __init__(self, size: int, num_labels: int, seed: int, power: float = 0.0) -> None:
        super().__init__(size, num_labels, seed)
        self.power = power

    def offer(self, rows: Rows, marks: Marks, task: int = 0) -> None:
        """Show the next rows of the stream."""
        raised = power_shares(self.seen, self.power) * self._total()
        total = float(raised.sum())
        chances = self.rng.random(len(rows)).tolist()
        for i, row in enumerate(rows.tolist()):
            labels = np.flatnonzero(marks[i])
            if self.offered < self.size:
                self.put(self.offered, row, labels, task)
            elif chances[i] < self._admission(labels, raised, total):
                place = None if len(labels) else self.place_without_labels()
                leaves = self._leaves(raised / max(total, 1e-300)) if place is None else place
                self.put(leaves, row, labels, task)
            self.offered += 1
            for j in labels.tolist():
                self.seen[j] += 1
                now = float(self.seen[j]) ** self.power
                total += now - raised[j]
                raised[j] = now

    def _total(self) -> float:
        came = self.seen[self.seen > 0].astype(np.float64)
        return float((came**self.power).sum())

    def _admission(self, labels: np.ndarray, raised: np.ndarray, total: float) -> float:
        if not len(labels):
            return self.size / (self.offered + 1)
        counts = [int(self.seen[j]) for j in labels]
        fewest = min(counts)
        weights = [math.exp(fewest - n) for n in counts]
        rates = [
            1.0 if n == 0 else min(1.0, raised[j] / total * self.size / n)
            for j, n in zip(labels, counts, strict=True)
        ]
        return sum(w * r for w, r in zip(weights, rates, strict=True)) / sum(weights)

    def _leaves(self, shares: np.ndarray) -> int:
        """The place of the row that makes room."""
        excess = self.held - shares * self.held.sum()
        held = self.held > 0
        if not held.any():
            return int(self.rng.integers(self.size))
        chance = np.where(held, np.exp(np.where(held, excess - excess[held].max(), 0)), 0).cumsum()
        label = int(np.searchsorted(chance, self.rng.random() * chance[-1], side="right"))
        places = np.flatnonzero(self.marks[min(label, self.num_labels - 1)])
        marks = self.marks[:, places]
        scarce = (excess <= 0).astype(np.float64) @ marks
        fewest = scarce == scarce.min()
        places, marks = places[fewest], marks[:, fewest]
        left = self.held[:, None] - marks
        loss = np.abs(left - shares[:, None] * left.sum(0)).sum(0)
        return int(places[loss.argmin()])

    def target(self) -> Float[np.ndarray, " L"]:
        """`pi`."""
        return power_shares(self.seen, self.power)


class DistributionMatching(Memory):
    """OCDM: of memory and new rows together, leave out one after the other whose absence serves the shares best.

        KL(u, v) = sum_l u_l log(u_l / v_l),   u_l = m_l / sum_j m_j of the rows that remain,
        v_l = n_l^rho / sum_j n_j^rho;   a term with u_l = 0 counts 0

    Without a row of k labels the divergence is `(G - sum_{l in pos} d_l) / (S - k) - log(S - k)`, with
    `g_l(m) = m log(m / v_l)`, `G = sum_l g_l(m_l)`, `d_l = g_l(m_l) - g_l(m_l - 1)`, `S = sum_l m_l`: a sum over the
    row's own labels, kept for all rows at once and changed only by the labels of the row that left.

    Args:
        power: rho; 0 for equal shares, 1 for the stream's.

    Here `n` holds the rows at hand too, as every label in memory must have a share.

    Source: Liang and Li, "Optimizing Class Distribution in Memory for Multi-Label Online Continual Learning" (2022);
    the form above is ours.
    Differs: equal divergences go by a number drawn for each row, so that of rows with the same labels an even sample
    stays.
    """

    def __init__(self, size: int, num_labels: int, seed: int, power: float = 0.0) -> None:
        super().__init__(size, num_labels, seed, spare=16)
        self.power = power
        self.keys = np.zeros(size + self.spare)
        self.sizes = np.zeros(size + self.spare)

    def offer(self, rows: Rows, marks: Marks, task: int = 0) -> None:
        """Show the next rows of the stream."""
        for start in range(0, len(rows), self.spare):
            self._few(rows[start : start + self.spare], marks[start : start + self.spare], task)

    def _few(self, rows: Rows, marks: Marks, task: int) -> None:
        free = np.flatnonzero(self.rows < 0)[: len(rows)]
        self.rows[free], self.tasks[free] = rows, task
        self.marks[:, free] = marks.T
        self.sizes[free], self.keys[free] = marks.sum(1), self.rng.random(len(rows)) * 1e-9
        here = marks.sum(0)
        self.seen += here
        self.held += here
        self.offered += len(rows)
        surplus = len(self) - self.size
        if surplus > 0:
            self._leave_out(surplus)

    def _leave_out(self, number: int) -> None:
        log_v = np.log(np.maximum(power_shares(self.seen, self.power), 1e-300))
        parts, below = _parts(self.held, log_v), _parts(self.held - 1, log_v)
        whole, total = float(parts.sum()), int(self.held.sum())
        # A label that no row holds is never looked up; the mean keeps it out of the bounds.
        saves = np.where(self.held > 0, parts - below, whole / max(1, total))
        bounds = [float(saves.min()), float(saves.max())]
        score = saves @ self.marks
        score[self.rows < 0] = -np.inf  # a free place never leaves
        logs, held, saved, squares = log_v.tolist(), self.held.tolist(), saves.tolist(), self.sizes**2
        for _ in range(number):
            near = self._nearly_best(score, squares, whole, total, bounds)
            rest = np.maximum(total - self.sizes[near], 0.5)  # half: an only row with labels never leaves
            divergence = (whole - score[near]) / rest - np.log(rest) + self.keys[near]
            place = int(near[divergence.argmin()])
            for j in self.marks[:, place].nonzero()[0].tolist():
                whole -= saved[j]
                held[j] -= 1
                total -= 1
                now = _part(held[j], logs[j]) - _part(held[j] - 1, logs[j])
                score += (now - saved[j]) * self.marks[j]
                saved[j] = now
                if held[j]:
                    bounds = [min(bounds[0], now), max(bounds[1], now)]
            self.rows[place], self.marks[:, place], score[place] = -1, 0, -np.inf
            self.sizes[place] = squares[place] = 0
        self.held[:] = held

    def _nearly_best(
        self, score: np.ndarray, squares: np.ndarray, whole: float, total: int, bounds: list[float]
    ) -> np.ndarray:
        """Places among which the best one surely is.

        With `g = G / S`, `e = score - k g` and `x = k / S` the divergence is `g - log S` plus one S-th of
        `-e / (1 - x) - S log(1 - x)`. What `-e + k + k^2 / 2S` leaves out of this is at most
        `|e| x / (1 - x) + S x^3 / 3 (1 - x)`, and `|e| <= k max_l |d_l - g|`, where all `d_l` are within the bounds.
        """
        most, mean = int(self.sizes.max()), whole / max(1, total)
        if 2 * most >= total:
            return (self.rows >= 0).nonzero()[0]
        x, apart = most / total, most * max(bounds[1] - mean, mean - bounds[0])
        missed = (apart * x + total * x**3 / 3) / (1 - x)
        linear = score - (mean + 1) * self.sizes
        linear -= squares * (0.5 / total)
        return (linear >= linear.max() - 2 * missed - 1e-9 * total).nonzero()[0]

    def target(self) -> Float[np.ndarray, " L"]:
        """`v`."""
        return power_shares(self.seen, self.power)

    _ARRAYS: ClassVar[tuple[str, ...]] = ("rows", "tasks", "seen", "held", "keys", "sizes")


def _part(m: int, log_v: float) -> float:
    """`m log(m / v)`, 0 for none."""
    return m * (math.log(m) - log_v) if m > 0 else 0.0


def _parts(m: np.ndarray, log_v: np.ndarray) -> np.ndarray:
    """`_part` of every label."""
    return np.where(m > 0, m * (np.log(np.maximum(m, 1)) - log_v), 0.0)


def make_memory(rule: str, size: int, num_labels: int, seed: int, power: float = 0.0) -> Memory:
    """A memory by the name of its rule: `reservoir`, `balanced`, `prs` or `ocdm`."""
    if rule == "prs":
        return PartitioningReservoir(size, num_labels, seed, power)
    if rule == "ocdm":
        return DistributionMatching(size, num_labels, seed, power)
    return {"reservoir": Reservoir, "balanced": ClassBalanced}[rule](size, num_labels, seed)
