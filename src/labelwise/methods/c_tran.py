"""C-Tran: labels and locations in one transformer, trained with some label states as input."""

from __future__ import annotations

import torch
from torch import nn

from labelwise.composition.compose import Options, Part, compose
from labelwise.composition.method import Method
from labelwise.extractors import CTran
from labelwise.registry import METHODS, Card
from labelwise.types import LabelSet, Targets

CARD = Card(
    name="c-tran",
    summary="map locations and labels as tokens of one transformer, which can use known labels of an image as input",
    task="multi-label classification, completion of partly known labels",
    source='Lanchantin et al., "General Multi-label Image Classification with Transformers" (2021)',
    standing="tokens, state vectors, three layers of four heads, a classifier per label and training with masked "
    "labels are as in the released code as read; norms, starts and all settings are ours",
    differences="width 256 in place of 2048; the loss is on masked labels, as in the paper's figure and not in its "
    "code (`loss_on=all`); ASL in place of a summed BCE",
)


class LabelMasking(nn.Module):
    """Splits the known labels of a batch into inputs of the model and targets of the loss.

    In training each image samples a share `r ~ U(0, most)`, and each of its known labels is an input with probability
    `r`; the others are masked. In evaluation mode there are no inputs, and all known labels are targets.

    Args:
        most: largest share of inputs, in [0, 1].
        hidden_only: only masked labels are targets, else all known labels.

    >>> states, targets = LabelMasking(0.75).eval()(Targets.of(torch.ones(1, 2)))
    >>> states.known.tolist(), targets.known.tolist()
    ([[False, False]], [[True, True]])
    """

    def __init__(self, most: float = 0.75, hidden_only: bool = True) -> None:
        super().__init__()
        self.most, self.hidden_only = most, hidden_only

    def forward(self, targets: Targets) -> tuple[Targets, Targets]:
        """Input states, and targets of the loss."""
        known = targets.known
        if not self.training:
            return Targets(targets.values, torch.zeros_like(known)), targets
        share = self.most * torch.rand(len(known), 1, device=known.device)
        shown = known & (torch.rand(known.shape, device=known.device) < share)
        judged = known & ~shown if self.hidden_only else known
        return Targets(targets.values, shown), Targets(targets.values, judged)


@METHODS.register(CARD)
def build(labels: LabelSet, backbone: nn.Module, options: Options) -> Method:
    """Backbone, transformer, per-label classifiers, masking of labels. Published width: `dim=2048`."""
    method = compose(labels, backbone, options, Part(CTran))
    head = method.model.extractor
    assert isinstance(head, CTran)
    method.split_states = LabelMasking(head.told, head.loss_on == "hidden")
    return method
