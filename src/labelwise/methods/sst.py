"""SST: pseudo-positives within an image and between images (after Chen et al., 2022)."""

from __future__ import annotations

from torch import nn

from labelwise.composition.compose import Options, Settings, compose
from labelwise.composition.method import Method
from labelwise.methods.ssgrl import EXTRACTOR, RELATION
from labelwise.registry import METHODS, Card
from labelwise.types import LabelSet

CARD = Card(
    name="sst",
    summary="unknown labels count as present if known labels of the image or features of other images support it",
    task="multi-label classification with incomplete labels",
    source='Chen et al., "Structured Semantic Transfer for Multi-Label Recognition with Partial Labels" (AAAI 2022)',
    standing="pair head, memory, margins and weights as the authors' code states them; widths, reductions, schedule in "
    "shares of the training and the loss are ours. No published table is claimed as reproduced.",
    differences="pseudo-positives never overwrite a known label and are selected again in each step. "
    "See docs/methods/sst-hst.md",
)


@METHODS.register(CARD)
def build(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """The trunk of SSGRL, with pseudo-positives and contrast; the default loss is ASL."""
    terms: dict[str, Settings] = {"pseudo": {"weight": 1.0}, "contrast": {"weight": 0.05}}
    return compose(labels, backbone, options, EXTRACTOR, RELATION, terms=terms)
