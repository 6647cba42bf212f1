"""A discriminative loss as an additional term: pulls features of one label together and those of others apart."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from labelwise.errors import LabelwiseError
from labelwise.losses.centres import CentreLoss, PrototypeConformity
from labelwise.losses.discriminative import OutputLoss, PairwiseLoss
from labelwise.losses.supcon import JaccardContrast
from labelwise.options import Cosine, Positive, Weight
from labelwise.registry import TERMS
from labelwise.terms.term import Examples, HeadSizes, Step


@TERMS.register("discriminative")
class DiscriminativeTerm(nn.Module):
    """`weight * (intra + gamma * inter)` over the label features, or the logits, of known present labels.

    Args:
        sizes: of the head.
        weight: factor of the whole term, >= 0.
        variant: `center`, `pairwise`, `logit`, `opl`, `pcl` or `supcon`; see the losses of that name.
        gamma: weight of `inter` against `intra`; `pcl` uses `repel` instead, and `supcon` always 1.
        margin: cosine in [-1, 1] below which different labels have no loss.
        centre_margin: the same between a feature and another label's centre (`center`).
        same_image: whether two labels of one image are a pair (`pairwise`, `opl`).
        features: `classifier`, the inputs of the classifier, or `decoupled`, the features before any relation.
        intra: pull features of one label together.
        inter: push features of different labels apart.
        space: `logits` or `probabilities` (`logit`).
        temperature: of the softmax over images (`supcon`).
        jaccard: smallest overlap of the labels of two images of a positive pair, in (0, 1] (`supcon`).
        repel: weight of the unbounded `inter` of `pcl`.
        cells: largest number of present cells that form pairs, over all processes.

    Raises:
        LabelwiseError: an option is out of range, or both halves are off.

    Source: after Hassanin et al., "Learning Discriminative Representations for Multi-Label Image Recognition" (2021).
    Differs: no equation of the paper was available; all are ours or those of the named related losses.
    """

    needs_maps: ClassVar[bool] = False

    def __init__(
        self,
        sizes: HeadSizes,
        weight: Weight = 0.0,
        variant: Literal["pairwise", "center", "logit", "pcl", "opl", "supcon"] = "center",
        gamma: Weight = 0.5,
        margin: Cosine = 0.0,
        centre_margin: Cosine = 0.3,
        same_image: bool = True,
        features: Literal["classifier", "decoupled"] = "classifier",
        intra: bool = True,
        inter: bool = True,
        space: Literal["logits", "probabilities"] = "logits",
        temperature: Positive = 0.1,
        jaccard: Annotated[float, Field(gt=0, le=1)] = 0.5,
        repel: Weight = 1e-4,
        cells: Annotated[int, Field(ge=2)] = 512,
    ) -> None:
        super().__init__()
        if not (intra or inter):
            raise LabelwiseError(
                "discriminative.intra=False with inter=False",
                "at least one of them",
                "set weight to 0 instead",
            )
        dim = sizes.features if features == "classifier" else sizes.decoupled
        self.reads = "logits" if variant == "logit" else features
        self.shares = {
            "intra": weight * intra,
            "inter": weight * inter * {"pcl": repel, "supcon": 1.0}.get(variant, gamma),
        }
        self.loss: nn.Module
        if variant == "center":
            self.loss = CentreLoss(sizes.labels, dim, margin, centre_margin, cells)
        elif variant == "pcl":
            self.loss = PrototypeConformity(sizes.labels, dim, intra, inter, cells)
        elif variant == "supcon":
            self.loss = JaccardContrast(temperature, jaccard)
        elif variant == "logit":
            self.loss = OutputLoss(margin, space)
        else:
            self.loss = PairwiseLoss(margin, same_image, variant == "pairwise", cells)

    def forward(self, step: Step) -> dict[str, Tensor]:
        """Weighted `discriminative_intra` and `discriminative_inter`."""
        vectors = {
            "logits": step.output.logits,
            "classifier": step.output.features,
            "decoupled": step.output.decoupled,
        }[self.reads]
        losses: Any = self.loss(vectors, step.targets)
        halves = zip(self.shares.items(), losses, strict=True)
        return {f"discriminative_{name}": share * half for (name, share), half in halves if share}

    def start_epoch(self, epoch: int, epochs: int, examples: Examples) -> None:
        """Normalise centres to unit length."""
        if isinstance(self.loss, CentreLoss):
            self.loss.renormalise()
