"""Checkpoints for resuming a run: each file carries a digest, and the previous checkpoint is kept."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, cast, runtime_checkable

import torch
from accelerate.optimizer import AcceleratedOptimizer
from torch.optim import Optimizer

from labelwise.errors import LabelwiseError, first_line
from labelwise.runs.files import write_atomic
from labelwise.training.optim import load_optimizer

STATE = "state/last.pt"
PREVIOUS = "state/previous.pt"
_FORMAT = 2
_SEAL = b"labelwise-sealed"
_SEAL_LENGTH = len(_SEAL) + hashlib.blake2b().digest_size


@dataclass
class Progress:
    """Progress of a training.

    Args:
        step: optimiser steps done.
        epoch: epochs done.
        step_in_epoch: optimiser steps of the current epoch that are done.
        loss_sum: sum of those steps' losses.
        best_epoch: the epoch whose weights are kept, from 1; 0 for none yet.
        best: its validation mAP.
        seconds: time spent.
        losses: mean training loss of each finished epoch.
        skipped: steps skipped because a loss or gradient was not finite.
        skipped_in_epoch: those of the current epoch.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    loss_sum: float = 0.0
    best_epoch: int = 0
    best: float = -1.0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    skipped: int = 0
    skipped_in_epoch: int = 0


class _Sealing:
    """A file that computes the digest of what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.blake2b()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def save_state(path: Path, progress: Progress, **parts: Any) -> None:
    """Write progress and state dicts atomically into one file; the old file becomes the previous state.

    Raises:
        LabelwiseError: the disk is full or not writable; both states on disk stay.
    """
    state = {"format": _FORMAT, "progress": asdict(progress), **parts}

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            sealing = _Sealing(file)
            torch.save(state, cast(IO[bytes], sealing))
            file.write(_SEAL + sealing.digest.digest())

    write_atomic(path, write, keep=path.with_name(Path(PREVIOUS).name))


def load_state(path: Path) -> tuple[Progress, dict[str, Any]]:
    """Progress and state dicts; only tensors and plain values are read, never code.

    Raises:
        LabelwiseError: the file is damaged, or of another version.
    """
    try:
        is_whole = is_sealed(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state.pop("format") != 1 and not is_whole:  # the first format had no seal
            raise RuntimeError("its digest is another")
        return Progress(**state.pop("progress")), state
    except (
        OSError, RuntimeError, KeyError, TypeError, AttributeError, ValueError, EOFError, pickle.UnpicklingError
    ) as error:  # fmt: skip
        reason = first_line(error)[:120]
        raise LabelwiseError(
            f"{path} ({reason})", "a state that this version wrote", "train again with another --out"
        ) from None


@runtime_checkable
class Stateful(Protocol):
    """An object with a state dict."""

    def state_dict(self) -> Mapping[str, Any]:
        """Tensors and plain values."""

    def load_state_dict(self, state: Any) -> Any:
        """Load the result of `state_dict`."""


def states_of(parts: Mapping[str, Stateful | None]) -> dict[str, Any]:
    """The state dict of each part, for `save_state`; `None` for a part that the settings turn off."""
    return {name: None if part is None else part.state_dict() for name, part in parts.items()}


def load_parts(path: Path, parts: Mapping[str, Stateful | None]) -> Progress:
    """Load each part's state dict; a schedule is unchanged if an older state lacks it.

    Raises:
        LabelwiseError: the file is damaged, of another version, or has parts of other shapes.
    """
    progress, state = load_state(path)
    try:
        for name, part in parts.items():
            if part is None or (name == "schedule" and name not in state):  # absent in early versions
                continue
            if isinstance(part, Optimizer | AcceleratedOptimizer):
                load_optimizer(part, state[name])
            else:
                part.load_state_dict(state[name])
    except (RuntimeError, ValueError, KeyError) as error:
        reason = first_line(error)
        raise LabelwiseError(f"{path} ({reason})", "a state of these settings", "use another --out") from None
    return progress


def is_sealed(path: Path) -> bool:
    """Whether the file ends with the correct digest of its content."""
    length, digest = path.stat().st_size - _SEAL_LENGTH, hashlib.blake2b()
    with open(path, "rb") as file:
        while (remaining := length - file.tell()) > 0:
            digest.update(file.read(min(remaining, 1 << 20)))
        return file.read() == _SEAL + digest.digest()


def has_state(out: Path) -> bool:
    """Whether a folder holds a state, even a damaged one."""
    return any((out / name).is_file() for name in (STATE, PREVIOUS))


def settle_state(out: Path, say: Callable[[str], None]) -> None:
    """Replace a damaged or missing last state by the previous one.

    The very first state has no previous one: if it is damaged, it is renamed and the run starts again.

    Raises:
        LabelwiseError: neither can be read, or another version wrote them.
    """
    last, previous = out / STATE, out / PREVIOUS
    if not has_state(out):
        return
    try:
        load_state(last)
    except LabelwiseError as error:
        if not previous.is_file():
            if is_sealed(last):
                raise
            os.replace(last, last.with_name("damaged.pt"))
            say(f"warning: {error.given} is damaged and was the first one; the run starts again")
            return
        step = load_state(previous)[0].step
        if last.is_file():
            say(f"warning: {error.given} is damaged; going on from the state before it, step {step}")
        os.replace(previous, last)


def recorded(out: Path) -> dict[str, Any]:
    """The settings and data recorded in a folder's newest readable state; empty without one."""
    for name in (STATE, PREVIOUS):
        try:
            return dict(load_state(out / name)[1].get("record") or {})
        except LabelwiseError:
            continue
    return {}
