"""Skips, counts and reports the steps with a loss or gradient that is not finite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from labelwise.composition import Method
from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError
from labelwise.training.sharding import finite_of, local, norms_of

LIMIT = 10
"""Steps in a row that may be skipped; one more ends the run."""


@dataclass(frozen=True)
class Skipped:
    """A step that changed no weight.

    Args:
        step: number of the step, from 1.
        cause: the loss term or the parameter that was not finite.
        images: ids of the images of its batch.
    """

    step: int
    cause: str
    images: tuple[str, ...]

    def __str__(self) -> str:
        listed = ", ".join(self.images[:8]) + (", ..." if len(self.images) > 8 else "")
        return f"step {self.step}: {self.cause} is not finite, in the batch of {listed}"


class Guard:
    """Clips gradients and decides whether a step is kept: whether its losses and gradients are finite.

    All flags stay on the device until `skipped` reads them, once for many steps.

    Args:
        method: the method to train.
        dataset: the training rows, for the names of images.
        clip: largest gradient norm; 0 for none.
        scaled: whether a gradient scaler lowers its scale at infinite gradients, as with fp16; such a step is skipped
            without a warning, since it is expected.
        join: returns the mean of a tensor over all processes, so that they agree.
    """

    def __init__(
        self,
        method: Method,
        dataset: Dataset,
        clip: float,
        scaled: bool = False,
        join: Callable[[Tensor], Tensor] = lambda marks: marks,
    ) -> None:
        self._parameters, self._model = dict(method.named_parameters()), method.model
        self._dataset, self._clip, self._scaled, self._join = dataset, clip, scaled, join
        self._unread_flags: list[tuple[int, list[str], Tensor, list[np.ndarray]]] = []
        self.in_a_row = 0

    @torch.no_grad()
    def step(
        self, step: int, terms: Mapping[str, Tensor], rows: list[np.ndarray]
    ) -> tuple[Bool[Tensor, ""], Bool[Tensor, ""]]:
        """Clip the current gradients; returns whether the step is kept, and whether its loss counts in the epoch's.

        Args:
            step: number of the step, from 1.
            terms: its named losses.
            rows: row numbers of its images.
        """
        by_name = {name: p.grad for name, p in self._parameters.items() if p.grad is not None}
        gradients = list(by_name.values())
        norms = norms_of(gradients)
        losses = torch.stack([value.detach().float() for value in terms.values()]).to(norms.device)
        flags = torch.cat([losses, norms.float()]).isfinite()
        self._unread_flags.append((step, [*terms, *by_name], flags, rows))
        if self._clip and gradients:
            factor = (self._clip / (torch.linalg.vector_norm(norms) + 1e-6)).clamp(max=1)
            torch._foreach_mul_([local(gradient) for gradient in gradients], factor)
        # Gradients are already summed over processes; losses are not.
        finite = torch.stack([flags[: len(losses)].all(), flags.all()])
        counts, kept = (self._join(finite.float()) == 1).unbind()
        return kept, counts if self._scaled else kept

    def skipped(self) -> list[Skipped]:
        """The steps that were skipped since the last call.

        Raises:
            LabelwiseError: more than `LIMIT` steps in a row.
        """
        if not self._unread_flags:
            return []
        skipped = []
        joined = self._join(torch.cat([flags.float() for _, _, flags, _ in self._unread_flags])).tolist()
        for step, names, _, rows in self._unread_flags:
            flags_of_step, joined = joined[: len(names)], joined[len(names) :]
            not_finite = [name for name, flag in zip(names, flags_of_step, strict=True) if flag < 1]
            losses = [name for name in not_finite if name not in self._parameters]
            if not losses and (self._scaled or not not_finite):
                self.in_a_row = 0
                continue
            ids = tuple(self._dataset.image_id(int(i)) for indices in rows for i in indices)
            skipped.append(Skipped(step, self._cause(losses, not_finite), ids))
            self.in_a_row += 1
            if self.in_a_row > LIMIT:
                break
        self._unread_flags.clear()
        if self.in_a_row > LIMIT:
            raise LabelwiseError(
                f"{self.in_a_row} steps in a row that are not finite; {skipped[-1]}",
                "finite losses and gradients",
                "train again with a lower --lr or optim.clip_norm; the last saved state is intact",
            )
        return skipped

    def refuse_broken(self, step: int) -> None:
        """Called before a state is saved, so that a broken state never replaces a good one.

        Raises:
            LabelwiseError: a parameter or a buffer is not finite.
        """
        values = {**self._parameters, **dict(self._model.named_buffers(prefix="model"))}
        for name, finite in zip(values, finite_of(list(values.values())), strict=True):
            if not finite:
                raise LabelwiseError(
                    f"{name} is not finite at step {step}, so the state is not saved",
                    "finite numbers",
                    "train again with a lower --lr or optim.clip_norm; the last saved state is intact",
                )

    def _cause(self, losses: list[str], not_finite: list[str]) -> str:
        """The likely cause: a weight, else a term of the loss, else the gradient nearest to the loss."""
        broken = [name for name, p in self._parameters.items() if not p.isfinite().all()]
        if broken:
            return f"the weight {broken[0]}"
        named = [name for name in losses if name != "loss"] or losses
        return f"the loss term {named[0]}" if named else f"the gradient of {not_finite[-1]}"
