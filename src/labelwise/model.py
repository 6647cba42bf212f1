"""The sentence: images -> map -> one feature per label -> (relate) -> logits."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelwise.errors import LabelwiseError
from labelwise.numerics import at_least_float32
from labelwise.types import LabelFeatures, Output, Targets


class LabelModel(nn.Module):
    """Backbone, extractor, relation and classifier in their order; no loss inside.

    Args:
        backbone: `[B, 3, H, W]` -> `[B, C, h, w]`.
        extractor: map -> `LabelFeatures`; called as `extractor(map, want_maps=False)`. One that has no maps to give has
            `places` (map -> `[B, P, D]`) and is shown by `class_activation`.
        classifier: `[B, L, D]` -> `[B, L]`; `None` where the extractor gives the logits itself.
        relation: `[B, L, D]` -> `[B, L, D']`, or `None`.
        own_share: weight in [0, 1] of the extractor's own logits beside the classifier's, where both are given.
        takes_states: the extractor also takes what is known of an image, as `extractor(map, want_maps, states)`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        extractor: nn.Module,
        classifier: nn.Module | None,
        relation: nn.Module | None = None,
        own_share: float = 0.5,
        takes_states: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, self.extractor, self.relation, self.classifier = (
            backbone,
            extractor,
            relation,
            classifier,
        )
        self.own_share, self.takes_states = own_share, takes_states

    def forward(
        self, images: Tensor, want_maps: bool = False, is_map: bool = False, states: Targets | None = None
    ) -> Output:
        """Logits, features and, where asked for, maps.

        Args:
            images: `[B, 3, H, W]` uint8 or floats in [0, 1]; with `is_map`, stored backbone maps `[B, C, h, w]`.
            want_maps: also give `[B, L, h, w]` evidence.
            is_map: `images` are maps, and the backbone is passed over.
            states: what is already known of each image, for a method that makes use of it.

        Raises:
            LabelwiseError: states for a method that cannot use them.
        """
        feature_map = images if is_map else self.backbone(images)
        found = self._extract(feature_map, want_maps, states)
        features, logits = self.relate(found.features)
        if found.logits is not None:
            own = at_least_float32(found.logits)
            logits = own if logits is None else (1 - self.own_share) * logits + self.own_share * own
        assert logits is not None, "an extractor without logits of its own needs a classifier"
        maps = self.class_activation(feature_map) if want_maps and found.maps is None else found.maps
        branches = {f"step_{s}": self._logits(f) for s, f in enumerate(found.earlier, 1)}
        branches.update(found.branches)
        return Output(logits, features, maps, found.features, branches, found.mass)

    def _logits(self, decoupled: Tensor) -> Tensor:
        logits = self.relate(decoupled)[1]
        assert logits is not None, "earlier steps need a classifier"
        return logits

    def relate(self, decoupled: Float[Tensor, "B L E"]) -> tuple[Tensor, Tensor | None]:
        """Features behind the relation, and their logits by the classifier, of the extractor's label features."""
        features = decoupled if self.relation is None else self.relation(decoupled)
        return features, None if self.classifier is None else at_least_float32(self.classifier(features))

    def class_activation(self, feature_map: Float[Tensor, "B C h w"]) -> Float[Tensor, "B L h w"]:
        """Evidence of a pooled model: how far each place alone raises a label's score, the positive part of it.

            e_lp = relu( z_l(g(x_p)) - z_l(0) ),   A_lp = e_lp / sum_p e_lp

        With a linear classifier `z_l(v) - z_l(0) = <w_l, v>`. Where no place raises the score, a label shows by how
        much each lies above the lowest, and where all are alike an even map.

        Source: Zhou et al. 2016, "Learning Deep Features for Discriminative Localization".
        Differs: the negative part is cut off, so that a map is a share of evidence.
        """
        extractor: Any = self.extractor
        places: Tensor = extractor.places(feature_map)
        labels = (-1, extractor.num_labels, -1)
        scores = self._logits(places.flatten(0, 1).unsqueeze(1).expand(labels))
        scores = scores - self._logits(places.new_zeros(1, 1, places.shape[2]).expand(labels))
        scores = scores.unflatten(0, places.shape[:2]).transpose(1, 2)
        evidence = scores.relu()
        for other in (scores - scores.amin(2, keepdim=True), torch.ones_like(scores)):
            evidence = torch.where(evidence.amax(2, keepdim=True) > 0, evidence, other)
        return (evidence / evidence.sum(2, keepdim=True)).unflatten(2, feature_map.shape[2:])

    def _extract(self, feature_map: Tensor, want_maps: bool, states: Targets | None) -> LabelFeatures:
        if states is None:
            return self.extractor(feature_map, want_maps)
        if not self.takes_states:
            raise LabelwiseError(
                "known label states for a method that cannot use them",
                "a method such as c-tran",
                "leave them out",
            )
        return self.extractor(feature_map, want_maps, states)
