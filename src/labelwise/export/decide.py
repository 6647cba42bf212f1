"""Calibration and thresholds inside a graph: probabilities and selected labels beside the logits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from labelwise.decisions import Decisions
from labelwise.decisions.projection import OneGroup, projection
from labelwise.errors import LabelwiseError


class Decide(nn.Module):
    """Logits `[B, L]` fp32 -> calibrated probabilities `[B, L]` fp32, and selected labels `[B, L]` bool.

    A label is selected from the smallest float32 logit on whose probability reaches the threshold, so that no rounding
    in a runtime changes a decision. Of a group of which at most or exactly one label is selected it is the one with the
    largest `p - t`, in float64 where the runtime computes in it.

    Args:
        decisions: of the run.

    Raises:
        LabelwiseError: decisions that a graph cannot make, see `require_decidable`.
    """

    scale: Tensor
    bias: Tensor
    bar: Tensor
    least: Tensor
    place: Tensor

    def __init__(self, decisions: Decisions) -> None:
        super().__init__()
        require_decidable(decisions)
        never = np.isin(np.arange(len(decisions)), decisions.never)
        # A label that is never selected is chosen only where exactly one of its group must be, and no other is left.
        bars = decisions.thresholds + never * (len(decisions) + 1.0)
        for name, values in (("scale", decisions.scale), ("bias", decisions.bias), ("bar", bars)):
            self.register_buffer(name, torch.from_numpy(values))
        self.register_buffer("least", torch.from_numpy(smallest_selected(decisions)))
        groups = [part for part in projection(decisions.rules).parts if isinstance(part, OneGroup)]
        self.needed = [part.needed for part in groups]
        positions = np.arange(len(decisions))
        count = len(decisions)
        for i, group in enumerate(groups):
            self.register_buffer(f"group{i}", torch.tensor(group.columns))
            positions[list(group.columns)] = count + np.arange(len(group.columns))
            count += len(group.columns)
        self.register_buffer("place", torch.from_numpy(positions))

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and selected labels."""
        p = (logits.double() * self.scale + self.bias).sigmoid()
        columns = [logits >= self.least]
        for i, needed in enumerate(self.needed):
            group = getattr(self, f"group{i}")
            gain = (p - self.bar).index_select(1, group)
            best = gain.argmax(1, keepdim=True) == torch.arange(len(group), device=gain.device)
            columns.append(best if needed else best & columns[0].index_select(1, group))
        selected = torch.cat(columns, 1).index_select(1, self.place) if self.needed else columns[0]
        return p.float(), selected


def require_decidable(decisions: Decisions) -> None:
    """Raises an error if a graph cannot make these decisions: implications, groups that share labels, or a limit."""
    reason = ""
    if decisions.top_k:
        reason = f"a limit of {decisions.top_k} labels per image"
    elif decisions.implies:
        reason = "labels that imply one another"
    elif not all(isinstance(part, OneGroup) for part in projection(decisions.rules).parts):
        reason = "groups that share labels"
    if reason:
        raise LabelwiseError(
            f"decisions in the graph with {reason}",
            "thresholds, and groups without common labels",
            "export without --decide and as another --format than triton; the program then makes these decisions",
        )


def smallest_selected(decisions: Decisions) -> np.ndarray:
    """`[L]` float32: for each label the smallest logit whose probability reaches its threshold.

    It is found by bisection, as the probability never falls with the logit. Infinite for labels that are never
    selected.
    """
    infinity = int(np.float32("inf").view(np.int32))
    low = np.full(len(decisions), -infinity, np.int64)  # ranks of float32 numbers by size
    high = np.full(len(decisions), infinity, np.int64)

    def reached(rank: np.ndarray) -> np.ndarray:
        return decisions.probabilities(_floats_of_rank(rank)[None])[0] >= decisions.thresholds

    always = reached(low)
    while (high - low > 1).any():
        middle = (low + high) // 2
        is_reached = reached(middle)
        low, high = np.where(is_reached, low, middle), np.where(is_reached, middle, high)
    least = np.where(always, np.float32("-inf"), _floats_of_rank(high))
    least[list(decisions.never)] = np.inf
    return least


def _floats_of_rank(rank: np.ndarray) -> np.ndarray:
    """float32 numbers by their rank, which is their bits as a whole number; 0 has rank 0, -x that of x negated."""
    magnitude = np.abs(rank).astype(np.int32).view(np.float32)
    return np.where(rank < 0, -magnitude, magnitude)
