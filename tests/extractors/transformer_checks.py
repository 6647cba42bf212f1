"""Loops written from the equations of a transformer's layer, and what all extractors made of such layers keep."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from labelwise.extractors.transformer import Attention, Layer

CLOSE = {"rtol": 0, "atol": 1e-9}
# The sine code itself is made in fp32.
NEAR = {"rtol": 0, "atol": 1e-6}
# Options under which a module is its equations alone.
OFF: dict[str, Any] = {"dropout": 0.0, "map_dropout": 0.0, "normalise": "none"}


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


def outputs(module: nn.Module, x: Tensor, want_maps: bool = False) -> list[Tensor]:
    """All outputs of an extractor, as a list."""
    out = module(x, want_maps)
    given = [out.features, out.maps, out.logits, *out.branches.values()]
    return [t for t in given if t is not None]


def check_gradients(module: nn.Module, want_maps: bool) -> None:
    """U3: the gradient of everything given is its derivative."""
    x = a_map(channels=4, h=2, w=3).requires_grad_()
    queries = [p for name, p in module.named_parameters() if name.endswith("queries")]
    assert torch.autograd.gradcheck(
        lambda x, *_: tuple(outputs(module, x, want_maps)), (x, *queries), fast_mode=True
    )


@torch.no_grad()
def check_permutation(module: nn.Module, labels: int) -> None:
    """U1: permuted labels permute all that is given; `labels` must be the size of no other dimension."""
    x, order = a_map(), torch.randperm(labels, generator=torch.Generator().manual_seed(3))
    before = outputs(module, x, want_maps=True)
    for value in module.state_dict().values():
        for dim in (d for d, size in enumerate(value.shape) if size == labels):
            value.copy_(value.index_select(dim, order))
    for old, new in zip(before, outputs(module, x, want_maps=True), strict=True):
        torch.testing.assert_close(new, old[:, order], **CLOSE)
        assert not torch.allclose(new, old)


@torch.no_grad()
def check_sizes(make: Any) -> None:
    """U2, U7, U10: one label, one place, uneven grids; maps sum to 1; company in a batch changes nothing."""
    for labels, h, w in [(1, 1, 1), (3, 1, 1), (1, 3, 1), (3, 7, 10)]:
        module = make(labels=labels).eval()
        x = a_map(h=h, w=w, batch=3)
        out = module(x, want_maps=True)
        assert out.features.shape == (3, labels, module.dim)
        assert out.maps.shape == (3, labels, h, w)
        assert (out.maps >= 0).all()
        torch.testing.assert_close(out.maps.sum((2, 3)), torch.ones(3, labels).double(), **CLOSE)
        assert module(x).maps is None
        for all_of_it, alone in zip(outputs(module, x), outputs(module, x[1:2]), strict=True):
            torch.testing.assert_close(all_of_it[1:2], alone, **CLOSE)


def check_halves(module: nn.Module, dtype: torch.dtype) -> None:
    """U4: finite forward and backward on maps of a thousand times the usual size; maps still sum to 1."""
    module = module.to(dtype)
    x = (1e3 * a_map(16, 4, 4)).to(dtype).requires_grad_()
    tensors = outputs(module, x, want_maps=True)
    sum(t.float().mean() for t in tensors).backward()
    assert all(t.isfinite().all() for t in tensors)
    assert x.grad is not None
    assert x.grad.isfinite().all()
    maps = module(x, want_maps=True).maps
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps.sum((2, 3)), torch.ones(maps.shape[:2]), rtol=0, atol=1e-5)


def check_all_learn(module: nn.Module) -> None:
    """Every parameter gets a gradient."""
    sum(t.square().sum() for t in outputs(module, a_map())).backward()
    assert [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()] == []


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor's storage that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            if isinstance(t, Tensor):
                self.elements = max(self.elements, t.untyped_storage().nbytes() // t.element_size())
        return out
