"""logits, features, targets -> one number."""

from labelwise.losses import functional
from labelwise.losses.centres import CentreLoss, PrototypeConformity
from labelwise.losses.classification import (
    AsymmetricLoss,
    BinaryCrossEntropy,
    CellLoss,
    FocalLoss,
    WeightedBinaryCrossEntropy,
    build_loss,
)
from labelwise.losses.contrast import pair_contrast
from labelwise.losses.discriminative import OutputLoss, PairwiseLoss
from labelwise.losses.distillation import feature_distance, presence, score_divergence
from labelwise.losses.long_tail import DistributionBalancedLoss, LogitAdjustedLoss
from labelwise.losses.rule_loss import rule_loss
from labelwise.losses.supcon import JaccardContrast
from labelwise.losses.two_way import TwoWayLoss
from labelwise.losses.unknown import Facts, Moment, Strategy, UnknownLoss

__all__ = [
    "AsymmetricLoss",
    "BinaryCrossEntropy",
    "CellLoss",
    "CentreLoss",
    "DistributionBalancedLoss",
    "Facts",
    "FocalLoss",
    "JaccardContrast",
    "LogitAdjustedLoss",
    "Moment",
    "OutputLoss",
    "PairwiseLoss",
    "PrototypeConformity",
    "Strategy",
    "TwoWayLoss",
    "UnknownLoss",
    "WeightedBinaryCrossEntropy",
    "build_loss",
    "feature_distance",
    "functional",
    "pair_contrast",
    "presence",
    "rule_loss",
    "score_divergence",
]
