"""Regularisers against forgetting: elastic weights, and distillation of the former model's scores or label features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.model import LabelModel
from labelwise.runs.continual_settings import ContinualSettings
from labelwise.types import Batch

Named = dict[str, Tensor]


class ElasticWeights:
    """EWC: `lambda / 2 sum_i F_i (theta_i - theta*_i)^2` over the trainable parameters.

    `theta*` are the weights after the last task. `F` is the sum over tasks of the mean over images of the squared
    gradient of the log-likelihood `sum_l y_l log p_l + (1 - y_l) log(1 - p_l)` over known labels with their observed
    states (the empirical Fisher). Rows of labels that were added later have `F = 0`.

    Args:
        weight: lambda, >= 0.

    Source: Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks" (2017), its online form.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.fisher: Named = {}
        self.anchor: Named = {}

    def remember(self, model: LabelModel, images: Iterable[Batch]) -> None:
        """Store the current weights, and add their importance on these images; each batch holds one image."""
        fisher = {n: torch.zeros_like(p) for n, p in model.named_parameters() if p.requires_grad}
        count = 0
        for batch in images:
            gradients = self._gradients(model, batch)
            for name, gradient in gradients.items():
                fisher[name] += gradient.square()
            count += 1
        old = _padded(self.fisher, fisher)
        self.fisher = {n: old[n] + f / max(1, count) for n, f in fisher.items()}
        self.anchor = {n: p.detach().clone() for n, p in model.named_parameters() if n in fisher}

    def _gradients(self, model: LabelModel, batch: Batch) -> Named:
        """Gradients of the negative log-likelihood of a batch, by parameter."""
        z = model(batch.images, is_map=batch.is_map).logits
        t = batch.targets
        cells = F.binary_cross_entropy_with_logits(z, t.values, reduction="none")
        named = {n: p for n, p in model.named_parameters() if p.requires_grad}
        loss = torch.where(t.known, cells, 0).sum()
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        return {n: g for n, g in zip(named, gradients, strict=True) if g is not None}

    def penalty(self, model: LabelModel) -> Float[Tensor, ""]:
        """The term to add to the loss; 0 before the first task is done."""
        parameters = {n: p for n, p in model.named_parameters() if n in self.fisher}
        if not parameters:
            return torch.zeros(())
        fisher, anchor = (_padded(tensors, parameters) for tensors in (self.fisher, self.anchor))
        terms = [(fisher[n] * (p - anchor[n]).square()).sum() for n, p in parameters.items()]
        return self.weight / 2 * torch.stack(terms).sum()

    def state(self) -> dict[str, Named]:
        """The state that `load` restores."""
        return {"fisher": self.fisher, "anchor": self.anchor}

    def load(self, state: Mapping[str, Named]) -> None:
        """Load the result of `state`."""
        self.fisher, self.anchor = dict(state["fisher"]), dict(state["anchor"])


def _padded(tensors: Named, like: Mapping[str, Tensor]) -> Named:
    """Tensors padded with zeros to the shapes in `like`, which may have grown."""
    padded = {}
    for name, target in like.items():
        padded[name] = torch.zeros_like(target)
        if name in tensors:
            padded[name][tuple(slice(n) for n in tensors[name].shape)] = tensors[name]
    return padded


def former_answers(
    new: Float[Tensor, "B L"], old: Float[Tensor, "B K"], temperature: float = 1.0
) -> Float[Tensor, ""]:
    """LwF for independent labels: `T^2 mean BCE(z_new / T, sigmoid(z_old / T))` over the K labels of the old model.

    Args:
        new: logits, of which the first K columns are the old labels.
        old: logits of the frozen former model.
        temperature: T > 0.

    Source: Li and Hoiem, "Learning without Forgetting" (2016); sigmoids in place of a softmax are ours.

    >>> z = torch.tensor([[0.0, 3.0]])
    >>> round(former_answers(z, z[:, :1]).item(), 6)
    0.693147
    """
    targets = torch.sigmoid(old.detach() / temperature)
    logits = new[:, : old.shape[1]] / temperature
    return temperature**2 * F.binary_cross_entropy_with_logits(logits, targets)


def former_features(new: Float[Tensor, "B K D"], old: Float[Tensor, "B K D"]) -> Float[Tensor, ""]:
    """Distillation of label features: `sum_bld (f_bld - f'_bld)^2 / sum_bld f'_bld^2` over the K old labels.

    The division makes the weight independent of a head's scale and width. Ours: distillation as in LwF, of the input of
    each label's classifier instead of its output.

    Args:
        new: features of the old labels.
        old: those of the frozen former model.

    >>> f = torch.tensor([[[3.0, 4.0]]])
    >>> former_features(2 * f, f).item()
    1.0
    """
    old = old.detach()
    squared = old.square().sum(-1).mean().clamp_min(1e-12)
    return (new - old).square().sum(-1).mean() / squared


class FormerModel:
    """The frozen model before a task, from which the task's model may not move away.

    With `lwf` the scores of the old labels are distilled. With `features` their features are, and rows of old labels in
    parameters with a row per label (queries, classifiers) are frozen.

    Args:
        model: the model before the task; it is copied, and the backbone is shared.
        columns: labels of former tasks.
        regulariser: `lwf` or `features`.
        settings: weights and temperature.
    """

    def __init__(
        self, model: LabelModel, columns: Sequence[int], regulariser: str, settings: ContinualSettings
    ) -> None:
        self.model = deepcopy(model, {id(model.backbone): model.backbone}).eval()
        for name, p in self.model.named_parameters():
            if not name.startswith("backbone."):
                p.requires_grad_(False)
        self.columns, self.by_features, self.settings = list(columns), regulariser == "features", settings

    def penalty(self, model: LabelModel, batch: Batch) -> Float[Tensor, ""]:
        """The term to add to the loss of a batch."""
        with torch.no_grad():
            old = self.model(batch.images, is_map=batch.is_map)
        if self.by_features:
            training = model.training
            model.eval()  # dropout would be part of the distance
            new = model(batch.images, is_map=batch.is_map)
            model.train(training)
            distance = former_features(new.features[:, self.columns], old.features[:, self.columns])
            return self.settings.feature_weight * distance
        new = model(batch.images, is_map=batch.is_map)
        kept = former_answers(
            new.logits[:, self.columns], old.logits[:, self.columns], self.settings.temperature
        )
        return self.settings.lwf_weight * kept

    @torch.no_grad()
    def restore_rows(self, model: LabelModel) -> None:
        """Set the rows of old labels in parameters that grew back to those of the former model, with `features`."""
        if not self.by_features:
            return
        frozen = dict(self.model.named_parameters())
        for name, p in model.named_parameters():
            if not name.startswith("backbone.") and p.shape != frozen[name].shape:
                p[tuple(slice(n) for n in frozen[name].shape)] = frozen[name]


def head_state(model: nn.Module) -> Named:
    """The state of a model without its frozen backbone."""
    return {k: v.detach().clone() for k, v in model.state_dict().items() if "backbone." not in k}
