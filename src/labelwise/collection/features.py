"""Label features of images, with scores and boxes of the evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, Float32, UInt8
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import normalize

from labelwise.export.engines import Eager
from labelwise.serving.predictor import Predictor

SHARE = 0.5
"""Share of the peak from which a place belongs to the box of the evidence."""
Part = tuple[float, float, float, float]


@dataclass(frozen=True)
class Embedded:
    """Features of a batch.

    Args:
        scores: probabilities in label order.
        chosen: the labels that the decisions select.
        features: label features of unit length.
        maps: evidence, each map with sum 1; `None` if it was not requested.
        whole: mean of the backbone's map over its places, of unit length.
    """

    scores: Float[np.ndarray, "B L"]
    chosen: Bool[np.ndarray, "B L"]
    features: Float16[np.ndarray, "B L D"]
    maps: Float32[np.ndarray, "B L h w"] | None
    whole: Float16[np.ndarray, "B C"]


class Embedder:
    """Computes label features with a loaded run.

    Args:
        predictor: a run, or an export of its weights.

    See `embedder_of` for graphs.
    """

    def __init__(self, predictor: Predictor) -> None:
        assert isinstance(predictor.engine, Eager), "a graph has no model"
        self.predictor, self._engine = predictor, predictor.engine
        height, width = predictor.transform.config.input_size
        blank = torch.zeros(1, 3, height, width, dtype=torch.uint8)
        with torch.inference_mode():
            output, pooled = self._forward(blank, False)
        self.dim, self.whole_dim = output.features.shape[2], pooled.shape[1]
        # A feature shared by all labels is an expanded view.
        self.one_feature = output.features.shape[1] > 1 and output.features.stride(1) == 0

    @torch.inference_mode()
    def __call__(self, images: UInt8[Tensor, "B 3 h w"], maps: bool = True) -> Embedded:
        """Features of outputs of the predictor's transform, as one batch."""
        output, pooled = self._forward(images, maps)
        decisions = self.predictor.decisions
        p = decisions.probabilities(output.logits.float().cpu().numpy())
        evidence = output.maps.float().cpu().numpy() if maps and output.maps is not None else None
        return Embedded(p, decisions.select(p), _unit(output.features), evidence, _unit(pooled))

    def _forward(self, images: Tensor, maps: bool) -> tuple[Any, Tensor]:
        """The model's output, and the pooled map of the first view."""
        pooled: list[Tensor] = []

        def keep(module: Any, inputs: Any, feature_map: Float[Tensor, "n C h w"]) -> None:
            pooled.append(feature_map[: len(images)].float().mean((2, 3)))

        handle = self._engine.model.backbone.register_forward_hook(keep)
        try:
            output = self._engine.model(images.to(self._engine.device), want_maps=maps)
        finally:
            handle.remove()
        return output, pooled[0]


def _unit(features: Tensor) -> np.ndarray:
    return normalize(features.float(), dim=-1).cpu().numpy().astype(np.float16)


def evidence_box(evidence: Float[np.ndarray, "h w"], shown: Part = (0.0, 0.0, 1.0, 1.0)) -> Part:
    """The box `(x0, y0, x1, y1)` around the places that are connected to the peak and reach half of it.

    Args:
        evidence: of one label.
        shown: the part of the photograph that the map covers.

    Returns:
        fractions of the photograph's width and height.

    >>> evidence_box(np.array([[0.0, 0.1], [0.6, 0.3]]))
    (0.0, 0.5, 1.0, 1.0)
    """
    regions, _ = ndimage.label(evidence >= SHARE * evidence.max())
    rows, columns = np.nonzero(regions == regions.flat[int(evidence.argmax())])
    (height, width), (x0, y0, x1, y1) = evidence.shape, shown
    sides = columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height
    left, top, right, bottom = (float(side) for side in sides)
    return (
        x0 + left * (x1 - x0),
        y0 + top * (y1 - y0),
        x0 + right * (x1 - x0),
        y0 + bottom * (y1 - y0),
    )
