"""Weights stored with their own digest, so that a damaged file is always detected."""

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

    The header has only the entry `format`, since safetensors writes several entries in random order.
    """
    save_file(separate(state), path, {"format": f"{_FORMAT} {_digest(state)}"})


def separate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with a copy of each that shares its memory with an earlier one; safetensors refuses those."""
    seen: set[int] = set()
    separated = {}
    for name, tensor in state.items():
        memory = tensor.untyped_storage().data_ptr()
        separated[name] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    return separated


def load_sealed(path: Path) -> dict[str, Tensor]:
    """The tensors of a file.

    Raises:
        OSError, SafetensorError: the file is unreadable or its bytes have changed.
    """
    with safe_open(path, "pt") as file:
        stored_format = (file.metadata() or {}).get("format", _FORMAT)
    state = load_file(path)
    if stored_format not in (_FORMAT, f"{_FORMAT} {_digest(state)}"):  # early versions wrote no digest
        raise SafetensorError("its digest is another")
    return state


def is_whole(path: Path) -> bool:
    """Whether a file exists and is undamaged."""
    try:
        load_sealed(path)
    except (SafetensorError, OSError):
        return False
    return True


def _digest(state: Mapping[str, Tensor]) -> str:
    """Digest of the names and bytes of all tensors."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
