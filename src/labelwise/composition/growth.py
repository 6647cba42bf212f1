"""Adds labels to a trained model without changing its logits of the old labels."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from labelwise.composition.method import Method
from labelwise.errors import LabelwiseError
from labelwise.model import LabelModel
from labelwise.types import LabelPriors

TOLERANCE = 1e-6
"""Largest change of a logit of an old label, in float64, that counts as none."""


def grow(old: LabelModel, new: Method, name: str, priors: LabelPriors | None = None) -> None:
    """Copy the weights of a trained model into a newly built method with additional labels.

    Every tensor of the old model becomes the leading block of the new one's. Classifier rows of new labels start as
    normal(0, .01) with the logit of the label's rate as bias; their queries start as the mean of the old ones plus
    normal(0, .02). Then the logits of the old labels are compared on four random feature maps: they must agree.

    Args:
        old: a trained model.
        new: built for the old labels in their order followed by the new ones.
        name: the method's id, for the error.
        priors: counts of the new label set, for the biases; without them biases are 0.

    Raises:
        LabelwiseError: a logit of an old label changes, since labels depend on each other; or parts differ.
    """
    old_state, new_state = old.state_dict(), new.model.state_dict()
    if set(old_state) != set(new_state) or not all(_fits(old_state[k], new_state[k]) for k in old_state):
        raise LabelwiseError(
            "a run whose weights have other names or shapes than these settings give",
            "the same method, backbone and options",
            "leave them out: --init-from takes them from the run",
        )
    generator = torch.Generator().manual_seed(0)
    for key, value in new_state.items():
        if value.shape != old_state[key].shape:
            _initialise_new_rows(key, value, old_state[key], priors, generator)
        value[_block(old_state[key])] = old_state[key]
    new.model.load_state_dict(new_state)
    change = _difference(old, new.model)
    if not change <= TOLERANCE:  # also refuses NaN
        raise LabelwiseError(
            f"method {name!r} with old labels that change by {change:.2g} when labels are added",
            "a method with independent labels, such as dlfl or baseline-mlp",
            "choose another method, or train from the start without --init-from",
        )


def _fits(old: Tensor, new: Tensor) -> bool:
    """Whether every side of the old tensor is at most that of the new one."""
    return old.ndim == new.ndim and all(a <= b for a, b in zip(old.shape, new.shape, strict=True))


def _block(t: Tensor) -> tuple[slice, ...]:
    """Index of the leading block of a larger tensor."""
    return tuple(slice(n) for n in t.shape)


def _initialise_new_rows(
    key: str, new: Tensor, old: Tensor, priors: LabelPriors | None, generator: torch.Generator
) -> None:
    """Initialise the rows of new labels in a tensor with one row per label; other tensors are unchanged."""
    if key.endswith("queries"):
        noise = torch.randn(new.shape, generator=generator)
        new.copy_(old.mean(0, keepdim=True) + 0.02 * noise)
    elif key == "classifier.weight":
        new.copy_(0.01 * torch.randn(new.shape, generator=generator))
    elif key == "classifier.bias" and priors is not None and len(priors.positive) == len(new):
        rate = priors.positive_rate.clamp(0.001, 0.999)
        new.copy_(torch.where(priors.known > 0, rate.logit(), torch.zeros_like(rate)))


@torch.no_grad()
def _difference(old: LabelModel, new: LabelModel) -> float:
    """The largest change of an old label's logit on four random maps, in float64."""
    generator = torch.Generator().manual_seed(0)
    channels = int(new.backbone.out_channels)  # type: ignore[arg-type]
    maps = torch.rand(4, channels, 7, 7, generator=generator).double()
    copies = [deepcopy(model, {id(model.backbone): model.backbone}).cpu() for model in (old, new)]
    for copy in copies:
        copy.backbone = nn.Identity()
    logits = [copy.double().eval()(maps, is_map=True).logits for copy in copies]
    return float((logits[1][:, : logits[0].shape[1]] - logits[0]).abs().max())


def carry_moments(
    old: Optimizer, new: Optimizer, before: Mapping[str, Tensor], after: Mapping[str, Tensor]
) -> None:
    """Copy the moments of an old optimiser into a new one; rows of new labels start at 0.

    Args:
        before: parameters of the old optimiser by name.
        after: parameters of the new one by the same names.
    """
    for name, p in after.items():
        if name not in before or before[name] not in old.state:
            continue
        moments = old.state[before[name]]
        new_moments = {
            k: torch.zeros_like(p) if v.shape == before[name].shape else v.clone() for k, v in moments.items()
        }
        for key, value in moments.items():
            if value.shape == before[name].shape:
                new_moments[key][_block(value)] = value
        new.state[p] = new_moments
