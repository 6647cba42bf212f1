"""Scores of all pairs of map locations and labels by a tanh of products, without storing the full tanh tensor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from labelwise.numerics import exporting

# Elements of a block: on a CPU few enough for its cache but enough to hide the call overhead, elsewhere enough to fill
# the device.
_ON_CPU, _ELSEWHERE = 2**20, 2**24


def tanh_scores(
    q: Float[Tensor, "N J"], k: Float[Tensor, "L J"], u: Float[Tensor, " J"], chunk: int = 0
) -> Float[Tensor, "N L"]:
    """`s_nl = sum_j u_j tanh(q_nj k_lj)` in O(N L) memory, including the backward pass.

    `tanh(x) = 2 sigmoid(2x) - 1`, and sigmoid is several times faster than tanh on CPUs. Blocks of rows and labels
    share one buffer, and are recomputed in the backward pass:

        s = 2 sum_j u_j g_nlj - sum_j u_j,   g = sigmoid(2 q k),   ds/d(qk) = 4 u g (1 - g)

    Args:
        q: `[N, J]`, locations of all images.
        k: `[L, J]`, labels.
        u: `[J]`, weight of each joint dimension.
        chunk: labels of a block with all rows; 0 for a block size that suits the device.

    >>> q, k, u = torch.rand(4, 2), torch.rand(3, 2), torch.rand(2)
    >>> torch.allclose(tanh_scores(q, k, u), torch.tanh(q[:, None] * k) @ u, atol=1e-6)
    True
    """
    with torch.autocast(q.device.type, enabled=False):  # else the product with u would run in half precision
        if exporting() or torch.jit.is_tracing():
            return torch.tanh(q.unsqueeze(1) * k) @ u  # an exported graph cannot reuse buffers
        return _tanh_scores(q, k, u, chunk)


def _block(q: Tensor, labels: int, chunk: int) -> tuple[int, int]:
    """Rows and labels of a block."""
    if chunk:
        return len(q), chunk
    pairs = max(1, (_ON_CPU if q.device.type == "cpu" else _ELSEWHERE) // q.shape[1])
    rows = min(len(q), max(1, pairs // 4))  # several labels per block make their sums cheaper
    return rows, min(labels, pairs // rows)


def _blocks(q: Tensor, k: Tensor, rows: int, labels: int) -> Iterator[tuple[slice, slice]]:
    for n in range(0, len(q), rows):
        for i in range(0, len(k), labels):
            yield slice(n, n + rows), slice(i, i + labels)


class _Buffer:
    """Memory for a block, reused for blocks of any smaller shape."""

    def __init__(self, like: Tensor, rows: int, labels: int) -> None:
        self.flat = like.new_empty(min(rows, len(like)) * labels * like.shape[1])

    def shaped(self, *shape: int) -> Tensor:
        """The first elements as a tensor of this shape."""
        return self.flat[: torch.Size(shape).numel()].view(shape)


# A custom operator, so that `torch.compile` does not create the `[N, L, J]` tensor of the formula.
@torch.library.custom_op(
    "labelwise::tanh_scores", mutates_args=(), schema="(Tensor q, Tensor k, Tensor u, int chunk) -> Tensor"
)
def _tanh_scores(q: Tensor, k: Tensor, u: Tensor, chunk: int) -> Tensor:
    """See `tanh_scores`."""
    block = _block(q, len(k), chunk)
    q, buffer = 2 * q, _Buffer(q, *block)
    scores = q.new_empty(len(q), len(k))
    for n, i in _blocks(q, k, *block):
        scores[n, i] = (_gate(q[n], k[i], buffer) @ u).T
    return scores.mul_(2).sub_(u.sum())


@torch.library.custom_op(
    "labelwise::tanh_scores_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor q, Tensor k, Tensor u, int chunk) -> (Tensor, Tensor, Tensor)",
)
def _derivatives(grad: Tensor, q: Tensor, k: Tensor, u: Tensor, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and u."""
    grad, block = grad.contiguous(), _block(q, len(k), chunk)
    q2, buffer, other = 2 * q, _Buffer(q, *block), _Buffer(q, *block)
    of_q, of_k, of_u = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(u)
    for n, i in _blocks(q, k, *block):
        g = grad[n, i].T.contiguous()
        gate = _gate(q2[n], k[i], buffer)
        of_u += g.flatten() @ gate.flatten(0, 1)
        slope = torch.ops.aten.sigmoid_backward.grad_input(g.unsqueeze(2), gate, grad_input=gate)
        product = other.shaped(*slope.shape)
        of_k[i] += torch.mul(slope, q[n], out=product).sum(1)
        of_q[n] += torch.mul(slope, k[i].unsqueeze(1), out=product).sum(0)
    return of_q.mul_(4 * u), of_k.mul_(4 * u), of_u.mul_(2).sub_(grad.sum())


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.chunk = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    with torch.autocast(grad.device.type, enabled=False):
        return *_derivatives(grad, *ctx.saved_tensors, ctx.chunk), None


_tanh_scores.register_fake(lambda q, k, u, chunk: q.new_empty(len(q), len(k)))
_derivatives.register_fake(lambda grad, q, k, u, chunk: tuple(torch.empty_like(t) for t in (q, k, u)))
_tanh_scores.register_autograd(_backward, setup_context=_keep)


def _gate(q2: Tensor, k: Tensor, buffer: _Buffer) -> Tensor:
    """`sigmoid(2 q k)` `[l, n, J]` of a block."""
    out = buffer.shaped(len(k), len(q2), q2.shape[1])
    return torch.mul(q2, k.unsqueeze(1), out=out).sigmoid_()
