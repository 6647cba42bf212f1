"""Types that are passed between the subpackages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from labelwise.labels import Group as Group
from labelwise.labels import LabelSet as LabelSet
from labelwise.labels import is_text as is_text
from labelwise.lazy import Bool, Float, torch
from labelwise.taught import TeacherBatch


@dataclass
class Targets:
    """Label states of a batch; unknown cells are marked by the mask, never by a magic number.

    Args:
        values: `[B, L]` float in [0, 1]; soft targets are allowed; ignored where not known.
        known: `[B, L]` bool.

    >>> t = Targets.of(torch.tensor([[1.0, float("nan")]]))
    >>> t.known.tolist(), t.values.tolist()
    ([[True, False]], [[1.0, 0.0]])
    """

    values: Float[torch.Tensor, "B L"]
    known: Bool[torch.Tensor, "B L"]

    @classmethod
    def of(cls, values: torch.Tensor | Targets, known: torch.Tensor | None = None) -> Targets:
        """Targets from a tensor (`known=None`: all known except NaN) or from targets, unchanged."""
        if isinstance(values, Targets):
            return values
        values = values.float()
        nan = values.isnan()
        known = ~nan if known is None else known.bool() & ~nan
        return cls(values.masked_fill(nan, 0.0), known)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Targets:
        """The same targets on a device."""
        return Targets(
            self.values.to(device, non_blocking=non_blocking),
            self.known.to(device, non_blocking=non_blocking),
        )

    def __len__(self) -> int:
        return self.values.shape[0]

    def __getitem__(self, rows: Any) -> Targets:
        return Targets(self.values[rows], self.known[rows])


@dataclass
class LabelFeatures:
    """Output of an extractor.

    Args:
        features: `[B, L, D]`; row `l` is the feature of label `l`.
        maps: `[B, L, h, w]`, non-negative, each summing to 1 over locations; `None` unless requested.
        logits: `[B, L]`, for an extractor that scores locations before pooling.
        earlier: features of earlier cascade steps, for deep supervision.
        branches: additional logits `[B, L]` by name for the loss, for example of single scales.
        mass: `[B, h, w]`, sum over channels of the pooled map at each location; present with maps.
        shared: whether all labels have one and the same feature, an expanded view of `[B, D]`.
    """

    features: Float[torch.Tensor, "B L D"]
    maps: Float[torch.Tensor, "B L h w"] | None = None
    logits: Float[torch.Tensor, "B L"] | None = None
    earlier: Sequence[Float[torch.Tensor, "B L D"]] = ()
    branches: Mapping[str, Float[torch.Tensor, "B L"]] = field(default_factory=dict)
    mass: Float[torch.Tensor, "B h w"] | None = None
    shared: bool = False


@dataclass
class Output:
    """Output of a model.

    Args:
        logits: `[B, L]` float.
        features: `[B, L, D]`, the input of the per-label classifier.
        maps: `[B, L, h, w]` evidence; `None` unless requested.
        decoupled: `[B, L, D']`, the extractor's label features before any relation; else equal to `features`.
        branches: additional logits `[B, L]` by name for the loss: earlier cascade steps, single scales.
        mass: `[B, h, w]`, see `LabelFeatures`.
        shared: whether all labels have one and the same row of `features`, which is then an expanded view.
    """

    logits: Float[torch.Tensor, "B L"]
    features: Float[torch.Tensor, "B L D"]
    maps: Float[torch.Tensor, "B L h w"] | None
    decoupled: Float[torch.Tensor, "B L E"]
    branches: Mapping[str, Float[torch.Tensor, "B L"]] = field(default_factory=dict)
    mass: Float[torch.Tensor, "B h w"] | None = None
    shared: bool = False


@dataclass(frozen=True)
class LabelPriors:
    """Label statistics of the training split, counted over known cells.

    Args:
        positive: `[L]`, images where the label is a known positive.
        known: `[L]`, images where its state is known.
        together: `[L, L]`, images where both labels are known positives.
        anchored: `[L, L]`, images where the row's label is a known positive and the column's state is known.
        vectors: `[L, V]` word vectors, or `None` if they are learned.
        missing: names of labels without a word vector; their rows are learned.
    """

    positive: Float[torch.Tensor, " L"]
    known: Float[torch.Tensor, " L"]
    together: Float[torch.Tensor, "L L"]
    anchored: Float[torch.Tensor, "L L"]
    vectors: Float[torch.Tensor, "L V"] | None = None
    missing: tuple[str, ...] = ()

    @classmethod
    def count(
        cls,
        targets: Targets,
        vectors: Float[torch.Tensor, "L V"] | None = None,
        missing: Sequence[str] = (),
    ) -> LabelPriors:
        """Count the label states of a whole split.

        >>> t = Targets.of(torch.tensor([[1.0, 1.0], [1.0, float("nan")], [1.0, 0.0]]))
        >>> p = LabelPriors.count(t)
        >>> p.together[0, 1].item(), p.anchored[0, 1].item()
        (1.0, 2.0)
        """
        known = targets.known.float()
        present = (targets.values >= 0.5).float() * known
        return cls(
            present.sum(0), known.sum(0), present.T @ present, present.T @ known, vectors, tuple(missing)
        )

    @classmethod
    def nothing(
        cls, num_labels: int, vectors: Float[torch.Tensor, "L V"] | None = None, missing: Sequence[str] = ()
    ) -> LabelPriors:
        """Priors of an empty split; those of a trained model are loaded with its weights."""
        vector, matrix = torch.zeros(num_labels), torch.zeros(num_labels, num_labels)
        return cls(vector, vector, matrix, matrix, vectors, tuple(missing))

    def __add__(self, other: LabelPriors) -> LabelPriors:
        """The sum of both counts; vectors are those of `self`."""
        counts = ("positive", "known", "together", "anchored")
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in counts})

    @property
    def positive_rate(self) -> Float[torch.Tensor, " L"]:
        """`[L]`, share of positives among known cells; 0 where nothing is known."""
        return self.positive / self.known.clamp(min=1)


@dataclass
class Batch:
    """A batch of images and label states.

    Args:
        images: `[B, 3, H, W]` uint8, or stored backbone maps `[B, C, h, w]` when `is_map`.
        targets: their label states.
        index: `[B]` int64, row numbers in the data set.
        is_map: whether `images` holds backbone maps.
        unreadable: (row, reason) of each image of this batch that could not be decoded and is left out.
        divisor: divisor of its classification loss if it is one of several batches in a step, see `Method.divisor`;
            `None` for its own number of cells or images.
        taught: a teacher's outputs for it; `None` without a teacher.
    """

    images: torch.Tensor
    targets: Targets
    index: torch.Tensor
    is_map: bool = False
    unreadable: tuple[tuple[int, str], ...] = ()
    divisor: torch.Tensor | None = None
    taught: TeacherBatch | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        images, targets = self.images.to(device, non_blocking=True), self.targets.to(device, True)
        return replace(self, images=images, targets=targets, taught=self.taught and self.taught.to(device))


LabelMaps = Callable[[int, float, str], Any]
"""Builds modules (`torch.nn.Module`) that return `[L, dim]` from the labels' word vectors. Called with dim, the initial
standard deviation, and the name of the option that needs it, for errors."""
