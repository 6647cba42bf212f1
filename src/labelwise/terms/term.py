"""The protocol of an additional loss term, and what a term is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from labelwise.model import LabelModel
from labelwise.rules import IndexedRules
from labelwise.taught import TeacherBatch
from labelwise.types import Output, Targets

Examples = Callable[[], Iterable[tuple[Targets, Output]]]
"""Returns this process's share of the training rows as targets and model outputs with maps, in evaluation mode."""


@dataclass(frozen=True)
class HeadSizes:
    """Sizes and label structure of the head, for loss terms.

    Args:
        labels: L.
        decoupled: width of the extractor's label features.
        features: width of the classifier's input features.
        groups: columns of the labels of each group of the label set.
        classified: whether logits come from a classifier of label features rather than from the extractor.
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
    """Inputs of a loss term.

    Args:
        model: for terms that pass changed features through relation and classifier.
        targets: label states of the batch.
        output: the model's output for the batch, with maps if a term needs them.
        criterion: `(logits, targets) -> scalar`, the classification loss.
        index: `[B]` int64, row numbers in the data set.
        epoch: epochs done.
        epochs: total number of epochs.
        taught: a teacher's outputs for the batch; `None` without a teacher.
    """

    model: LabelModel
    targets: Targets
    output: Output
    criterion: nn.Module
    index: Tensor
    epoch: int
    epochs: int
    taught: TeacherBatch | None = None


@runtime_checkable
class Term(Protocol):
    """An additional loss term: a module that can be combined with any method.

    Its buffers are state: saved and resumed, but never exported. It gets one batch at a time. If a step has several
    batches, its values are averaged over them, since pairs of images and cells selected by scores are within a batch.
    Without a loss for a batch it returns a zero that is connected to its parameters. Random numbers come from torch's
    global generator, which is seeded for each step.
    """

    needs_maps: ClassVar[bool]

    def __call__(self, step: Step) -> dict[str, Tensor]:
        """The named losses of the term, already weighted."""

    def start_epoch(self, epoch: int, epochs: int, examples: Examples) -> None:
        """Update the state kept between epochs; called before each epoch, after the generators are seeded."""
