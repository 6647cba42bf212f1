"""The loss of unknown cells: the interface of strategies and its combination with the loss of known cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn

from labelwise.distributed import joined_rows
from labelwise.errors import LabelwiseError
from labelwise.losses import functional as L
from labelwise.losses.classification import CellLoss
from labelwise.losses.functional import Cells, Mask
from labelwise.losses.long_tail import DistributionBalancedLoss
from labelwise.numerics import at_least_float32
from labelwise.types import Targets

UpToTen = Annotated[float, Field(ge=0, le=10)]


@dataclass(frozen=True)
class Facts:
    """Facts about the training rows, available to a strategy before the first step.

    Args:
        rows: N, number of training images.
        labels: L.
        prior: `[L]`, share of positives of each label in [0, 1], if a strategy needs it.
        scores: `[N, L]` in [0, 1], external scores; NaN for none.
    """

    rows: int
    labels: int
    prior: Float[Tensor, " L"] | None = None
    scores: Float[Tensor, "N L"] | None = None


@dataclass(frozen=True)
class Moment:
    """The rows and the epoch of a batch.

    Args:
        index: `[B]`, row numbers among the training rows, the keys of a strategy's memory.
        epoch: epochs done.
        epochs: total number of epochs.
        stores_state: whether the strategy may store what it computes for these rows: only in training, and only for the
            model's main logits.
    """

    index: Int64[Tensor, " B"]
    epoch: int = 0
    epochs: int = 1
    stores_state: bool = True


@dataclass(frozen=True)
class StrategyInputs:
    """The inputs of a strategy for a batch, in full precision.

    A cell may be neither known nor hidden: an input of the model, or in a filler row for unreadable images.

    Args:
        logits: `[B, L]`.
        values: `[B, L]`; 0 where not known.
        known: `[B, L]`, known cells that count in the loss.
        hidden: `[B, L]`, the unknown cells, which the strategy handles.
        loss: the chosen loss per cell.
        moment: rows and epoch.
    """

    logits: Cells
    values: Cells
    known: Mask
    hidden: Mask
    loss: CellLoss
    moment: Moment

    @property
    def present(self) -> Mask:
        """Known positive cells."""
        return self.known & (self.values >= 0.5)

    @property
    def counts(self) -> Mask:
        """Cells of images; filler rows for unreadable images have none."""
        return self.known | self.hidden

    def absent_cells(self) -> Cells:
        """The chosen loss of every cell for an absent label."""
        return self.loss.cells(self.logits, torch.zeros_like(self.logits))

    def present_cells(self) -> Cells:
        """The chosen loss of every cell for a present label."""
        return self.loss.cells(self.logits, torch.ones_like(self.logits))


@dataclass(frozen=True)
class Verdict:
    """The output of a strategy.

    Args:
        cells: `[B, L]`, losses of the unknown cells; ignored elsewhere.
        counted: `[B, L]`, unknown cells that count in the mean; `None` for those of `Strategy.counted`.
        present: `[B, L]`, losses that replace the chosen loss in known positive cells.
        weight: `[B, 1]` or `[B, L]`, factor of the losses of known cells.
        whole: a loss of the whole batch, added to the mean; several batches of a step are averaged.
    """

    cells: Cells
    counted: Mask | None = None
    present: Cells | None = None
    weight: Float[Tensor, "B _"] | None = None
    whole: Float[Tensor, ""] | None = None


class Strategy(nn.Module):
    """A strategy for unknown cells. Its buffers are a memory keyed by training row, saved and resumed with a run.

    `treatment` completes the log line "N of M training cells are unknown: ...".
    """

    treatment: ClassVar[str]

    def forward(self, inputs: StrategyInputs) -> Verdict:
        """Losses of the unknown cells."""
        raise NotImplementedError

    def counted(self, hidden: Mask, index: Int64[Tensor, " B"]) -> Mask | None:
        """Unknown cells that count in the mean; `None` if that depends on logits, so `Verdict.counted` is used."""
        return hidden

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Update the memory before each epoch; does nothing by default."""


class UnknownLoss(nn.Module):
    """The chosen loss on known cells, and a strategy's loss on unknown cells.

        cells = [known] w l(z, y) + [unknown] s(z);  loss = sum of cells / number of cells that count + whole

    Known negatives always have the chosen loss; a strategy may replace that of known positives, as documented there.

    Args:
        loss: the chosen loss, with a value for each cell.
        strategy: the strategy for unknown cells.

    Raises:
        LabelwiseError: the loss compares cells and has no value per cell, or weights a cell by the other labels of its
            image.

    >>> from labelwise.losses import BinaryCrossEntropy
    >>> from labelwise.losses.unknown_assumed import AssumeNegative
    >>> rule = AssumeNegative(Facts(rows=1, labels=2))
    >>> loss = UnknownLoss(BinaryCrossEntropy(), rule)
    >>> t = Targets.of(torch.tensor([[1.0, float("nan")]]))
    >>> round(loss(torch.zeros(1, 2), t, Moment(torch.tensor([0]))).item(), 6)
    0.693147
    """

    def __init__(self, loss: nn.Module, strategy: Strategy) -> None:
        super().__init__()
        if not isinstance(loss, CellLoss):
            raise LabelwiseError(
                f"unknown cells with a loss for the loss {type(loss).__name__}",
                "a loss with a value for each cell: bce, weighted-bce, focal or asl",
                "choose another loss.name, or --unknown ignore",
            )
        if isinstance(loss, DistributionBalancedLoss):
            raise LabelwiseError(
                "a strategy for unknown cells with loss.name=distribution-balanced",
                "a loss whose cells do not depend on the other labels of their image",
                "choose another loss.name, or --unknown ignore",
            )
        self.loss, self.strategy = loss, strategy

    def forward(
        self,
        logits: Float[Tensor, "B L"],
        targets: Targets,
        moment: Moment,
        hidden: Mask | None = None,
        divisor: Float[Tensor, ""] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss in fp32.

        Args:
            logits: of the batch.
            targets: label states.
            moment: rows and epoch of the batch.
            hidden: `[B, L]`, the unknown cells; `None` for all cells that are not known in `targets`.
            divisor: see `functional.reduce`.
        """
        hidden = ~targets.known if hidden is None else hidden & ~targets.known
        with torch.autocast(logits.device.type, enabled=False):
            z = at_least_float32(logits)
            # An unknown cell may hold NaN, and the reduction would not mask its NaN gradient.
            y = targets.values.to(z.dtype).masked_fill(~targets.known, 0)
            inputs = StrategyInputs(z, y, targets.known, hidden, self.loss, moment)
            verdict = self.strategy(inputs)
            known_losses = self.loss.cells(z, y)
            if verdict.present is not None:
                known_losses = torch.where(inputs.present, verdict.present, known_losses)
            if verdict.weight is not None:
                known_losses = verdict.weight * known_losses
            counted = (
                self.strategy.counted(hidden, moment.index) if verdict.counted is None else verdict.counted
            )
            assert counted is not None, "`Strategy.counted` or `Verdict.counted` must return a mask"
            cells = torch.where(hidden, verdict.cells, known_losses)
            total = L.reduce(cells, targets.known | hidden & counted, self.loss.reduction, divisor)
            return total if verdict.whole is None else total + verdict.whole

    def counted(self, known: Mask, hidden: Mask, index: Int64[Tensor, " B"]) -> Mask | None:
        """Cells that count in the mean, known and unknown; `None` if that depends on logits."""
        counted = self.strategy.counted(hidden, index)
        return None if counted is None else known | hidden & counted

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Notify the strategy of the start of an epoch, after `epoch` epochs."""
        self.strategy.start_epoch(epoch, epochs)


def remember(table: Tensor, inputs: StrategyInputs, rows: Float[Tensor, "B L"] | Mask) -> None:
    """Write a batch's rows of all processes into a memory, which is equal in all processes."""
    index, joined = joined_rows(inputs.moment.index.to(rows.device), rows.detach().to(torch.float32))
    table[index] = joined.to(table.dtype)
