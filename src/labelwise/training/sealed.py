"""Weights with their own digest, so that damaged ones are never taken for whole ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

_FORMAT = "labelwise-1"


def save_sealed(state: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors, with the digest of their names and bytes in its header.

    The header's only entry is `format`, for several would stand there in an order of chance.
    """
    save_file(dict(state), path, {"format": f"{_FORMAT} {_digest(state)}"})


def load_sealed(path: Path) -> dict[str, Tensor]:
    """The tensors of a file.

    Raises:
        OSError, SafetensorError: unreadable, or other bytes than were written.
    """
    with safe_open(path, "pt") as file:
        told = (file.metadata() or {}).get("format", _FORMAT)
    state = load_file(path)
    if told not in (_FORMAT, f"{_FORMAT} {_digest(state)}"):  # the first weights had no digest
        raise SafetensorError("its digest is another")
    return state


def is_whole(path: Path) -> bool:
    """Whether a file is there and holds what was written."""
    try:
        load_sealed(path)
    except (SafetensorError, OSError):
        return False
    return True


def _digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
