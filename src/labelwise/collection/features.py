"""Features of labels in images, with scores and boxes of the evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, Float32, UInt8
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import normalize

from labelwise.collection.appearance import appearance, as_map, early_stage, known_regions, places
from labelwise.collection.boxes import (
    WHOLE,
    Box,
    box_of_part,
    cut_maps,
    cut_pixels,
    cut_regions,
    mirrored,
)
from labelwise.collection.schema import JOINED
from labelwise.export.engines import Eager
from labelwise.inference.predictor import Predictor

SHARE = 0.5
"""Share of the peak from which a place belongs to the box of the evidence."""
HEAD_WEIGHTS = {True: 0.5, False: 2.0}
"""Weight of the head's feature beside the early stage and the colours, each of unit length, for a label with a region
and for one without; chosen by `studies/kinds.py` on val."""


@dataclass(frozen=True)
class Embedded:
    """Features of a batch.

    Args:
        scores: probabilities in label order.
        chosen: the labels that the decisions select.
        features: a feature of each label, of unit length.
        maps: evidence, each map with sum 1; `None` if it was not requested.
        whole: mean of the backbone's map over its places, of unit length.
    """

    scores: Float[np.ndarray, "B L"]
    chosen: Bool[np.ndarray, "B L"]
    features: Float16[np.ndarray, "B L D"]
    maps: Float32[np.ndarray, "B L h w"] | None
    whole: Float16[np.ndarray, "B C"]


class Embedder:
    """Computes a feature of each label with a loaded run.

    Args:
        predictor: a run, or an export of its weights.
        kind: `joined`, the input of the label's classifier beside the appearance of the label's place, see
            `appearance`; or `label`, the input of the classifier alone.

    See `embedder_of` for graphs.
    """

    def __init__(self, predictor: Predictor, kind: str = JOINED) -> None:
        assert isinstance(predictor.engine, Eager), "a graph has no model"
        self.predictor, self._engine, self.kind = predictor, predictor.engine, kind
        backbone: Any = self._engine.model.backbone
        self._early = early_stage(getattr(backbone, "net", None)) if kind == JOINED else None
        prior = getattr(self._engine.model.extractor, "prior", None)
        self._regions = known_regions(predictor.labels, {} if prior is None else prior.declared)
        if self._early is not None:
            backbone.engine = None  # its graph has no early stage
        weights = [HEAD_WEIGHTS[label in self._regions] for label in range(len(predictor.labels))]
        self._weights = torch.tensor(weights, device=self._engine.device)[:, None]
        height, width = predictor.transform.config.input_size
        blank = torch.zeros(1, 3, height, width, dtype=torch.uint8)
        with torch.inference_mode():
            output, pooled, features = self._forward(blank, False)
        self.dim, self.whole_dim = features.shape[2], pooled.shape[1]
        self.look_dim = self.dim - output.features.shape[2]
        self.one_feature = kind != JOINED and output.shared

    @torch.inference_mode()
    def __call__(
        self, images: UInt8[Tensor, "B 3 h w"], maps: bool = True, box: Box | None = None
    ) -> Embedded:
        """Features of outputs of the predictor's transform, as one batch.

        Args:
            images: the outputs.
            maps: also return the evidence.
            box: of each image; everything is then computed from its map in the box, see `cut_maps`.
        """
        output, pooled, features = self._forward(images, maps, None if box == WHOLE else box)
        decisions = self.predictor.decisions
        p = decisions.probabilities(output.logits.float().cpu().numpy())
        evidence = output.maps.float().cpu().numpy() if maps and output.maps is not None else None
        return Embedded(
            p, decisions.select(p), _halved(features), evidence, _halved(normalize(pooled, dim=-1))
        )

    def _forward(self, images: Tensor, maps: bool, box: Box | None = None) -> tuple[Any, Tensor, Tensor]:
        """The model's output, the pooled map of the first view, and the features to store."""
        captured: list[Tensor] = []
        early_maps: list[Tensor | None] = []
        count = len(images)

        def capture(module: Any, inputs: Any, feature_map: Float[Tensor, "n C h w"]) -> Tensor:
            if box is not None:  # a second half of the batch are the mirror images
                feature_map = cut_maps(
                    feature_map, [box] * count + [mirrored(box)] * (len(feature_map) - count)
                )
            captured.extend((inputs[0][:count], feature_map[:count].float().mean((2, 3))))
            return feature_map

        def capture_early(module: Any, inputs: Any, output: Any) -> None:
            stage = as_map(output, self._early[1]) if self._early else None
            if stage is not None:
                stage = stage[:count] if box is None else cut_maps(stage[:count].float(), [box] * count)
            early_maps.append(stage)

        hooks = [self._engine.model.backbone.register_forward_hook(capture)]
        if self._early is not None:
            hooks.append(self._early[0].register_forward_hook(capture_early))
        is_joined = self.kind == JOINED
        try:
            output = self._engine.model(images.to(self._engine.device), want_maps=maps or is_joined)
        finally:
            for hook in hooks:
                hook.remove()
        pixels, pooled = captured[:2]
        stored = normalize(output.features.float(), dim=-1)
        if is_joined:
            regions = self._regions
            if box is not None:
                pixels, regions = cut_pixels(pixels, box), cut_regions(regions, box)
            appearances = appearance(
                pixels, early_maps[0] if early_maps else None, places(output.maps, regions)
            )
            stored = normalize(torch.cat([self._weights * stored, appearances], -1), dim=-1)
        return output, pooled, stored


def _halved(features: Tensor) -> np.ndarray:
    """Features as a float16 array."""
    return features.cpu().numpy().astype(np.float16)


def evidence_box(evidence: Float[np.ndarray, "h w"], shown: Box = WHOLE) -> Box:
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
    height, width = evidence.shape
    sides = columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height
    left, top, right, bottom = (float(side) for side in sides)
    return box_of_part((left, top, right, bottom), shown)
