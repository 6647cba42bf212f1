"""Many paths in memory that worker processes share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pyarrow as pa


class _PathArray(Sequence[str]):
    """Many paths as one array, whose memory workers share; they would gradually copy a list of strings."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = pa.array([os.fsencode(path) for path in paths], pa.large_binary())

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, i: Any) -> Any:
        return os.fsdecode(self._paths[i].as_py())


def shared(images: Sequence[Any]) -> Sequence[Any]:
    """The same images; if all are paths, in memory that worker processes share."""
    return _PathArray(images) if all(isinstance(image, str) for image in images) else images
