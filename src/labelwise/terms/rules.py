"""The rules of a label set as an additional loss term."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from labelwise.distributed import joined_sum
from labelwise.errors import LabelwiseError
from labelwise.losses.rule_loss import rule_loss
from labelwise.options import Weight
from labelwise.registry import TERMS
from labelwise.terms.term import Examples, HeadSizes, Step


@TERMS.register("rules")
class RulesTerm(nn.Module):
    """Negative log probability, under the model, that the rules are satisfied.

        loss = weight * mean over images and rules of -log P(rule is satisfied)

    It does not use label states, so unknown cells learn from it too; exclusive groups count as rules. Decisions
    satisfy the rules with or without this term.

    Args:
        sizes: of the head, with the rules of its labels.
        weight: factor of the term, >= 0.

    Raises:
        LabelwiseError: labels without rules, or a weight below 0.

    Source: see `rule_loss`.
    """

    needs_maps: ClassVar[bool] = False

    def __init__(self, sizes: HeadSizes, weight: Weight = 0.0) -> None:
        super().__init__()
        if not sizes.rules:
            raise LabelwiseError(
                "rules.weight for labels without rules",
                "a SOURCE with rules=FILE, or LabelSet(names, rules=Rules(...))",
                "name the rules or set the weight to 0",
            )
        self.weight, self.rules = weight, sizes.rules

    def forward(self, step: Step) -> dict[str, Tensor]:
        """Weighted `rules`."""
        z, rules = step.output.logits, self.rules
        with torch.autocast(z.device.type, enabled=False):
            cost = rule_loss(z, rules.implies, rules.exactly_one, rules.at_most_one).mean(1)
            # A batch without any known cell consists of filler rows, from which nothing is learned.
            counts = step.targets.known.any().to(cost.dtype)
            images = joined_sum(counts * len(cost))
            return {"rules": self.weight * joined_sum(counts * cost.sum()) / images.clamp(min=1)}

    def start_epoch(self, epoch: int, epochs: int, examples: Examples) -> None:
        """Does nothing."""
