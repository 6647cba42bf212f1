"""A separate linear classifier for each label."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelwise.errors import LabelwiseError
from labelwise.registry import CLASSIFIERS
from labelwise.types import LabelMaps


@CLASSIFIERS.register("per-label")
class PerLabelClassifier(nn.Module):
    """`z_l = <w_l, f_l> + b_l`.

    Args:
        num_labels: L.
        dim: D of the features.
        weights: `learned`, or `text`: `[w_l, b_l]` is a learned linear map of the label's word vector, so that a label
            without training images has a classifier too.
        text: builds that map.

    Raises:
        LabelwiseError: `text` without word vectors.

    >>> PerLabelClassifier(3, 4)(torch.ones(2, 3, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        num_labels: int,
        dim: int,
        weights: Literal["learned", "text"] = "learned",
        text: LabelMaps | None = None,
    ) -> None:
        super().__init__()
        bound = dim**-0.5
        self.text_weights: nn.Module | None = None
        if weights == "learned":
            self.weight = nn.Parameter(torch.empty(num_labels, dim).uniform_(-bound, bound))
            self.bias = nn.Parameter(torch.zeros(num_labels))
        elif text is None:
            raise LabelwiseError(
                "classifier.weights=text for a method without word vectors", "learned", "leave it out"
            )
        else:
            self.text_weights = text(dim + 1, bound * 3**-0.5, "classifier.weights=text")

    def rows(self) -> tuple[Float[Tensor, "L D"], Float[Tensor, " L"]]:
        """Weights and biases of all labels."""
        if self.text_weights is None:
            return self.weight, self.bias
        both = self.text_weights()
        return both[:, :-1], both[:, -1]

    def forward(self, features: Float[Tensor, "B L D"], shared: bool = False) -> Float[Tensor, "B L"]:
        """Logits of label features; if `shared`, the feature of the first label is that of all."""
        weight, bias = self.rows()
        if shared:  # a plain matrix product
            return nn.functional.linear(features[:, 0], weight, bias)
        return (features * weight).sum(-1) + bias
