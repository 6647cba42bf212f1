"""Blending as an additional loss term for any method with label features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from labelwise.blending import (
    PrototypeBank,
    PrototypeKind,
    blend_instances,
    blend_prototypes,
    peak_quadrant,
)
from labelwise.errors import LabelwiseError
from labelwise.options import Count, Natural, Share, Weight
from labelwise.registry import TERMS
from labelwise.terms.schedule import TermSchedule
from labelwise.terms.term import Examples, HeadSizes, Step
from labelwise.types import Targets


@TERMS.register("blending")
class BlendingTerm(nn.Module):
    """Losses of label features that are blended between images and with prototypes.

        weight (w_i loss(z^, y^, k^) + w_p loss(z~, y~, k~))

    `z^` and `z~` are the logits of the blended features after relation and classifier. The loss is that of the method,
    over all known cells of the blended targets. `alpha` and `beta` are learned and clamped to [0, 1].

    Args:
        sizes: of the head.
        weight: of the whole term, >= 0; 0 turns it off.
        instance: w_i, >= 0; 0 for no blending between images.
        prototype: w_p, >= 0; 0 for no blending with prototypes.
        alpha: initial weight of an image's own feature in blending between images, in [0, 1].
        beta: initial weight of an image's own feature in blending with prototypes, in [0, 1].
        start: share of the epochs before blending begins, in [0, 1].
        refresh: epochs between updates of the prototypes; 0 for a quarter of all epochs.
        prototypes: `quadrants`, four per label by where it peaks in the image; or `kmeans`, centres of its features.
        centres: prototypes of a label with `kmeans`.
        samples: largest number of training cells per prototype.
        top_k: labels per image that are blended with a prototype.

    Raises:
        LabelwiseError: an option is out of range, or the head has no classifier of label features.

    Source: blending of DSRB and SARB (2022); equations in docs/methods/dsrb.md.
    Differs: features are blended after pooling, which is equivalent; epochs are shares of the training.
    """

    def __init__(
        self,
        sizes: HeadSizes,
        weight: Weight = 0.0,
        instance: Weight = 1.0,
        prototype: Weight = 1.0,
        alpha: Share = 0.5,
        beta: Share = 0.5,
        start: Share = 0.0,
        refresh: Natural = 0,
        prototypes: PrototypeKind = "quadrants",
        centres: Count = 10,
        samples: Count = 100,
        top_k: Count = 1,
    ) -> None:
        super().__init__()
        if not instance and not prototype:
            raise LabelwiseError(
                "blending.instance=0 with blending.prototype=0",
                "one of them above 0",
                "set blending.weight=0 for no blending",
            )
        if not sizes.classified:
            raise LabelwiseError(
                "blending with a method that scores locations, not label features",
                "a method with a classifier of label features, such as dsrb",
                "set blending.weight=0",
            )
        self.weights = weight * instance, weight * prototype
        self.schedule, self.top_k = TermSchedule(start, refresh), top_k
        self.by_quadrant = prototypes == "quadrants"
        self.needs_maps = bool(prototype) and self.by_quadrant
        self.alpha = nn.Parameter(torch.tensor(float(alpha))) if instance else None
        self.beta = nn.Parameter(torch.tensor(float(beta))) if prototype else None
        self.bank = (
            PrototypeBank(sizes.labels, sizes.decoupled, prototypes, centres, samples) if prototype else None
        )

    def forward(self, step: Step) -> dict[str, Tensor]:
        """Weighted `blend_instance` and `blend_prototype`; zeros before blending begins."""
        self._clamp()
        if not self.schedule.is_active(step.epoch, step.epochs):
            shares = {"blend_instance": self.alpha, "blend_prototype": self.beta}
            return {name: share * 0 for name, share in shares.items() if share is not None}
        names, blended = zip(*self._blend(step).items(), strict=True)
        logits = step.model.relate(torch.cat([features for features, _ in blended]))[1]
        assert logits is not None, "a head with a classifier"
        parts = logits.split(len(step.targets))
        losses = {n: step.criterion(z, t) for n, z, (_, t) in zip(names, parts, blended, strict=True)}
        if self.bank is not None:  # no loss before the prototypes are first computed
            losses["blend_prototype"] = losses["blend_prototype"] * (self.bank.epoch >= 0)
        weights = dict(zip(("blend_instance", "blend_prototype"), self.weights, strict=True))
        return {name: weights[name] * value for name, value in losses.items()}

    def start_epoch(self, epoch: int, epochs: int, examples: Examples) -> None:
        """Recompute the prototypes if the schedule says so."""
        if self.bank is not None:
            self.bank.check_available()
            if self.schedule.needs_refresh(epoch, epochs, int(self.bank.epoch)):
                self.bank.refresh(epoch, examples())

    @torch.no_grad()
    def _clamp(self) -> None:
        # Clamps the parameter itself, since a clamp in the graph would have zero gradient out of range.
        for share in (self.alpha, self.beta):
            if share is not None:
                share.clamp_(0, 1)

    def _blend(self, step: Step) -> dict[str, tuple[Tensor, Targets]]:
        """Blended features and targets, by the name of the loss."""
        features, targets, blended = step.output.decoupled, step.targets, {}
        if self.alpha is not None:
            blended["blend_instance"] = blend_instances(features, targets, self.alpha)
        if self.beta is not None and self.bank is not None:
            quadrants = None
            if self.by_quadrant:
                assert step.output.maps is not None, "a term with needs_maps gets maps"
                quadrants = peak_quadrant(step.output.maps, step.output.mass)
            p, n = self.bank.prototypes, self.bank.counts
            blended["blend_prototype"] = blend_prototypes(
                features, targets, p, n, self.beta, quadrants, self.top_k
            )
        return blended
