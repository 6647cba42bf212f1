"""Precision of sums, and whether a computation is being exported."""

from __future__ import annotations

import math

import torch
from torch import Tensor

exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)  # since torch 2.7


def at_least_float32(t: Tensor) -> Tensor:
    """The tensor in float32, or in float64 if it already is: half precision is too coarse for sums.

    >>> at_least_float32(torch.zeros(1, dtype=torch.bfloat16)).dtype
    torch.float32
    >>> at_least_float32(torch.zeros(1, dtype=torch.float64)).dtype
    torch.float64
    """
    return t.to(torch.promote_types(t.dtype, torch.float32))


def share_of(number: int, share: float) -> int:
    """The share of a number of items, rounded up.

    >>> share_of(100, 0.07), share_of(100, 0.071)
    (7, 8)
    """
    return math.ceil(share * number - 1e-9)  # .07 * 100 lies just above 7
