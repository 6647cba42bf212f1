"""C-Tran: labels and places in one transformer, trained with some labels told."""

from __future__ import annotations

import torch
from torch import nn

from labelwise.extractors import CTran
from labelwise.methods.compose import Options, Part, compose
from labelwise.methods.method import Method
from labelwise.registry import Card, register
from labelwise.types import LabelSet, Targets

CARD = Card(
    name="c-tran",
    summary="places and labels as tokens of one transformer, which uses what is already known of an image",
    task="multi-label classification, completion of partly known labels",
    source='Lanchantin et al., "General Multi-label Image Classification with Transformers" (2021)',
    standing="tokens, state vectors, three layers of four heads, a classifier per label and training with masked "
    "labels are as in the released code as read; norms, starts and all settings are ours",
    differences="width 256 in place of 2048; the loss is on labels that were not told, as the paper's figure has it "
    "and not its code (`loss_on=all`); ASL in place of a summed BCE",
)


class LabelMasking(nn.Module):
    """Splits what is known of a batch into what the model is told and what it is judged by.

    In training each image draws a share `r ~ U(0, most)`, and each of its known labels is told with probability `r`.
    At rest nothing is told and everything known is judged.

    Args:
        most: largest share that is told, in [0, 1].
        hidden_only: judge known labels that were not told alone, else all known ones.

    >>> told, judged = LabelMasking(0.75).eval()(Targets.of(torch.ones(1, 2)))
    >>> told.known.tolist(), judged.known.tolist()
    ([[False, False]], [[True, True]])
    """

    def __init__(self, most: float = 0.75, hidden_only: bool = True) -> None:
        super().__init__()
        self.most, self.hidden_only = most, hidden_only

    def forward(self, targets: Targets) -> tuple[Targets, Targets]:
        """Targets that are told, and targets that are judged."""
        known = targets.known
        if not self.training:
            return Targets(targets.values, torch.zeros_like(known)), targets
        share = self.most * torch.rand(len(known), 1, device=known.device)
        told = known & (torch.rand(known.shape, device=known.device) < share)
        judged = known & ~told if self.hidden_only else known
        return Targets(targets.values, told), Targets(targets.values, judged)


@register(CARD)
def build(labels: LabelSet, backbone: nn.Module, asked: Options) -> Method:
    """Backbone, transformer, per-label classifiers, masking of labels. Published width: `dim=2048`."""
    method = compose(labels, backbone, asked, Part(CTran), takes_states=True)
    head = method.model.extractor
    assert isinstance(head, CTran)
    method.show = LabelMasking(head.told, head.loss_on == "hidden")
    return method
