"""Transformer blocks of the extractors: attention, a layer, and the sine position code."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.errors import LabelwiseError
from labelwise.extractors.regions import Prior, add_prior
from labelwise.numerics import at_least_float32

Tokens = Float[Tensor, "B P D"]
Queries = Float[Tensor, "b n D"]


class Attention(nn.Module):
    """Multi-head cross-attention.

    With `H` heads of width `d = D / H`:

        A = softmax_P( (q Wq) (k Wk)^T / sqrt(d) );   out = concat_heads(A v Wv) Wo + bo

    Args:
        dim: D, a multiple of `heads`.
        heads: H.

    Raises:
        LabelwiseError: `dim` is not a multiple of `heads`.

    >>> Attention(4, 2)(torch.rand(1, 3, 4), torch.rand(2, 5, 4), torch.rand(2, 5, 4))[0].shape
    torch.Size([2, 3, 4])
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise LabelwiseError(
                f"dim {dim} with heads {heads}", "dim a multiple of heads", "correct extractor.heads"
            )
        self.heads = heads
        # No biases of keys and values: softmax is invariant to the first, and the bias of `out` includes the second.
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, dim)

    def forward(
        self,
        queries: Queries,
        keys: Tokens,
        values: Tokens,
        want_weights: bool = False,
        prior: Prior = None,
    ) -> tuple[Float[Tensor, "B n D"], Float[Tensor, "B n P"] | None]:
        """The attention output, and optionally the mean of `A` over heads, in fp32 or wider.

        Args:
            queries: `[B, n, D]`, or `[1, n, D]` if they are the same for every image.
            keys: `[B, P, D]`.
            values: `[B, P, D]`.
            want_weights: also return the weights.
            prior: added to the scores, see `PlacePrior`.
        """
        q, k, v = (
            self._split(self.query(queries)),
            self._split(self.key(keys)),
            self._split(self.value(values)),
        )
        q = q.expand(v.shape[0], -1, -1, -1)
        if not want_weights:
            return self.out(F.scaled_dot_product_attention(q, k, v, prior).transpose(1, 2).flatten(2)), None
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
        weights = at_least_float32(add_prior(scores, prior)).softmax(-1)
        return self.out((weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)), weights.mean(1)

    def _split(self, t: Float[Tensor, "B n D"]) -> Float[Tensor, "B H n d"]:
        return t.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Layer(nn.Module):
    """Attention and a feed-forward layer, each with a residual and a norm after it.

        t = LN(t + Attention(queries, keys, values));   t = LN(t + W2 relu(W1 t))

    Args:
        dim: D.
        heads: of the attention.
        ffn: width of the feed-forward layer.
        dropout: rate in [0, 1) on the attention's output, inside the feed-forward layer and on its output.
    """

    def __init__(self, dim: int, heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(dim, heads)
        self.norm = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn), nn.ReLU(), nn.Dropout(dropout), nn.Linear(ffn, dim))
        self.ffn_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        t: Queries,
        queries: Queries,
        keys: Tokens,
        values: Tokens,
        want_weights: bool = False,
        prior: Prior = None,
    ) -> tuple[Float[Tensor, "B n D"], Float[Tensor, "B n P"] | None]:
        """The tokens `t` after the layer, and optionally the attention weights; `prior` as in `Attention`."""
        output, weights = self.attention(queries, keys, values, want_weights, prior)
        t = self.norm(t + self.dropout(output))
        return self.ffn_norm(t + self.dropout(self.ffn(t))), weights


def layers_of(number: int, dim: int, heads: int, ffn: int, dropout: float) -> nn.ModuleList:
    """A list of `number` layers."""
    return nn.ModuleList(Layer(dim, heads, ffn, dropout) for _ in range(number))


def as_tokens(x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B P C"]:
    """A map as one token per location, row by row."""
    return x.flatten(2).transpose(1, 2)


def sine_code(h: int, w: int, dim: int, like: Tensor, scaled: bool = False) -> Float[Tensor, "1 P D"]:
    """Two-dimensional sine code: half of the channels for rows, half for columns, wavelengths up to 10,000.

    Args:
        h: rows.
        w: columns.
        dim: D.
        like: its device and dtype are used.
        scaled: positions are 2 pi / h, .. 2 pi and 2 pi / w, .. 2 pi, so that a code means the same part of the image
            at every resolution; else they are 0 .. h - 1 and 0 .. w - 1.
    """
    quarter = max(1, dim // 4)
    rate = torch.exp(-math.log(10_000.0) * torch.arange(quarter, device=like.device) / quarter)
    rows, columns = (torch.arange(n, device=like.device)[:, None] for n in (h, w))
    if scaled:
        rows, columns = ((places + 1) * (2 * math.pi / len(places)) for places in (rows, columns))
    rows, columns = rows * rate, columns * rate
    row_code = torch.cat([rows.sin(), rows.cos()], 1)[:, None].expand(-1, w, -1)
    column_code = torch.cat([columns.sin(), columns.cos()], 1)[None].expand(h, -1, -1)
    code = torch.cat([row_code, column_code], 2).flatten(0, 1)
    return F.pad(code, (0, dim - code.shape[1])).unsqueeze(0).to(like.dtype)
