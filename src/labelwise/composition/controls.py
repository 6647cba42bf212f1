"""Controls of experiments: a method without one of its ideas, with the same parameters and weights of the same names.

`uniform-attention`: every label attends to all places alike, so that it sees the mean of the places. `no-edges`: graphs
of labels get no counts of the training split, so they have no edges, and labels exchange nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelwise.errors import LabelwiseError
from labelwise.extractors.attentive import Attentive
from labelwise.options import Control
from labelwise.types import LabelFeatures


def check_controls(controls: Collection[str]) -> None:
    """Raise `LabelwiseError` for a name that is no control."""
    for name in controls:
        if name not in get_args(Control):
            raise LabelwiseError(
                f"control {name!r}", f"one of {', '.join(get_args(Control))}", "correct controls"
            )


class MeanOfPlaces(nn.Module):
    """The mean of all places, in each of them: `m_p = mean_q x_q`.

    Weights that sum to 1 pool it to that mean, whatever they are. So attention computed by scores is uniform in effect,
    and its parameters for the scores learn nothing.

    >>> MeanOfPlaces()(torch.tensor([[[1.0], [3.0]]])).flatten().tolist()
    [2.0, 2.0]
    """

    def forward(self, tokens: Float[Tensor, "B P D"]) -> Float[Tensor, "B P D"]:
        """The mean in each place."""
        return tokens.mean(1, keepdim=True).expand_as(tokens)


def attend_uniformly(extractor: nn.Module, prior: nn.Module | None = None) -> None:
    """Let the labels of an extractor attend to all places alike, in place; its maps are `1 / P` at each of P places.

    What relates places to each other before labels attend to them stays, such as an encoder.

    Args:
        extractor: its labels attend to places.
        prior: where each label may look.

    Raises:
        LabelwiseError: labels that do not attend to places, or a prior, which would have no effect.
    """
    if not isinstance(extractor, Attentive):
        raise LabelwiseError(
            f"controls=uniform-attention for {type(extractor).__name__}, whose labels do not attend to places",
            "a method with attention, such as dlfl, ssgrl or csra",
            "leave the control out",
        )
    if prior is not None:
        raise LabelwiseError(
            "controls=uniform-attention with regions.outside under 1",
            "one of them, since uniform attention has no regions",
            "leave one out; baseline-stripes pools a region of each label without attention",
        )
    extractor.attended = MeanOfPlaces()
    extractor.register_forward_hook(_with_uniform_maps)


def _with_uniform_maps(extractor: nn.Module, given: Any, output: LabelFeatures) -> LabelFeatures:
    """The output with maps of equal weights; codes of positions may have moved the scores."""
    if output.maps is None:
        return output
    height, width = output.maps.shape[2:]
    return replace(output, maps=torch.full_like(output.maps, 1 / (height * width)))
