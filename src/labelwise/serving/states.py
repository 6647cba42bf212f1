"""Label states that are known beforehand, for methods that take them as input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from labelwise.export.engines import Eager
from labelwise.types import Targets


class EngineWithStates:
    """A PyTorch model with the known label states of one batch.

    Args:
        engine: engine of a method that accepts states.
        columns: label -> column.
        states: for each image, label -> present or absent.
    """

    has_maps = True

    def __init__(
        self, engine: Eager, columns: Mapping[str, int], states: Sequence[Mapping[str, bool]]
    ) -> None:
        values = torch.full((len(states), len(columns)), torch.nan)
        for row, known in enumerate(states):
            for name, present in known.items():
                values[row, columns[name]] = float(present)
        self._engine, self._states = engine, Targets.of(values).to(engine.device)
        self.name = engine.name

    @torch.inference_mode()
    def __call__(self, images: Any, want_maps: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        """Logits and maps of the batch."""
        output = self._engine.model(
            torch.as_tensor(images).to(self._engine.device), want_maps=want_maps, states=self._states
        )
        maps = output.maps.float().cpu().numpy() if want_maps and output.maps is not None else None
        return output.logits.float().cpu().numpy(), maps
