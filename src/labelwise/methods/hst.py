"""HST: SST with prototypes in place of the memory, and learned thresholds (after Chen et al., 2024)."""

from __future__ import annotations

from torch import nn

from labelwise.composition.compose import Options, Settings, compose
from labelwise.composition.method import Method
from labelwise.methods.ssgrl import EXTRACTOR, RELATION
from labelwise.registry import METHODS, Card
from labelwise.types import LabelSet

CARD = Card(
    name="hst",
    summary="pseudo-positives as in sst, from prototypes of each label and with thresholds that are learned",
    task="multi-label classification with incomplete labels",
    source='Chen et al., "Heterogeneous Semantic Transfer for Multi-label Recognition with Partial Labels" (IJCV 2024)',
    standing="prototypes, thresholds and weights as the authors' code states them; the threshold's loss in detail, "
    "widths, reductions, schedule and the loss are ours. No published table is claimed as reproduced.",
    differences="one threshold per label and score, learned with equal weight of present and absent cells; otherwise "
    "as sst. See docs/methods/sst-hst.md",
)


@METHODS.register(CARD)
def build(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """The trunk of SSGRL, with pseudo-positives and contrast; the default loss is ASL."""
    pseudo = {"weight": 1.0, "memory": "prototypes", "thresholds": "learned", "memory_contrast": 0.05}
    terms: dict[str, Settings] = {"pseudo": pseudo, "contrast": {"weight": 0.05}}
    return compose(labels, backbone, options, EXTRACTOR, RELATION, terms=terms)
