"""The sentence: images -> map -> one feature per label -> (relate) -> logits."""

from __future__ import annotations

from torch import Tensor, nn

from labelwise.types import Output


class LabelModel(nn.Module):
    """Backbone, extractor, relation and classifier in their order; no loss inside.

    Args:
        backbone: `[B, 3, H, W]` -> `[B, C, h, w]`.
        extractor: map -> `LabelFeatures`; called as `extractor(map, want_maps=False)`.
        classifier: `[B, L, D]` -> `[B, L]`.
        relation: `[B, L, D]` -> `[B, L, D']`, or `None`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        extractor: nn.Module,
        classifier: nn.Module,
        relation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.extractor, self.relation, self.classifier = (
            backbone,
            extractor,
            relation,
            classifier,
        )

    def forward(self, images: Tensor, want_maps: bool = False, is_map: bool = False) -> Output:
        """Logits, features and, where asked for, maps.

        Args:
            images: `[B, 3, H, W]` uint8 or floats in [0, 1]; with `is_map`, stored backbone maps `[B, C, h, w]`.
            want_maps: also give `[B, L, h, w]` evidence.
            is_map: `images` are maps, and the backbone is passed over.
        """
        found = self.extractor(images if is_map else self.backbone(images), want_maps)
        features = found.features if self.relation is None else self.relation(found.features)
        earlier = [self.classifier(f).float() for f in found.earlier]
        return Output(self.classifier(features).float(), features, found.maps, earlier)
