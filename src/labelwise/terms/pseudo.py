"""Pseudo-positives: unknown labels that co-occurrence in the image or similar features of other images support."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.blending import FeatureQueue, PrototypeBank
from labelwise.errors import LabelwiseError
from labelwise.losses.contrast import bounded_unit
from labelwise.options import Count, Natural, Share, Weight
from labelwise.registry import TERMS
from labelwise.terms.pairs import PairHead
from labelwise.terms.schedule import TermSchedule
from labelwise.terms.term import Examples, HeadSizes, Step
from labelwise.types import Targets

Score = tuple[Float[Tensor, "B L"], Bool[Tensor, "B L"]]


@TERMS.register("pseudo")
class PseudoTerm(nn.Module):
    """Losses of the batch with pseudo-positives, and of the parts that select them.

        weight (w_intra loss(z, y', k') + w_inter loss(z, y'', k'') + w_c L_pairs + w_t L_thresholds + w_m L_memory)

    The intra-image score of an unknown label is the mean probability of its pairs with known positives; the
    inter-image score is the mean cosine of its feature with those of known positive cells in a memory. If a score
    reaches the margin, the unknown cell counts as present in that loss. Known labels are unchanged, pseudo-positives
    are selected again in each step, and there are no pseudo-negatives.

    Args:
        sizes: of the head.
        weight: of the whole term, >= 0; 0 turns it off.
        intra: w_intra, >= 0.
        inter: w_inter, >= 0.
        cooccurrence: w_c, >= 0, weight of learning co-occurring pairs; above 0 if `intra` is.
        memory: `queue`, the latest features of each label (SST); or `prototypes`, centres of its features (HST).
        memory_contrast: w_m, >= 0: pulls known positive features to their label's memory and pushes negatives away.
        thresholds: `schedule`, one margin that falls over epochs (SST); or `learned`, one per label and score (HST).
        threshold_weight: w_t, >= 0, with `learned`.
        margin: the initial margin; 1 with `learned`.
        fall: decrease of the margin per epoch.
        floor: smallest margin.
        start: share of the epochs before pseudo-positives begin, in [0, 1].
        refresh: epochs between updates of the prototypes; 0 for a quarter of all epochs.
        size: features in a label's queue, or largest number of cells per prototype.
        centres: prototypes of a label.
        width: of the features that form pairs; 512 in the papers.

    Raises:
        LabelwiseError: an option is out of range, or `intra` is used without `cooccurrence`.

    Source: SST (2022) and HST (2024); equations in docs/methods/sst-hst.md.
    Differs: present and absent cells of a label have equal weight in learning its threshold, which would otherwise
        rise above every score.
    """

    needs_maps: ClassVar[bool] = False

    def __init__(
        self,
        sizes: HeadSizes,
        weight: Weight = 0.0,
        intra: Weight = 1.0,
        inter: Weight = 1.0,
        cooccurrence: Weight = 10.0,
        memory: Literal["queue", "prototypes"] = "queue",
        memory_contrast: Weight = 0.0,
        thresholds: Literal["schedule", "learned"] = "schedule",
        threshold_weight: Weight = 0.1,
        margin: float = 0.95,
        fall: Weight = 0.025,
        floor: float = 0.75,
        start: Share = 0.25,
        refresh: Natural = 0,
        size: Count = 100,
        centres: Count = 10,
        width: Count = 64,
    ) -> None:
        super().__init__()
        weights = {"intra": intra, "inter": inter, "cooccurrence": cooccurrence}
        weights |= {"memory_contrast": memory_contrast, "threshold_weight": threshold_weight}
        if intra and not cooccurrence:
            raise LabelwiseError(
                f"pseudo.intra={intra:g} with pseudo.cooccurrence=0", "both above 0, or both 0", "correct one"
            )
        self.weights = {name: weight * value for name, value in weights.items()}
        self.schedule, self.margins = TermSchedule(start, refresh), (margin, fall, floor)
        dim = sizes.decoupled
        self.pairs = PairHead(sizes.labels, dim, width) if cooccurrence else None
        self.memory: FeatureQueue | PrototypeBank | None = None
        if inter or memory_contrast:
            self.memory = (
                FeatureQueue(sizes.labels, dim, size)
                if memory == "queue"
                else PrototypeBank(sizes.labels, dim, "kmeans", centres, size)
            )
        used_scores = [name for name in ("intra", "inter") if weights[name]]
        learned_scores = used_scores if thresholds == "learned" and threshold_weight else []
        self.thresholds = nn.ParameterDict({name: torch.ones(sizes.labels) for name in learned_scores})

    def forward(self, step: Step) -> dict[str, Tensor]:
        """Weighted `pseudo_intra`, `pseudo_inter`, `cooccurrence`, `memory_contrast` and `pseudo_thresholds`."""
        targets, features = step.targets, step.output.decoupled
        present = targets.known & (targets.values >= 0.5)
        losses: dict[str, Tensor] = {}
        scores: dict[str, Score] = {}
        if self.pairs is not None:
            logits = self.pairs(features)
            losses["cooccurrence"] = self.weights["cooccurrence"] * self.pairs.loss(logits, present)
            scores["intra"] = self.pairs.score(logits, present)
        if self.memory is not None:
            with torch.autocast(features.device.type, enabled=False):
                unit_features = bounded_unit(features)
                mean, seen = self._memory_mean()
                cosine = torch.einsum("bld,ld->bl", unit_features, mean.to(unit_features.dtype))
            scores["inter"] = cosine.detach(), seen.expand(cosine.shape)
            if self.weights["memory_contrast"]:
                losses["memory_contrast"] = self.weights["memory_contrast"] * _memory_contrast(
                    cosine, targets.known & seen, present
                )
            if isinstance(self.memory, FeatureQueue) and self.training:
                self.memory.put(unit_features.detach(), present)
        used = {name: score for name, score in scores.items() if self.weights[name]}
        return losses | self._pseudo_losses(step, used, present)

    def start_epoch(self, epoch: int, epochs: int, examples: Examples) -> None:
        """Recompute the prototypes if the schedule says so."""
        bank = self.memory
        if isinstance(bank, PrototypeBank):
            bank.check_available()
            if self.schedule.needs_refresh(epoch, epochs, int(bank.epoch)):
                bank.refresh(epoch, examples())

    def _pseudo_losses(self, step: Step, scores: dict[str, Score], present: Tensor) -> dict[str, Tensor]:
        """Losses of the targets completed by each score, 0 before the start; and the loss of learned thresholds."""
        targets, active = step.targets, self.schedule.is_active(step.epoch, step.epochs)
        losses: dict[str, Tensor] = {}
        thresholds = step.output.logits.new_zeros(())
        for name, (score, scored) in scores.items():
            margin = self._margin(name, step)
            # A batch without any known cell consists of filler rows, from which nothing is learned.
            selected = ~targets.known & scored & (score >= margin) & targets.known.any()
            completed = Targets(torch.where(selected, 1.0, targets.values), targets.known | selected)
            loss = step.criterion(step.output.logits, completed) if active else thresholds
            losses[f"pseudo_{name}"] = self.weights[name] * loss
        for name, threshold in self.thresholds.items():
            score, scored = scores[name]
            loss = _balanced_bce(score - threshold, targets.known & scored, present)
            thresholds = thresholds + self.weights["threshold_weight"] * loss * active
        return losses | ({"pseudo_thresholds": thresholds} if self.thresholds else {})

    def _margin(self, name: str, step: Step) -> Tensor | float:
        """The score from which an unknown cell becomes a pseudo-positive: learned by label, or of this epoch."""
        if name in self.thresholds:
            return self.thresholds[name].detach()
        first, fall, floor = self.margins
        return max(floor, first - fall * (step.epoch - self.schedule.first_epoch(step.epochs)))

    def _memory_mean(self) -> tuple[Float[Tensor, "L D"], Bool[Tensor, " L"]]:
        """Mean of each label's unit features in the memory, and whether there are any."""
        if isinstance(self.memory, FeatureQueue):
            return self.memory.mean(), self.memory.filled > 0
        assert self.memory is not None
        filled = (self.memory.counts > 0).unsqueeze(2)
        unit_prototypes = bounded_unit(self.memory.prototypes) * filled
        return unit_prototypes.sum(1) / filled.sum(1).clamp(min=1), filled.any(1)[:, 0]


def _memory_contrast(
    cosine: Float[Tensor, "B L"], known: Bool[Tensor, "B L"], present: Bool[Tensor, "B L"]
) -> Float[Tensor, ""]:
    """Mean over known cells of `1 - c` for positive and `1 + c` for negative cells."""
    cells = torch.where(present, 1 - cosine, 1 + cosine)
    return torch.where(known, cells, 0).sum() / known.sum().clamp(min=1)


def _balanced_bce(
    logits: Float[Tensor, "B L"], known: Bool[Tensor, "B L"], present: Bool[Tensor, "B L"]
) -> Float[Tensor, ""]:
    """BCE over labels with known positives and negatives, which have equal weight within a label."""
    cells = F.binary_cross_entropy_with_logits(logits, present.to(logits.dtype), reduction="none")
    sides = [known & present, known & ~present]
    means = [torch.where(side, cells, 0).sum(0) / side.sum(0).clamp(min=1) for side in sides]
    has_both = sides[0].any(0) & sides[1].any(0)
    return torch.where(has_both, means[0] + means[1], 0).sum() / (2 * has_both.sum()).clamp(min=1)
