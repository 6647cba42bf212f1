"""Gathered rows and sums over all processes, with gradients, for losses that compare the images of a batch.

Every process computes the loss of the gathered batch. Gradients are averaged over processes, so the gradient of a
process's own share is multiplied by their number; the backward pass needs no communication. Outside of distributed
training and without gradients, the forward pass needs none either.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist


def processes() -> int:
    """Number of processes to gather from; 1 outside of distributed training and without gradients."""
    ready = dist.is_available() and dist.is_initialized() and torch.is_grad_enabled()
    return dist.get_world_size() if ready else 1


def rank() -> int:
    """Number of this process among them, from 0."""
    return dist.get_rank() if processes() > 1 else 0


def joined_rows(*parts: Tensor) -> tuple[Tensor, ...]:
    """Each tensor's rows gathered from all processes, in rank order; a process may have any number of rows, or none.

    Args:
        parts: tensors of equal length; lengths may differ between processes, dtypes and other sizes may not.

    >>> joined_rows(torch.ones(2, 3))[0].shape
    torch.Size([2, 3])
    """
    if processes() == 1:
        return parts
    length = torch.tensor([len(parts[0])], device=parts[0].device)
    lengths = torch.cat(_all_gathered(length)).tolist()  # the only host sync
    return tuple(_rows_of_all(part, lengths) for part in parts)


def joined_sum(t: Tensor) -> Tensor:
    """Element-wise sum over all processes.

    >>> joined_sum(torch.ones(2)).tolist()
    [1.0, 1.0]
    """
    if processes() == 1:
        return t
    total = t.detach().clone()
    dist.all_reduce(total)
    return _with_gradient_of(t, total)


def _rows_of_all(part: Tensor, lengths: list[int]) -> Tensor:
    """The rows of all processes, with the gradient of this process's own."""
    padded = part.new_zeros((max(lengths), *part.shape[1:]))
    padded[: len(part)] = part.detach()
    parts = [rows[:length] for rows, length in zip(_all_gathered(padded), lengths, strict=True)]
    parts[rank()] = _with_gradient_of(part, part.detach())
    return torch.cat(parts)


def _all_gathered(t: Tensor) -> list[Tensor]:
    """The tensors of all processes, which have one shape."""
    parts = [torch.empty_like(t) for _ in range(processes())]
    dist.all_gather(parts, t)
    return parts


def _with_gradient_of(part: Tensor, value: Tensor) -> Tensor:
    """A value of all processes with the gradient of this process's own tensor, see the module."""
    return value + (part - part.detach()) * processes() if part.requires_grad else value
