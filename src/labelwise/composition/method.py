"""A model with its loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from labelwise.distributed import joined_sum
from labelwise.losses import Moment, UnknownLoss
from labelwise.losses.classification import CellLoss
from labelwise.model import LabelModel
from labelwise.taught import TeacherBatch
from labelwise.terms.term import Step
from labelwise.types import Batch, Output, Targets


class Method(nn.Module):
    """A model with its training loss, which is a sum of named terms.

    Args:
        model: the model.
        criterion: `(logits, targets) -> scalar`.
        terms: additional terms by name, see `Term`.
        branch_weight: weight of the same criterion on each additional branch of logits of the model.
        split_states: splits the known labels of a batch into input states of the model and targets of the loss.

    `clock` is (epochs done, total epochs); `unknown` is the loss of unknown cells, or `None` to leave them out. The
    trainer sets both. `parts` are the composition's parts and terms by section, for documentation.
    """

    def __init__(
        self,
        model: LabelModel,
        criterion: nn.Module,
        terms: Mapping[str, nn.Module] | None = None,
        branch_weight: float = 0.5,
        split_states: Callable[[Targets], tuple[Targets, Targets]] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.criterion = model, criterion
        self.branch_weight, self.split_states = branch_weight, split_states
        self.terms = nn.ModuleDict(terms or {})
        self.clock = (0, 1)
        self.unknown: UnknownLoss | None = None
        self.parts: Mapping[str, Any] = {}
        self._compiled_loss: Callable[[Tensor, Targets], Tensor] | None = None

    def compile_parts(self, **options: Any) -> None:
        """Compile the model, in place, and the loss of known cells, each to its own graph.

        Additional terms and the loss of unknown cells are not compiled: they change with the epoch, and each change
        would recompile them.

        Args:
            options: of `torch.compile`.
        """
        self.model.compile(**options)
        self._compiled_loss = torch.compile(self.criterion.forward, **options)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`{"loss": total, "<term>": ...}` of a batch; also the entry point of distributed wrappers."""
        return self.loss(batch)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted terms of the loss by name, in fp32; `loss` is their sum."""
        states, targets = (
            (None, batch.targets) if self.split_states is None else self.split_states(batch.targets)
        )
        maps = any(term.needs_maps for term in self.terms.values())
        output: Output = self.model(batch.images, want_maps=maps, is_map=batch.is_map, states=states)
        losses = {"classification": self._criterion(output.logits, targets, batch, self.training)}
        for name, logits in output.branches.items():
            losses[name] = self.branch_weight * self._criterion(logits, targets, batch, False)
        if self.terms:
            step = Step(self.model, targets, output, self.criterion, batch.index, *self.clock, batch.taught)
            for term in self.terms.values():
                losses |= term(step)
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def _criterion(self, logits: Tensor, targets: Targets, batch: Batch, stores_state: bool) -> Tensor:
        """The classification loss; where a strategy is set, with its loss of unknown cells."""
        divisor = {} if batch.divisor is None else {"divisor": batch.divisor}
        if self.unknown is None:
            return (self._compiled_loss or self.criterion)(logits, targets, **divisor)
        moment = Moment(batch.index, *self.clock, stores_state)
        return self.unknown(logits, targets, moment, _unknown_of_images(batch), **divisor)

    def set_divisors(self, batches: Sequence[Batch]) -> None:
        """Set the divisors of the losses in each of a step's batches: see `divisor` and `TeacherBatch`."""
        divisor = self.divisor(batches)
        taught = [batch.taught for batch in batches if batch.taught is not None]
        joined = (
            taught_together(taught) if len(taught) == len(batches) else [batch.taught for batch in batches]
        )
        for batch, teacher_batch in zip(batches, joined, strict=True):
            batch.divisor, batch.taught = divisor, teacher_batch

    def divisor(self, batches: Sequence[Batch]) -> Tensor | None:
        """Divisor of the classification loss of each of a step's batches, so that their mean is that of one batch.

        `None` averages the batches' own losses. It is returned if the targets do not decide which cells count: for
        losses that compare cells, `split_states`, and strategies that select cells by scores. Other terms are averaged
        too.

        Args:
            batches: this process's share of the step, on the device of the weights.
        """
        if not isinstance(self.criterion, CellLoss) or self.split_states is not None:
            return None
        masks_or_none = [
            batch.targets.known
            if self.unknown is None
            else self.unknown.counted(batch.targets.known, _unknown_of_images(batch), batch.index)
            for batch in batches
        ]
        masks = [mask for mask in masks_or_none if mask is not None]
        return self.criterion.divisor(masks) if len(masks) == len(batches) else None

    def start_epoch(self, batches: Callable[[], Iterable[Batch]]) -> None:
        """Notify the terms and the loss of unknown cells of the start of the clock's epoch.

        Args:
            batches: returns this process's share of the training rows, each once and not augmented.
        """
        if self.unknown is not None:
            self.unknown.start_epoch(*self.clock)
        training = self.training
        self.eval()
        for term in self.terms.values():
            term.start_epoch(*self.clock, lambda: self._outputs(batches()))  # type: ignore[operator]
        self.train(training)

    @torch.no_grad()
    def _outputs(self, batches: Iterable[Batch]) -> Iterator[tuple[Targets, Output]]:
        """Targets and outputs with maps of each batch, for terms that read all training rows."""
        device = next(self.model.parameters()).device
        for batch in batches:
            batch = batch.to(device)
            yield batch.targets, self.model(batch.images, want_maps=True, is_map=batch.is_map)


def _unknown_of_images(batch: Batch) -> Tensor:
    """Unknown cells of images; none in a batch of fillers, which repeats a row that could not be read."""
    if int(batch.index[0]) in {row for row, _ in batch.unreadable}:
        return torch.zeros_like(batch.targets.known)
    return ~batch.targets.known


def taught_together(parts: Sequence[TeacherBatch]) -> list[TeacherBatch]:
    """A teacher's outputs for the batches of one step, with divisors that make their mean that of one large batch."""
    images = joined_sum(torch.stack([t.seen.sum().to(t.logits) for t in parts]).sum())
    cells = joined_sum(torch.stack([t.weights.sum() for t in parts]).sum())
    images, cells = images.clamp(min=1) / len(parts), cells.clamp(min=1) / len(parts)
    return [replace(t, images=images, cells=cells) for t in parts]
