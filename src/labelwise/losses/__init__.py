"""logits, features, targets -> one number."""

from labelwise.losses import functional
from labelwise.losses.classification import (
    AsymmetricLoss,
    BinaryCrossEntropy,
    FocalLoss,
    WeightedBinaryCrossEntropy,
    build_loss,
)

__all__ = [
    "AsymmetricLoss",
    "BinaryCrossEntropy",
    "FocalLoss",
    "WeightedBinaryCrossEntropy",
    "build_loss",
    "functional",
]
