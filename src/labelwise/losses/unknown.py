"""What a loss does with cells whose state is unknown: the core that every strategy shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from labelwise.distributed import joined_rows
from labelwise.errors import LabelwiseError
from labelwise.losses import functional as L
from labelwise.losses.classification import CellLoss
from labelwise.losses.functional import Cells, Mask
from labelwise.losses.long_tail import DistributionBalancedLoss
from labelwise.numerics import at_least_float32
from labelwise.types import Targets


@dataclass(frozen=True)
class Facts:
    """What a strategy knows of the training rows before the first step.

    Args:
        rows: N, the training images.
        labels: L.
        prior: `[L]`, share of positives of each label in [0, 1], where a strategy needs it.
        scores: `[N, L]` in [0, 1], scores from outside; NaN where there is none.
    """

    rows: int
    labels: int
    prior: Float[Tensor, " L"] | None = None
    scores: Float[Tensor, "N L"] | None = None


@dataclass(frozen=True)
class Moment:
    """Where in training a batch stands.

    Args:
        index: `[B]`, its rows' numbers among the training rows; a strategy's memory is keyed by them.
        epoch: epochs done.
        epochs: epochs in all.
        remembers: whether memories may be written: while training, and for the model's own logits alone.
    """

    index: Int64[Tensor, " B"]
    epoch: int = 0
    epochs: int = 1
    remembers: bool = True


@dataclass(frozen=True)
class Question:
    """A batch as a strategy sees it, in full precision.

    A cell may be neither known nor hidden: one that the model was told, or one of a filling for unreadable images.

    Args:
        logits: `[B, L]`.
        values: `[B, L]`; 0 where not known.
        known: `[B, L]`, cells that the loss may judge by what is known.
        hidden: `[B, L]`, the unknown cells: those that a strategy acts on.
        loss: the chosen loss by cell.
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
        """Cells known to be present."""
        return self.known & (self.values >= 0.5)

    @property
    def counts(self) -> Mask:
        """Cells of images; a filling for images that could not be read has none."""
        return self.known | self.hidden

    def absent_cells(self) -> Cells:
        """The chosen loss of every cell, were its label absent."""
        return self.loss.cells(self.logits, torch.zeros_like(self.logits))

    def present_cells(self) -> Cells:
        """The chosen loss of every cell, were its label present."""
        return self.loss.cells(self.logits, torch.ones_like(self.logits))


@dataclass(frozen=True)
class Verdict:
    """A strategy's answer.

    Args:
        cells: `[B, L]`, losses of the unknown cells; elsewhere ignored.
        counted: `[B, L]`, unknown cells that count in the mean; `None` for those of `Strategy.counted`.
        present: `[B, L]`, losses in place of the chosen one's where a label is known to be present.
        weight: `[B, 1]` or `[B, L]`, factor of the losses of known cells.
        whole: a loss of the batch as a whole, added to the mean; batches that make a step together are averaged.
    """

    cells: Cells
    counted: Mask | None = None
    present: Cells | None = None
    weight: Float[Tensor, "B _"] | None = None
    whole: Float[Tensor, ""] | None = None


class Strategy(nn.Module):
    """A rule for unknown cells. Its buffers are memory keyed by training row: saved and resumed with a run.

    `says` ends the sentence "N of M training cells are unknown: ...".
    """

    says: ClassVar[str]

    def forward(self, q: Question) -> Verdict:
        """Losses of the unknown cells."""
        raise NotImplementedError

    def counted(self, hidden: Mask, index: Int64[Tensor, " B"]) -> Mask | None:
        """Those of the unknown cells that count in the mean; `None` where only the logits tell, and so the verdict."""
        return hidden

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Change what is remembered, before each epoch; most strategies have nothing to do."""


class UnknownLoss(nn.Module):
    """A loss over known cells and, by a strategy, over unknown ones.

        cells = [known] w l(z, y) + [unknown] s(z);  loss = sum of cells / number of cells that count + whole

    Known negatives always have the chosen loss; a strategy may replace that of known positives, and says so.

    Args:
        loss: the chosen loss, one with a value for each cell.
        strategy: what is done with unknown cells.

    Raises:
        LabelwiseError: a loss that compares cells and has no value for one alone, or one that weighs a cell by the
            other labels of its image.

    >>> from labelwise.losses import BinaryCrossEntropy, strategies
    >>> rule = strategies.AssumeNegative(Facts(rows=1, labels=2))
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
            targets: what may be judged.
            moment: its rows and the epoch.
            hidden: `[B, L]`, the unknown cells; `None` for all that `targets` does not know.
            divisor: see `functional.reduce`.
        """
        hidden = ~targets.known if hidden is None else hidden & ~targets.known
        with torch.autocast(logits.device.type, enabled=False):
            z = at_least_float32(logits)
            # An unknown cell may hold anything, NaN too, whose gradient would not be masked by the reduction.
            y = targets.values.to(z.dtype).masked_fill(~targets.known, 0)
            q = Question(z, y, targets.known, hidden, self.loss, moment)
            verdict = self.strategy(q)
            plain = self.loss.cells(z, y)
            if verdict.present is not None:
                plain = torch.where(q.present, verdict.present, plain)
            if verdict.weight is not None:
                plain = verdict.weight * plain
            counts = (
                self.strategy.counted(hidden, moment.index) if verdict.counted is None else verdict.counted
            )
            assert counts is not None, "the verdict says which cells count where the strategy cannot"
            cells = torch.where(hidden, verdict.cells, plain)
            total = L.reduce(cells, targets.known | hidden & counts, self.loss.reduction, divisor)
            return total if verdict.whole is None else total + verdict.whole

    def counted(self, known: Mask, hidden: Mask, index: Int64[Tensor, " B"]) -> Mask | None:
        """Cells that count in the mean, known and unknown; `None` where only the logits tell."""
        found = self.strategy.counted(hidden, index)
        return None if found is None else known | hidden & found

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Tell the strategy that an epoch begins, `epoch` being done."""
        self.strategy.start_epoch(epoch, epochs)


def remember(table: Tensor, q: Question, rows: Float[Tensor, "B L"] | Mask) -> None:
    """Put a batch's rows in their places of a memory, the same in all processes that train together."""
    index, joined = joined_rows(q.moment.index.to(rows.device), rows.detach().to(torch.float32))
    table[index] = joined.to(table.dtype)


def between(name: str, value: float, low: float, high: float) -> float:
    """The option, refused outside of [low, high].

    Raises:
        LabelwiseError: it is outside, or no number.
    """
    if not isinstance(value, (int, float)) or not low <= value <= high:
        raise LabelwiseError(
            f"unknown.{name}={value!r}", f"a number from {low:g} to {high:g}", "correct the option"
        )
    return float(value)
