"""State that a stopped run goes on from: sealed by a digest, with the state before it kept beside."""

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
from labelwise.training.files import write_atomic
from labelwise.training.optim import load_optimizer

STATE = "state/last.pt"
PREVIOUS = "state/previous.pt"
_FORMAT = 2
_SEAL = b"labelwise-sealed"
_ENDS = len(_SEAL) + hashlib.blake2b().digest_size


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
        skipped: steps whose loss or gradient was not finite, so that they moved nothing.
        skipped_in_epoch: those of the epoch at hand.
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
    """A file that digests what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.blake2b()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def save_state(path: Path, progress: Progress, **parts: Any) -> None:
    """Write progress and state dicts in one atomic file; what stood there becomes the previous state.

    Raises:
        LabelwiseError: the disk is full or refuses; both states on disk stay.
    """
    state = {"format": _FORMAT, "progress": asdict(progress), **parts}

    def write(part: Path) -> None:
        with open(part, "wb") as file:
            sealing = _Sealing(file)
            torch.save(state, cast(IO[bytes], sealing))
            file.write(_SEAL + sealing.digest.digest())

    write_atomic(path, write, keep=path.with_name(Path(PREVIOUS).name))


def load_state(path: Path) -> tuple[Progress, dict[str, Any]]:
    """Progress and state dicts; tensors and plain values alone are read, never code.

    Raises:
        LabelwiseError: damaged, or of another version.
    """
    try:
        whole = is_sealed(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state.pop("format") != 1 and not whole:  # the first format had no seal
            raise RuntimeError("its digest is another")
        return Progress(**state.pop("progress")), state
    except (
        OSError, RuntimeError, KeyError, TypeError, AttributeError, ValueError, EOFError, pickle.UnpicklingError
    ) as error:  # fmt: skip
        reason = first_line(error)[:120]
        raise LabelwiseError(
            f"{path} ({reason})", "a state that this version wrote", "train anew with another --out"
        ) from None


@runtime_checkable
class Stateful(Protocol):
    """What a state holds a part of."""

    def state_dict(self) -> Mapping[str, Any]:
        """Tensors and plain values."""

    def load_state_dict(self, state: Any) -> Any:
        """Take over what `state_dict` gave."""


def states_of(parts: Mapping[str, Stateful | None]) -> dict[str, Any]:
    """What each part holds, for `save_state`; `None` for one that the settings leave out."""
    return {name: None if part is None else part.state_dict() for name, part in parts.items()}


def load_parts(path: Path, parts: Mapping[str, Stateful | None]) -> Progress:
    """Give each part what a state holds of it; a schedule that an older state lacks stays as it is.

    Raises:
        LabelwiseError: damaged, of another version, or of parts of other shapes.
    """
    progress, state = load_state(path)
    try:
        for name, part in parts.items():
            if part is None or (name == "schedule" and name not in state):  # as in states of earlier versions
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
    """Whether the file ends with the digest of all before."""
    length, digest = path.stat().st_size - _ENDS, hashlib.blake2b()
    with open(path, "rb") as file:
        while (left := length - file.tell()) > 0:
            digest.update(file.read(min(left, 1 << 20)))
        return file.read() == _SEAL + digest.digest()


def has_state(out: Path) -> bool:
    """Whether a folder holds a state, be it a damaged one."""
    return any((out / name).is_file() for name in (STATE, PREVIOUS))


def settle_state(out: Path, say: Callable[[str], None]) -> None:
    """Put the previous state in the place of a last one that is damaged or was never put there.

    Where the very first state is damaged there is none before it: it is put aside, and the run begins anew.

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
            say(f"warning: {error.given} is damaged and was the first one; the run begins anew")
            return
        step = load_state(previous)[0].step
        if last.is_file():
            say(f"warning: {error.given} is damaged; going on from the state before it, step {step}")
        os.replace(previous, last)


def recorded(out: Path) -> dict[str, Any]:
    """What a folder's newest readable state says of the run itself: its settings and its data; empty for none."""
    for name in (STATE, PREVIOUS):
        try:
            return dict(load_state(out / name)[1].get("record") or {})
        except LabelwiseError:
            continue
    return {}
