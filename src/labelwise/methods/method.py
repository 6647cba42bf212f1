"""A model with its loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from labelwise.distributed import joined_sum
from labelwise.losses import Moment, UnknownLoss
from labelwise.losses.classification import CellLoss
from labelwise.model import LabelModel
from labelwise.rules import IndexedRules
from labelwise.taught import Taught
from labelwise.types import Batch, Output, Targets

Examples = Callable[[], Iterable[tuple[Targets, Output]]]
"""Gives the training rows with what the model, at rest, says of them, maps included: this process's share."""


@dataclass(frozen=True)
class HeadSizes:
    """What a term of the loss has to know of the head.

    Args:
        labels: L.
        decoupled: width of the extractor's label features.
        features: width of the features that the classifier reads.
        groups: columns of the labels of each group of the label set.
        classified: whether logits are a classifier's, of label features, rather than the extractor's own.
        rules: of the label set, by column.
    """

    labels: int
    decoupled: int
    features: int
    groups: tuple[tuple[int, ...], ...] = ()
    classified: bool = True
    rules: IndexedRules | None = None


@dataclass
class Step:
    """What a term of the loss reads.

    Args:
        model: for terms that pass changed features through relation and classifier.
        targets: what the loss may know of the batch.
        output: the model's answer to it, with maps where a term asks for them.
        criterion: `(logits, targets) -> scalar`, the classification loss.
        index: `[B]` int64, row numbers in the data set.
        epoch: epochs done.
        epochs: epochs in all.
        taught: a teacher's answers to the batch, where there is a teacher.
    """

    model: LabelModel
    targets: Targets
    output: Output
    criterion: nn.Module
    index: Tensor
    epoch: int
    epochs: int
    taught: Taught | None = None


@runtime_checkable
class Term(Protocol):
    """A further term of the loss: a module that can be laid over any method.

    Its buffers are state: saved, resumed, never exported. It sees one batch at a time: where several make a step, its
    values are averaged over them, for pairs of images, and cells that scores choose, are those of a batch. Where it has
    nothing to say it gives a zero that is connected to its parameters. What is drawn at random follows torch's global
    generator, which is seeded for each step.
    """

    needs_maps: ClassVar[bool]

    def __call__(self, step: Step) -> dict[str, Tensor]:
        """Named terms, each already weighted."""

    def start_epoch(self, epoch: int, epochs: int, examples: Examples) -> None:
        """Refresh what is learned between epochs; called before each epoch, after the generators are seeded."""


class Method(nn.Module):
    """What is trained: a model, and the loss of a batch as named terms.

    Args:
        model: the composition.
        criterion: `(logits, targets) -> scalar`.
        terms: further terms by name, see `Term`.
        branch_weight: weight of the same criterion on each further branch of logits, where the model gives them.
        show: splits what is known of a batch into what the model is told and what it is judged by, if anything.

    `clock` is (epochs done, epochs in all), and `unknown` what is done with unknown cells where they are not left out;
    both are set by whoever trains.
    """

    def __init__(
        self,
        model: LabelModel,
        criterion: nn.Module,
        terms: Mapping[str, nn.Module] | None = None,
        branch_weight: float = 0.5,
        show: Callable[[Targets], tuple[Targets, Targets]] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.criterion, self.branch_weight, self.show = model, criterion, branch_weight, show
        self.terms = nn.ModuleDict(terms or {})
        self.clock = (0, 1)
        self.unknown: UnknownLoss | None = None
        self._compiled_loss: Callable[[Tensor, Targets], Tensor] | None = None

    def compile_parts(self, **options: Any) -> None:
        """Compile the model, in place, and the loss of known cells: a graph each.

        Further terms and the loss of unknown cells stay plain: they change with the epoch, and each change would
        compile them again.

        Args:
            options: of `torch.compile`.
        """
        self.model.compile(**options)
        self._compiled_loss = torch.compile(self.criterion.forward, **options)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`{"loss": total, "<term>": ...}` of a batch; called through a distributed wrapper as well."""
        return self.loss(batch)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Named terms of the loss, weighted, in fp32; `loss` is their sum, which is minimised."""
        states, targets = (None, batch.targets) if self.show is None else self.show(batch.targets)
        maps = any(term.needs_maps for term in self.terms.values())
        output: Output = self.model(batch.images, want_maps=maps, is_map=batch.is_map, states=states)
        found = {"classification": self._judged(output.logits, targets, batch, self.training)}
        for name, logits in output.branches.items():
            found[name] = self.branch_weight * self._judged(logits, targets, batch, False)
        if self.terms:
            step = Step(self.model, targets, output, self.criterion, batch.index, *self.clock, batch.taught)
            for term in self.terms.values():
                found |= term(step)
        return {"loss": torch.stack(list(found.values())).sum(), **found}

    def _judged(self, logits: Tensor, targets: Targets, batch: Batch, remembers: bool) -> Tensor:
        told = {} if batch.divisor is None else {"divisor": batch.divisor}
        if self.unknown is None:
            return (self._compiled_loss or self.criterion)(logits, targets, **told)
        moment = Moment(batch.index, *self.clock, remembers)
        return self.unknown(logits, targets, moment, _hidden(batch), **told)

    def divide(self, batches: Sequence[Batch]) -> None:
        """Tell each of a step's batches what its losses divide by: see `divisor`, and of a teacher `Taught`."""
        divisor = self.divisor(batches)
        taught = [batch.taught for batch in batches if batch.taught is not None]
        shared = (
            taught_together(taught) if len(taught) == len(batches) else [batch.taught for batch in batches]
        )
        for batch, answers in zip(batches, shared, strict=True):
            batch.divisor, batch.taught = divisor, answers

    def divisor(self, batches: Sequence[Batch]) -> Tensor | None:
        """What the classification loss of each of a step's batches divides by, so that the mean is that of one batch.

        `None`, which averages the batches' own losses, where the targets alone do not tell what counts: losses that
        compare cells, `show`, and strategies that choose cells by their scores. Further terms are averaged too.

        Args:
            batches: this process's share of the step, on the device of the weights.
        """
        if not isinstance(self.criterion, CellLoss) or self.show is not None:
            return None
        counted = [
            b.targets.known
            if self.unknown is None
            else self.unknown.counted(b.targets.known, _hidden(b), b.index)
            for b in batches
        ]
        masks = [mask for mask in counted if mask is not None]
        return self.criterion.divisor(masks) if len(masks) == len(batches) else None

    def start_epoch(self, batches: Callable[[], Iterable[Batch]]) -> None:
        """Tell the terms, and what judges unknown cells, that the epoch of the clock begins.

        Args:
            batches: gives this process's share of the training rows, each once and not augmented.
        """
        if self.unknown is not None:
            self.unknown.start_epoch(*self.clock)
        training = self.training
        self.eval()
        for term in self.terms.values():
            term.start_epoch(*self.clock, lambda: self._answers(batches()))  # type: ignore[operator]
        self.train(training)

    @torch.no_grad()
    def _answers(self, batches: Iterable[Batch]) -> Iterator[tuple[Targets, Output]]:
        device = next(self.model.parameters()).device
        for batch in batches:
            batch = batch.to(device)
            yield batch.targets, self.model(batch.images, want_maps=True, is_map=batch.is_map)


def _hidden(batch: Batch) -> Tensor:
    """Unknown cells of images; a filling has none, for nothing is to be learned of it."""
    if int(batch.index[0]) in {row for row, _ in batch.unreadable}:
        return torch.zeros_like(batch.targets.known)
    return ~batch.targets.known


def taught_together(parts: Sequence[Taught]) -> list[Taught]:
    """The answers to the batches of one step, each with what it divides by so that the mean is the joined batch's."""
    images = joined_sum(torch.stack([t.seen.sum().to(t.logits) for t in parts]).sum())
    cells = joined_sum(torch.stack([t.weights.sum() for t in parts]).sum())
    images, cells = images.clamp(min=1) / len(parts), cells.clamp(min=1) / len(parts)
    return [replace(t, images=images, cells=cells) for t in parts]
