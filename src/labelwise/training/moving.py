"""The end of a step: weights, optimiser state, averaged weights and buffers all change, or none of them does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor

from labelwise.composition import Method
from labelwise.training.optim import step_where


class Move:
    """Finishes steps, and restores the buffers after a skipped step.

    These are buffers of the model and of the terms, such as batch statistics, which the forward pass changes. A table
    of a strategy for unknown cells has a row for each training image; it is too large to copy and is not restored.

    Args:
        method: the method to train.
        optimizer: of its parameters; fused if `blind`.
        ema: averaged weights, or `None`.
        scaler: the gradient scaler, as with fp16, or `None`.
        blind: whether the host never reads if a step is kept, so that it need not wait for the device.
    """

    def __init__(
        self, method: Method, optimizer: Any, ema: ModelEmaV3 | None, scaler: Any = None, blind: bool = False
    ) -> None:
        self._method, self._optimizer, self._ema = method, optimizer, ema
        self._scaler, self._blind = scaler, blind
        self._saved_buffers: list[Tensor] = []

    def begin(self) -> None:
        """Called before the step's first forward pass."""
        self._saved_buffers = [buffer.clone() for buffer in self._buffers()]

    @torch.no_grad()
    def end(self, kept: Tensor, step: int) -> None:
        """Apply the gradients if the step is kept, and clear them.

        Args:
            kept: whether the step is kept, one bool on the device of the weights.
            step: number of the step, from 0.
        """
        if self._blind:
            averages = [] if self._ema is None else list(self._ema.module.state_dict().values())
            saved_averages = [value.clone() for value in averages]
            step_where(kept, self._optimizer)
            self._update_averages(step)
            _put_back(averages + self._buffers(), saved_averages + self._saved_buffers, kept)
        elif kept:
            self._optimizer.step()
            self._update_averages(step)
        else:
            if self._scaler is not None:
                self._scaler.update()
            _put_back(self._buffers(), self._saved_buffers, kept)
        self._optimizer.zero_grad()

    def _update_averages(self, step: int) -> None:
        if self._ema is not None:
            self._ema.update(self._method.model, step=step)

    def _buffers(self) -> list[Tensor]:
        return [*self._method.model.buffers(), *self._method.terms.buffers()]


def _put_back(values: Sequence[Tensor], saved: Sequence[Tensor], kept: Tensor) -> None:
    """Restore saved tensors if the step is not kept, without a host sync."""
    for value, old in zip(values, saved, strict=True):
        value.copy_(torch.where(kept.to(value.device), value, old))
