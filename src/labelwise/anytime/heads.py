"""The heads that a plan chooses from, with their mAP on VOC photographs at two image sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from labelwise.runs.config import Config

FEW_IMAGES = 600
"""Up to this number of training images, heads are ranked by their mAP with 200 images."""


class Head(NamedTuple):
    """A candidate method.

    Args:
        name: id of the method.
        rank: order of training, from simple to complex.
        at_224, at_448: test mAP in percent at two image sizes on frozen maps of the VOC photographs.
        settings: its other settings.
    """

    name: str
    rank: int
    at_224: float
    at_448: float
    settings: Mapping[str, Any]

    def expected(self, size: int) -> float:
        """Return the mAP at another size, linear in the logarithm of the side."""
        return self.at_224 + (self.at_448 - self.at_224) * math.log2(size / 224)


_HEADS_OF_MANY = (
    Head("baseline-mlp", 0, 85.3, 87.7, {}),
    Head("csra", 1, 84.6, 88.8, {}),
    Head("ssgrl", 2, 85.8, 90.1, {"discriminative.weight": 0.1}),
    Head("dlfl", 3, 84.9, 89.1, {}),
)
"""With 1,976 training images: results/voc-methods.csv and voc-methods-448.csv."""
_HEADS_OF_FEW = (
    Head("baseline-mlp", 0, 76.6, 78.2, {}),
    Head("csra", 1, 76.5, 80.5, {}),
    Head("ssgrl", 2, 75.2, 79.7, {"discriminative.weight": 0.1}),
)
"""With 200 training images: results/voc-small.csv and voc-small-448.csv; `ssgrl` at 224 px uses the value of `dlfl`."""


def heads_of(config: Config, images: int, given: frozenset[str]) -> tuple[Head, ...]:
    """Return the candidate methods, from simple to complex."""
    if "method" in given:
        return (Head(config.method, 0, 0.0, 1.0, {}),)
    return _HEADS_OF_FEW if images <= FEW_IMAGES else _HEADS_OF_MANY
