"""The model: images -> map -> one feature per label -> (relation) -> logits."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelwise.errors import LabelwiseError
from labelwise.numerics import at_least_float32
from labelwise.types import LabelFeatures, Output, Targets


class LabelModel(nn.Module):
    """Backbone, extractor, relation and classifier in sequence, without a loss.

    Args:
        backbone: `[B, 3, H, W]` -> `[B, C, h, w]`.
        extractor: map -> `LabelFeatures`; called as `extractor(map, want_maps=False)`. An extractor without maps needs
            `places` (map -> `[B, P, D]`) and `weights` (map -> `[L, P]`, or `None` for equal ones), from which
            `class_activation` computes them.
        classifier: `[B, L, D]` -> `[B, L]`, with `shared=True` if all labels have one feature; `None` if the extractor
            returns the logits.
        relation: `[B, L, D]` -> `[B, L, D']`, or `None`.
        own_share: weight in [0, 1] of the extractor's logits beside the classifier's, if both exist.
        takes_states: the extractor also accepts known label states, as `extractor(map, want_maps, states)`.

    `added` are labels taught later, whose outputs follow those of the model's own labels; `None` for none.
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
        self.backbone, self.extractor = backbone, extractor
        self.relation, self.classifier = relation, classifier
        self.own_share, self.takes_states = own_share, takes_states
        self.added: Any = None

    def forward(
        self, images: Tensor, want_maps: bool = False, is_map: bool = False, states: Targets | None = None
    ) -> Output:
        """Logits, features and optionally maps.

        Args:
            images: `[B, 3, H, W]` uint8 or floats in [0, 1]; with `is_map`, stored backbone maps `[B, C, h, w]`.
            want_maps: also return `[B, L, h, w]` evidence.
            is_map: `images` are maps, and the backbone is skipped.
            states: known label states of each image, for a method that uses them.

        Raises:
            LabelwiseError: states for a method that cannot use them.
        """
        feature_map = images if is_map else self.backbone(images)
        extracted = self._extract(feature_map, want_maps, states)
        features, logits = self.relate(extracted.features, extracted.shared)
        if extracted.logits is not None:
            own_logits = at_least_float32(extracted.logits)
            logits = (
                own_logits if logits is None else (1 - self.own_share) * logits + self.own_share * own_logits
            )
        assert logits is not None, "an extractor without logits of its own needs a classifier"
        needs_maps = want_maps and extracted.maps is None
        maps = self.class_activation(feature_map) if needs_maps else extracted.maps
        branches = {f"step_{s}": self._logits(f) for s, f in enumerate(extracted.earlier, 1)}
        branches.update(extracted.branches)
        shared = extracted.shared and self.relation is None
        output = Output(logits, features, maps, extracted.features, branches, extracted.mass, shared)
        return output if self.added is None else self.added(output, feature_map)

    def _logits(self, decoupled: Tensor, shared: bool = False) -> Tensor:
        """The classifier's logits of label features."""
        logits = self.relate(decoupled, shared)[1]
        assert logits is not None, "earlier steps need a classifier"
        return logits

    def relate(self, decoupled: Float[Tensor, "B L E"], shared: bool = False) -> tuple[Tensor, Tensor | None]:
        """Apply the relation, then the classifier, to label features; logits are `None` without a classifier.

        Args:
            decoupled: label features.
            shared: all labels have the same one.
        """
        features = decoupled if self.relation is None else self.relation(decoupled)
        if self.classifier is None:
            return features, None
        options = {"shared": True} if shared and self.relation is None else {}
        return features, at_least_float32(self.classifier(features, **options))

    def class_activation(self, feature_map: Float[Tensor, "B C h w"]) -> Float[Tensor, "B L h w"]:
        """Evidence maps of a pooled model: how far each location alone raises a label's score, clipped at 0.

            e_lp = relu( z_l(g(x_p)) - z_l(0) ),   A_lp = e_lp / sum_p e_lp

        With a linear classifier `z_l(v) - z_l(0) = <w_l, v>`. If no location raises the score, `e_lp` is the difference
        to the lowest location, and if all locations are equal the map is uniform. If the extractor weighs locations by
        `W_lp`, `e_lp` is multiplied by it.

        Source: Zhou et al. 2016, "Learning Deep Features for Discriminative Localization".
        Differs: negative evidence is clipped, so that a map sums to 1.
        """
        extractor: Any = self.extractor
        places: Tensor = extractor.places(feature_map)
        shape, shared = (-1, extractor.num_labels, -1), extractor.num_labels > 1
        scores = self._logits(places.flatten(0, 1).unsqueeze(1).expand(shape), shared)
        scores = scores - self._logits(places.new_zeros(1, 1, places.shape[2]).expand(shape), shared)
        scores = scores.unflatten(0, places.shape[:2]).transpose(1, 2)
        weights: Tensor | None = extractor.weights(feature_map)
        shares = torch.ones_like(scores) if weights is None else weights.to(scores).expand_as(scores)
        evidence = scores.relu() * shares
        for fallback in ((scores - scores.amin(2, keepdim=True)) * shares, shares):
            evidence = torch.where(evidence.amax(2, keepdim=True) > 0, evidence, fallback)
        return (evidence / evidence.sum(2, keepdim=True)).unflatten(2, feature_map.shape[2:])

    def _extract(self, feature_map: Tensor, want_maps: bool, states: Targets | None) -> LabelFeatures:
        """The extractor's output, with the states if it takes any."""
        if states is None:
            return self.extractor(feature_map, want_maps)
        if not self.takes_states:
            raise LabelwiseError(
                "known label states for a method that cannot use them",
                "a method such as c-tran",
                "leave them out",
            )
        if self.added is not None:  # its labels have no states
            trained = states.values.shape[1] - len(self.added.weight)
            states = Targets(states.values[:, :trained], states.known[:, :trained])
        return self.extractor(feature_map, want_maps, states)
