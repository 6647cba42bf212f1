"""OCDM: a memory that removes the rows that keep its label shares away from the target."""

from __future__ import annotations

import heapq
import math
from bisect import insort
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from labelwise.continual.memory import Marks, Memory, Rows, power_shares


class DistributionMatching(Memory):
    """OCDM: from memory and new rows together, greedily removes the row without which the divergence is smallest.

        KL(u, v) = sum_l u_l log(u_l / v_l),   u_l = m_l / sum_j m_j of the rows that remain,
        v_l = n_l^rho / sum_j n_j^rho;   a term with u_l = 0 counts 0

    Without a row of k labels the divergence is `(G - sum_{l in pos} d_l) / (S - k) - log(S - k)`, with
    `g_l(m) = m log(m / v_l)`, `G = sum_l g_l(m_l)`, `d_l = g_l(m_l) - g_l(m_l - 1)`, `S = sum_l m_l`: a sum over the
    row's own labels. Rows with the same labels share it, so it is stored once for each set of labels in memory, and
    updated only for the labels of the removed row.

    Args:
        power: rho; 0 for equal shares, 1 for the stream's.

    `n` also counts the current rows, since every label in memory needs a share.

    Source: Liang and Li, "Optimizing Class Distribution in Memory for Multi-Label Online Continual Learning" (2022);
    the form above is ours.
    Differs: ties are broken by a random key for each row, so that rows with the same labels are sampled uniformly.

    >>> memory = DistributionMatching(2, num_labels=2, seed=0)
    >>> memory.offer(np.arange(4), np.array([[1, 0], [1, 0], [1, 0], [0, 1]], bool))
    >>> memory.held.tolist()
    [1, 1]
    """

    def __init__(self, size: int, num_labels: int, seed: int, power: float = 0.0) -> None:
        super().__init__(size, num_labels, seed, spare=16)
        self.power = power
        self.keys = np.zeros(size + self.spare)
        self._clear_sets()

    def _clear_sets(self) -> None:
        """Reset the sets of labels in memory: their columns and sizes, their slots by falling key, their least keys."""
        slots = len(self.rows)
        self.columns: list[list[int]] = [[] for _ in range(slots)]
        self.members: list[list[tuple[float, int]]] = [[] for _ in range(slots)]
        self.set_marks = np.zeros((self.num_labels, slots))
        self.sizes, self.least = np.zeros(slots), np.full(slots, np.inf)
        self.number_of: dict[bytes, int] = {}
        self.free, self.top = list(range(slots)), 0  # all numbers from `top` on are unused

    def offer(self, rows: Rows, marks: Marks, task: int = 0) -> None:
        """Offer the next rows of the stream."""
        for start in range(0, len(rows), self.spare):
            self._offer_few(rows[start : start + self.spare], marks[start : start + self.spare], task)

    def load(self, state: dict[str, Any]) -> None:
        """Load the result of `state`."""
        super().load(state)
        self._clear_sets()
        for slot in np.flatnonzero(self.rows >= 0).tolist():
            self._add_to_set(slot, self.marks[:, slot] > 0)

    def _offer_few(self, rows: Rows, marks: Marks, task: int) -> None:
        """Add at most `spare` rows, then remove as many as are over the size."""
        free = np.flatnonzero(self.rows < 0)
        surplus = len(rows) - (len(free) - self.spare)
        free = free[: len(rows)]
        self.rows[free], self.tasks[free] = rows, task
        self.keys[free] = self.rng.random(len(rows)) * 1e-9  # small, so that it only decides ties
        for slot, mark in zip(free.tolist(), marks, strict=True):
            self._add_to_set(slot, mark)
        new_counts = marks.sum(0)
        self.seen += new_counts
        self.held += new_counts
        self.offered += len(rows)
        if surplus > 0:
            self._remove_surplus(surplus)

    def _add_to_set(self, slot: int, mark: np.ndarray) -> None:
        """Add a slot to the set of its labels."""
        label_set = mark.tobytes()
        number = self.number_of.get(label_set)
        if number is None:
            number = self.number_of[label_set] = heapq.heappop(self.free)
            self.top = max(self.top, number + 1)
            self.columns[number] = mark.nonzero()[0].tolist()
            self.set_marks[:, number], self.sizes[number] = mark, len(self.columns[number])
        insort(self.members[number], (-float(self.keys[slot]), slot))
        self.least[number] = -self.members[number][-1][0]
        for j in self.columns[number]:
            self.marks[j, slot] = 1

    def _remove_from_set(self, number: int) -> None:
        """Empty the slot with the smallest key in a set; delete a set without slots."""
        members = self.members[number]
        slot = members.pop()[1]
        self.rows[slot] = -1
        for j in self.columns[number]:
            self.marks[j, slot] = 0
        self.least[number] = -members[-1][0] if members else np.inf
        if not members:
            del self.number_of[(self.set_marks[:, number] > 0).tobytes()]
            heapq.heappush(self.free, number)

    def _remove_surplus(self, surplus: int) -> None:
        """Remove `surplus` rows, each time the one without which the divergence from the target is least."""
        log_v = np.log(np.maximum(power_shares(self.seen, self.power), 1e-300))
        parts, parts_below = _parts(self.held, log_v), _parts(self.held - 1, log_v)
        whole, total = float(parts.sum()), int(self.held.sum())  # `G` and `S`; `differences` are `d`
        differences, logs, held = (parts - parts_below).tolist(), log_v.tolist(), self.held.tolist()
        sets = slice(0, self.top)
        marks, sizes, least = self.set_marks[:, sets], self.sizes[sets], self.least[sets]
        score = np.asarray(differences) @ marks
        for _ in range(surplus):
            remaining = np.maximum(total - sizes, 0.5)  # at 0.5 the only row with labels is never removed
            divergence = (whole - score) / remaining - np.log(remaining) + least
            number = int(divergence.argmin())
            for j in self.columns[number]:
                whole -= differences[j]
                held[j] -= 1
                total -= 1
                difference = _part(held[j], logs[j]) - _part(held[j] - 1, logs[j])
                score += (difference - differences[j]) * marks[j]
                differences[j] = difference
            self._remove_from_set(number)
        self.held[:] = held

    def target(self) -> Float[np.ndarray, " L"]:
        """`v`."""
        return power_shares(self.seen, self.power)

    _ARRAYS: ClassVar[tuple[str, ...]] = ("rows", "tasks", "seen", "held", "keys")


def _part(m: int, log_v: float) -> float:
    """`m log(m / v)`, 0 for none."""
    return m * (math.log(m) - log_v) if m > 0 else 0.0


def _parts(m: np.ndarray, log_v: np.ndarray) -> np.ndarray:
    """`_part` of every label."""
    return np.where(m > 0, m * (np.log(np.maximum(m, 1)) - log_v), 0.0)
