"""Label vectors: learned, or from word vectors of the labels' names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.errors import LabelwiseError


class LabelVectors(nn.Module):
    """A vector for each label: given word vectors are fixed, the rest are learned.

    Args:
        num_labels: L.
        dim: V, width of learned vectors; ignored if `given` is not `None`.
        given: `[L, V]` word vectors, or `None` to learn all.
        learned: rows of `given` that are learned.

    >>> LabelVectors(3, 4)().shape, LabelVectors(3, 4, torch.ones(3, 2), [1])().shape
    (torch.Size([3, 4]), torch.Size([3, 2]))
    """

    def __init__(
        self,
        num_labels: int,
        dim: int = 50,
        given: Float[Tensor, "L V"] | None = None,
        learned: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.dim = dim if given is None else given.shape[1]
        self.rows = list(range(num_labels)) if given is None else sorted(learned)
        self.given: Tensor | None
        self.register_buffer("given", None if given is None else given.float().clone())
        scale = 1.0 if given is None else float(given.square().mean().sqrt().clamp(min=1e-3))
        self.learned = nn.Parameter(torch.randn(len(self.rows), self.dim) * scale) if len(self.rows) else None

    def forward(self) -> Float[Tensor, "L V"]:
        """The vectors of all labels."""
        if self.given is None or self.learned is None:
            return self.learned if self.given is None else self.given  # type: ignore[return-value]
        rows = torch.tensor(self.rows, device=self.given.device)
        return self.given.index_copy(0, rows, self.learned.to(self.given.dtype))


class TextMap(nn.Module):
    """A vector for each label by a learned linear map of its word vector: `E W^T`, with unit rows of E.

    All labels share W, so a label without training images has a vector too.

    Args:
        vectors: `[L, V]` word vectors, none of them 0.
        dim: D, width of the output.
        std: standard deviation of the initial outputs, over 0.

    >>> TextMap(torch.eye(3, 5), 4)().shape
    torch.Size([3, 4])
    """

    def __init__(self, vectors: Float[Tensor, "L V"], dim: int, std: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("vectors", F.normalize(vectors.float(), dim=1))
        self.weight = nn.Parameter(torch.randn(dim, vectors.shape[1]) * std)

    def forward(self) -> Float[Tensor, "L D"]:
        """The vectors of all labels."""
        return F.linear(self.vectors, self.weight)  # type: ignore[arg-type]


class LabelText:
    """Builds maps of the labels' word vectors for parts of a method.

    Args:
        vectors: `[L, V]` word vectors, or `None` without a source.
        missing: labels without a word vector.
    """

    def __init__(self, vectors: Float[Tensor, "L V"] | None, missing: Sequence[str] = ()) -> None:
        self._vectors, self._missing = vectors, tuple(missing)

    def __call__(self, dim: int, std: float, option: str) -> TextMap:
        """Build a `TextMap`; `option` is the name of the option that needs it, for errors.

        Raises:
            LabelwiseError: no word vectors, or labels without one.
        """
        if self._vectors is None:
            raise LabelwiseError(
                f"{option} without word vectors", "vectors.source=package:NAME or a file", "name a source"
            )
        if self._missing:
            raise LabelwiseError(
                f"{option} with no word vector for {', '.join(self._missing[:5])}",
                "a vector for every label",
                "rename these labels, choose another vectors.source, or leave the option out",
            )
        return TextMap(self._vectors, dim, std)
