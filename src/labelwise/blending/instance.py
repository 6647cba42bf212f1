"""Blending between the images of a batch: an unknown label gets a soft target from a partner's known positive."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from labelwise.types import Targets


def blend_instances(
    features: Float[Tensor, "B L D"], targets: Targets, alpha: Float[Tensor, ""]
) -> tuple[Float[Tensor, "B L D"], Targets]:
    """Mix each unknown label's feature with that of the partner image, if the label is a known positive there.

    The partner of image `i` is `m = B - 1 - i`. If `l` is unknown in `i` and a known positive in `m`:

        f^_il = alpha f_il + (1 - alpha) f_ml;   y^_il = 1 - alpha;   k^_il = True

    and all other cells are unchanged, in particular known cells and an image that is its own partner. Negatives are
    not transferred. Gradients reach alpha through features and targets.

    Args:
        features: `[B, L, D]`.
        targets: `[B, L]`.
        alpha: weight of the image's own feature, a scalar in [0, 1].

    Source: instance-level blending of SARB (2022) and DSRB.

    >>> t = Targets.of(torch.tensor([[1.0], [float("nan")]]))
    >>> f, mixed = blend_instances(torch.tensor([[[4.0]], [[0.0]]]), t, torch.tensor(0.75))
    >>> f.flatten().tolist(), mixed.values.flatten().tolist(), mixed.known.flatten().tolist()
    ([4.0, 1.0], [1.0, 0.25], [True, True])
    """
    present = targets.known & (targets.values >= 0.5)
    transferred = ~targets.known & present.flip(0)
    mixed = torch.where(transferred.unsqueeze(2), alpha * features + (1 - alpha) * features.flip(0), features)
    return mixed, Targets(torch.where(transferred, 1 - alpha, targets.values), targets.known | transferred)
