"""Loops written from the equations of a transformer's layer, and small extractors made of such layers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from labelwise.extractors import CTran
from labelwise.extractors.transformer import Attention, Layer

CLOSE = {"rtol": 0, "atol": 1e-9}
# The sine code itself is made in fp32.
NEAR = {"rtol": 0, "atol": 1e-6}
# Options under which a module is its equations alone.
OFF: dict[str, Any] = {"dropout": 0.0, "map_dropout": 0.0, "normalise": "none"}


def small(kind: type[nn.Module], channels: int = 6, labels: int = 3, **options: Any) -> nn.Module:
    """A small extractor that is awake."""
    layers = {"layers": 2} if kind is CTran else {}
    return awake(kind(channels, labels, **{"dim": 8, "heads": 2, "ffn": 5, **layers, **OFF, **options}))


def awake(module: nn.Module) -> nn.Module:
    """The module in float64, with biases, norms and queries away from where they start."""
    module = module.double()
    with torch.no_grad():
        for name, p in module.named_parameters():
            if name.endswith("bias") or "norm" in name or name.endswith("queries"):
                p.normal_()
            elif name.endswith(("query.weight", "key.weight")):
                p.mul_(3)
    return module


def a_map(channels: int = 6, h: int = 2, w: int = 5, batch: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, h, w, generator=generator, dtype=torch.float64)


def tokens_of(image: Tensor) -> list[Tensor]:
    """Places of one image `[C, h, w]`, row by row."""
    return [image[:, row, column] for row in range(image.shape[1]) for column in range(image.shape[2])]


def code_of(h: int, w: int, dim: int, scaled: bool = False) -> list[Tensor]:
    """Row sines, row cosines, column sines, column cosines, a quarter of the channels each."""
    quarter = dim // 4
    rates = [10_000 ** (-i / quarter) for i in range(quarter)]
    return [
        torch.tensor(
            [f(at * rate) for at in (row, column) for f in (math.sin, math.cos) for rate in rates],
            dtype=torch.float64,
        )
        for row in (2 * math.pi * (i + 1) / h if scaled else i for i in range(h))
        for column in (2 * math.pi * (i + 1) / w if scaled else i for i in range(w))
    ]


def linear(layer: nn.Linear, v: Tensor) -> Tensor:
    out = layer.weight @ v
    return out if layer.bias is None else out + layer.bias


def layer_norm(v: Tensor, norm: nn.LayerNorm) -> Tensor:
    centred = v - v.mean()
    return centred / (centred.square().mean() + norm.eps).sqrt() * norm.weight + norm.bias


def slow_attention(
    attention: Attention, queries: list[Tensor], keys: list[Tensor], values: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """The attention output of each token, and its weights averaged over heads."""
    attended, weights = [], []
    width = len(queries[0]) // attention.heads
    contents = [linear(attention.value, v) for v in values]
    projected = [] if attention.key is None else [linear(attention.key, k) for k in keys]
    for token in queries:
        gathered, seen = [], torch.zeros(len(keys), dtype=token.dtype)
        for head in range(attention.heads):
            part = slice(head * width, (head + 1) * width)
            if attention.query is None:
                scores = torch.ones(len(keys), dtype=token.dtype)
            else:
                q = linear(attention.query, token)[part]
                scores = torch.stack([q @ k[part] / math.sqrt(width) for k in projected]).exp()
            a = scores / scores.sum()
            gathered.append(sum(a_p * v[part] for a_p, v in zip(a, contents, strict=True)))
            seen += a / attention.heads
        attended.append(linear(attention.out, torch.cat(gathered)))
        weights.append(seen)
    return attended, weights


def slow_layer(
    layer: Layer, t: list[Tensor], queries: list[Tensor], keys: list[Tensor], values: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Tokens after a layer, and the weights that each used."""
    gathered, weights = slow_attention(layer.attention, queries, keys, values)
    inner, _, _, outer = layer.ffn
    tokens = []
    for token, z in zip(t, gathered, strict=True):
        n = layer_norm(token + z, layer.norm)
        hidden = linear(inner, n)
        tokens.append(layer_norm(n + linear(outer, hidden * (hidden > 0)), layer.ffn_norm))
    return tokens, weights


def plus(a: list[Tensor], b: list[Tensor]) -> list[Tensor]:
    return [x + y for x, y in zip(a, b, strict=True)]
