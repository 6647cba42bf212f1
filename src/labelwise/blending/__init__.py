"""Training only: features, targets -> mixed features, mixed targets."""

from labelwise.blending.bank import PrototypeBank, PrototypeKind, peak_quadrant
from labelwise.blending.instance import blend_instances
from labelwise.blending.prototype import blend_prototypes
from labelwise.blending.queue import FeatureQueue

__all__ = [
    "FeatureQueue",
    "PrototypeBank",
    "PrototypeKind",
    "blend_instances",
    "blend_prototypes",
    "peak_quadrant",
]
