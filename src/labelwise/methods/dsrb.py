"""DSRB: label features blended between images and with prototypes of four quadrants (after Pu et al., 2022)."""

from __future__ import annotations

from torch import nn

from labelwise.composition.compose import Options, Settings, compose
from labelwise.composition.method import Method
from labelwise.methods.ssgrl import EXTRACTOR, RELATION
from labelwise.registry import METHODS, Card
from labelwise.types import LabelSet

CARD = Card(
    name="dsrb",
    summary="label features blended between images and with prototypes of image quarters fill unknown labels",
    task="multi-label classification with incomplete labels",
    source='Pu et al., "Dual-Perspective Semantic-Aware Representation Blending for Multi-Label Image Recognition with '
    'Partial Labels" (2022)',
    standing="blending rules, prototypes and contrast as the authors' code states them; weights of the blended losses, "
    "widths, schedule in shares of the training and the loss are ours. No published table is claimed as reproduced.",
    differences="features are blended, not maps, and no known label is ever overwritten; prototypes are saved and "
    "resumed; the graph counts only known cells. See docs/methods/dsrb.md",
)

# The authors' settings on ResNet-101 at 448 px, beside the widths in methods/ssgrl.py:
#   loss: {name: bce}; epochs: 20; batch_size: 8; optim: {name: adam, lr: 1e-5, weight_decay: 5e-4}
#   blending: {start: 0.25, refresh: 5}


@METHODS.register(CARD)
def build(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """The trunk of SSGRL, with blending and contrast as additional terms; the default loss is ASL."""
    terms: dict[str, Settings] = {
        "blending": {"weight": 1.0, "prototypes": "quadrants"},
        "contrast": {"weight": 0.05},
    }
    return compose(labels, backbone, options, EXTRACTOR, RELATION, terms=terms)
