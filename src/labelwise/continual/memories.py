"""Replay memories: reservoir, class-balanced and PRS; OCDM is in `matching`."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from labelwise.continual.matching import DistributionMatching
from labelwise.continual.memory import Marks, Memory, Rows, power_shares


class Reservoir(Memory):
    """A uniform sample of the stream: row t replaces a random one of the M in memory with probability `min(1, M / t)`.

    >>> memory = Reservoir(2, num_labels=1, seed=0)
    >>> memory.offer(np.arange(9), np.ones((9, 1), bool))
    >>> len(memory), memory.offered
    (2, 9)
    """

    def offer(self, rows: Rows, marks: Marks, task: int = 0) -> None:
        """Offer the next rows of the stream."""
        order = np.arange(self.offered, self.offered + len(rows))
        slots = np.where(order < self.size, order, self.rng.integers(0, order + 1))
        for i in np.flatnonzero(slots < self.size):
            self.put(int(slots[i]), int(rows[i]), np.flatnonzero(marks[i]), task)
        self.seen += marks.sum(0)
        self.offered += len(rows)

    def target(self) -> Float[np.ndarray, " L"]:
        """The stream's own shares."""
        return power_shares(self.seen, 1.0)


class ClassBalanced(Memory):
    """Equal shares, greedily: a full memory replaces a row of its most frequent label.

    `m_l` counts the rows of label l in memory, `n_l` those in the stream so far.

    A new row without the most frequent label l always replaces a random row that has l. A new row with l replaces such
    a row with probability `m_l / n_l`, so that the rows of each label are a uniform sample. A new row without any
    positive label replaces another such row at the reservoir's rate.

    Source: class-balancing reservoirs (Chrysakis and Moens, 2020); the extension to several labels per row is ours.
    """

    def offer(self, rows: Rows, marks: Marks, task: int = 0) -> None:
        """Offer the next rows of the stream."""
        for row, mark in zip(rows.tolist(), marks, strict=True):
            self._offer_row(row, mark, task)
            self.seen += mark
            self.offered += 1

    def _offer_row(self, row: int, mark: np.ndarray, task: int) -> None:
        """Offer one row; `mark [L]` is its positive labels."""
        labels = np.flatnonzero(mark)
        if self.offered < self.size:
            return self.put(self.offered, row, labels, task)
        label = int(self.held.argmax())  # the most frequent one
        chance = self.held[label] / (self.seen[label] + 1) if mark[label] else 1.0
        slot = None
        if not len(labels):
            chance, slot = self.size / (self.offered + 1), self.place_without_labels()
        if self.rng.random() < chance:
            slots = np.flatnonzero(self.marks[label]) if self.held[label] else np.arange(self.size)
            self.put(int(self.rng.choice(slots)) if slot is None else slot, row, labels, task)

    def target(self) -> Float[np.ndarray, " L"]:
        """Equal shares of the labels seen so far."""
        return power_shares(self.seen, 0.0)


class PartitioningReservoir(Memory):
    """PRS: each label's share of the memory follows its frequency to a power.

    With M rows in memory, of which `m_l` have label l, and `n_l` rows of l in the stream so far:

        pi_l = n_l^q / sum_j n_j^q
        in:  with probability sum_{l in pos} w_l min(1, pi_l M / n_l),   w = softmax(-n_l) over pos
        out: delta_l = m_l - pi_l sum_j m_j;  a label y ~ softmax(delta);  of the rows with y those with the fewest
             labels of delta <= 0;  of these the one without which sum_l |delta_l| is least

    Args:
        power: q; 0 for equal shares, 1 for the stream's.

    Counts `n` are updated after the admission of a row is decided, as in the published code.

    Source: Kim, Jeong and Kim, "Imbalanced Continual Learning with Partitioning Reservoir Sampling" (2020).
    Differs: there a row without a positive label has probability 0 and never enters. Here it replaces another such row
    at the reservoir's rate, so that their number stays constant once the memory is full.
    """

    def __init__(self, size: int, num_labels: int, seed: int, power: float = 0.0) -> None:
        super().__init__(size, num_labels, seed)
        self.power = power

    def offer(self, rows: Rows, marks: Marks, task: int = 0) -> None:
        """Offer the next rows of the stream."""
        raised = np.where(self.seen > 0, np.maximum(self.seen, 1.0) ** self.power, 0.0)  # n_l^q
        total = float(raised.sum())
        chances = self.rng.random(len(rows)).tolist()
        for i, row in enumerate(rows.tolist()):
            labels = np.flatnonzero(marks[i])
            if self.offered < self.size:
                self.put(self.offered, row, labels, task)
            elif chances[i] < self._admission(labels, raised, total):
                slot = None if len(labels) else self.place_without_labels()
                if slot is None:
                    slot = self._slot_to_clear(raised / max(total, 1e-300))
                self.put(slot, row, labels, task)
            self.offered += 1
            for j in labels.tolist():
                self.seen[j] += 1
                power = float(self.seen[j]) ** self.power
                total += power - raised[j]
                raised[j] = power

    def _admission(self, labels: np.ndarray, raised: np.ndarray, total: float) -> float:
        """The probability of a row with these labels by the rule `in`; `raised [L]` is `n_l^q`, `total` its sum."""
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

    def _slot_to_clear(self, shares: np.ndarray) -> int:
        """The slot of the row to remove, by the rule `out`; `shares [L]` is `pi`."""
        excess = self.held - shares * self.held.sum()
        is_held = self.held > 0
        if not is_held.any():
            return int(self.rng.integers(self.size))
        chance = np.where(is_held, np.exp(np.where(is_held, excess - excess[is_held].max(), 0)), 0).cumsum()
        label = int(np.searchsorted(chance, self.rng.random() * chance[-1], side="right"))
        slots = np.flatnonzero(self.marks[min(label, self.num_labels - 1)])
        marks = self.marks[:, slots]
        scarce_labels = (excess <= 0).astype(np.float64) @ marks
        fewest = scarce_labels == scarce_labels.min()
        slots, marks = slots[fewest], marks[:, fewest]
        counts = self.held[:, None] - marks
        loss = np.abs(counts - shares[:, None] * counts.sum(0)).sum(0)
        return int(slots[loss.argmin()])

    def target(self) -> Float[np.ndarray, " L"]:
        """The shares `pi` of the labels."""
        return power_shares(self.seen, self.power)


def make_memory(rule: str, size: int, num_labels: int, seed: int, power: float = 0.0) -> Memory:
    """A memory by the name of its rule: `reservoir`, `balanced`, `prs` or `ocdm`."""
    if rule == "prs":
        return PartitioningReservoir(size, num_labels, seed, power)
    if rule == "ocdm":
        return DistributionMatching(size, num_labels, seed, power)
    return {"reservoir": Reservoir, "balanced": ClassBalanced}[rule](size, num_labels, seed)
