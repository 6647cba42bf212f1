"""SARB: label features blended between images and with K-means prototypes (after Pu et al., 2022)."""

from __future__ import annotations

from torch import nn

from labelwise.composition.compose import Options, Settings, compose
from labelwise.composition.method import Method
from labelwise.methods.ssgrl import EXTRACTOR, RELATION
from labelwise.registry import METHODS, Card
from labelwise.types import LabelSet

CARD = Card(
    name="sarb",
    summary="label features blended between images and with ten K-means prototypes per label fill unknown labels",
    task="multi-label classification with incomplete labels",
    source='Pu et al., "Semantic-Aware Representation Blending for Multi-Label Image Recognition with Partial Labels" '
    "(AAAI 2022)",
    standing="blending rules, prototypes, weights and contrast as the authors' code states them; widths, schedule in "
    "shares of the training and the loss are ours. No published table is claimed as reproduced.",
    differences="a random prototype for each image, not for a batch; rare labels have as many prototypes as "
    "positives; otherwise as dsrb. See docs/methods/sarb.md",
)


@METHODS.register(CARD)
def build(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """The trunk of SSGRL, with blending and contrast as additional terms; the default loss is ASL."""
    terms: dict[str, Settings] = {
        "blending": {"weight": 1.0, "prototypes": "kmeans", "centres": 10},
        "contrast": {"weight": 0.05},
    }
    return compose(labels, backbone, options, EXTRACTOR, RELATION, terms=terms)
