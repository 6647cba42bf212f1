"""State that a stopped run goes on from."""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from labelwise.errors import LabelwiseError, first_line
from labelwise.training.files import write_atomic

STATE = "state/last.pt"


@dataclass
class Progress:
    """Where training stands.

    Args:
        step: optimiser steps done.
        epoch: epochs done.
        step_in_epoch: batches of the epoch at hand that are done.
        loss_sum: sum of those batches' losses.
        best_epoch: the epoch whose weights are kept, from 1; 0 for none yet.
        best: its validation mAP.
        seconds: time spent.
        losses: mean training loss of each finished epoch.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    loss_sum: float = 0.0
    best_epoch: int = 0
    best: float = -1.0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)


def save_state(path: Path, progress: Progress, **parts: Any) -> None:
    """Write progress and state dicts in one atomic file."""
    state = {"format": 1, "progress": asdict(progress), **parts}

    def write(part: Path) -> None:
        with open(part, "wb") as file:
            torch.save(state, file)

    write_atomic(path, write)


def load_state(path: Path) -> tuple[Progress, dict[str, Any]]:
    """Progress and state dicts; tensors and plain values alone are read, never code.

    Raises:
        LabelwiseError: damaged, or of another version.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return Progress(**state.pop("progress")), state
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        reason = first_line(error)[:120]
        raise LabelwiseError(
            f"{path} ({reason})", "a state that this version wrote", "train anew with another --out"
        ) from None
