"""logits, features, targets -> one number."""

from labelwise.losses import functional
from labelwise.losses.centres import CentreLoss, PrototypeConformity
from labelwise.losses.classification import (
    AsymmetricLoss,
    BinaryCrossEntropy,
    FocalLoss,
    WeightedBinaryCrossEntropy,
    build_loss,
)
from labelwise.losses.contrast import pair_contrast
from labelwise.losses.discriminative import OutputLoss, PairwiseLoss
from labelwise.losses.supcon import JaccardContrast
from labelwise.losses.two_way import TwoWayLoss

__all__ = [
    "AsymmetricLoss",
    "BinaryCrossEntropy",
    "CentreLoss",
    "FocalLoss",
    "JaccardContrast",
    "OutputLoss",
    "PairwiseLoss",
    "PrototypeConformity",
    "TwoWayLoss",
    "WeightedBinaryCrossEntropy",
    "build_loss",
    "functional",
    "pair_contrast",
]
