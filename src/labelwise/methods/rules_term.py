"""The rules of a label set as a further term: scores that break them cost."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from labelwise.distributed import joined_sum
from labelwise.errors import LabelwiseError
from labelwise.losses.rule_loss import rule_loss
from labelwise.methods.method import Examples, HeadSizes, Step
from labelwise.methods.schedule import within


class RulesTerm(nn.Module):
    """How improbable the model itself finds it that the rules are kept.

        loss = weight * mean over images and rules of -log P(rule is kept)

    It reads no state, so unknown cells learn from it too; exclusive groups count as rules. Decisions keep the rules
    with or without it.

    Args:
        sizes: of the head, with the rules of its labels.
        weight: factor of the term, >= 0.

    Raises:
        LabelwiseError: labels without rules, or a weight below 0.

    Source: see `rule_loss`.
    """

    needs_maps: ClassVar[bool] = False

    def __init__(self, sizes: HeadSizes, weight: float = 0.0) -> None:
        super().__init__()
        if not sizes.rules:
            raise LabelwiseError(
                "rules.weight for labels without rules",
                "a SOURCE with rules=FILE, or LabelSet(names, rules=Rules(...))",
                "name the rules or set the weight to 0",
            )
        within("rules.weight", weight, 0)
        self.weight, self.rules = weight, sizes.rules

    def forward(self, step: Step) -> dict[str, Tensor]:
        """`rules`, weighted."""
        z, rules = step.output.logits, self.rules
        with torch.autocast(z.device.type, enabled=False):
            cost = rule_loss(z, rules.implies, rules.exactly_one, rules.at_most_one).mean(1)
            # Where nothing at all is known of a batch it is a filling, of which nothing is to be learned.
            counts = step.targets.known.any().to(cost.dtype)
            images = joined_sum(counts * len(cost))
            return {"rules": self.weight * joined_sum(counts * cost.sum()) / images.clamp(min=1)}

    def start_epoch(self, epoch: int, epochs: int, examples: Examples) -> None:
        """Rules do not change; between epochs there is nothing to do."""
