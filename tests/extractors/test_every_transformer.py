"""What every extractor made of a transformer's layers keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformer_checks import CLOSE, a_map, small

from labelwise.extractors import CTran, DualRelations, MLDecoder, Query2Label
from largest_tensor import LargestTensor

KINDS = (CTran, DualRelations, MLDecoder, Query2Label)
PLAIN = [(kind, {}) for kind in KINDS]
GROUPED = (MLDecoder, {"groups": 3})
every = pytest.mark.parametrize("kind", KINDS)


def outputs(module: nn.Module, x: Tensor, want_maps: bool = False) -> list[Tensor]:
    out = module(x, want_maps)
    return [t for t in (out.features, out.maps, out.logits, *out.branches.values()) if t is not None]


@pytest.mark.parametrize(
    ("kind", "options"),
    [*PLAIN, (MLDecoder, {"groups": 2, "learn_queries": True})],
    ids=str,
)
def test_every_parameter_learns(kind: type, options: dict[str, Any], seeded: torch.Generator) -> None:
    module = small(kind, **options)
    sum(t.square().sum() for t in outputs(module, a_map())).backward()
    assert [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()] == []


@every
@pytest.mark.parametrize("want_maps", [False, True])
def test_gradients_are_the_derivative(kind: type, want_maps: bool, seeded: torch.Generator) -> None:
    own = {MLDecoder: {"learn_queries": True}, Query2Label: {"layers": 1}, DualRelations: {"labels": 2}}
    module = small(kind, 4, dim=4, ffn=3, **own.get(kind, {}))
    x = a_map(channels=4, h=2, w=3).requires_grad_()
    queries = [p for name, p in module.named_parameters() if name.endswith("queries")]
    assert torch.autograd.gradcheck(
        lambda x, *_: tuple(outputs(module, x, want_maps)), (x, *queries), fast_mode=True
    )


@torch.no_grad()
@pytest.mark.parametrize(("kind", "options"), [*PLAIN, GROUPED], ids=str)
def test_permuted_labels_permute_all(kind: type, options: dict[str, Any], seeded: torch.Generator) -> None:
    """Seven is the size of no other dimension."""
    module, x = small(kind, labels=7, **options), a_map()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    before = outputs(module, x, want_maps=True)
    for value in module.state_dict().values():
        for dim in (d for d, size in enumerate(value.shape) if size == 7):
            value.copy_(value.index_select(dim, order))
    for old, new in zip(before, outputs(module, x, want_maps=True), strict=True):
        torch.testing.assert_close(new, old[:, order], **CLOSE)
        assert not torch.allclose(new, old)


@torch.no_grad()
@every
@pytest.mark.parametrize(("labels", "h", "w"), [(1, 1, 1), (3, 1, 1), (1, 3, 1), (3, 7, 10)])
def test_sizes_and_company(kind: type, labels: int, h: int, w: int, seeded: torch.Generator) -> None:
    """One label, one place, uneven grids; maps sum to 1; other images of a batch change nothing."""
    module, x = small(kind, labels=labels).eval(), a_map(h=h, w=w, batch=3)
    out = module(x, want_maps=True)
    assert out.features.shape == (3, labels, module.dim)
    assert out.maps.shape == (3, labels, h, w)
    assert (out.maps >= 0).all()
    torch.testing.assert_close(out.maps.sum((2, 3)), torch.ones(3, labels).double(), **CLOSE)
    assert module(x).maps is None
    for together, alone in zip(outputs(module, x), outputs(module, x[1:2]), strict=True):
        torch.testing.assert_close(together[1:2], alone, **CLOSE)


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves(kind: type, dtype: torch.dtype, seeded: torch.Generator) -> None:
    """Finite forward and backward on maps of a thousand times the usual size; maps still sum to 1."""
    module = small(kind, 16, 5, dim=16).to(dtype)
    x = (1e3 * a_map(16, 4, 4)).to(dtype).requires_grad_()
    tensors = outputs(module, x, want_maps=True)
    sum(t.float().mean() for t in tensors).backward()
    assert all(t.isfinite().all() for t in tensors)
    assert x.grad is not None
    assert x.grad.isfinite().all()
    maps = module(x, want_maps=True).maps
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps.sum((2, 3)), torch.ones(maps.shape[:2]), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("kind", "options"), [(MLDecoder, {}), GROUPED, (Query2Label, {})], ids=str)
@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_labels_at_once_do_not_matter(
    kind: type, options: dict[str, Any], chunk: int, seeded: torch.Generator
) -> None:
    module, x = small(kind, labels=5, **options), a_map()
    whole = module(x, want_maps=True)
    module.chunk = chunk
    part = module(x, want_maps=True)
    torch.testing.assert_close(part.features, whole.features, **CLOSE)
    torch.testing.assert_close(part.maps, whole.maps, **CLOSE)


@pytest.mark.parametrize("kind", [MLDecoder, Query2Label])
@pytest.mark.parametrize("want_maps", [False, True])
def test_memory_is_linear_in_labels(kind: type, want_maps: bool) -> None:
    batch, labels, side, dim = 2, 2000, 7, 16
    module = kind(24, labels, dim=dim, ffn=dim, heads=1)
    with LargestTensor() as seen:
        module(torch.randn(batch, 24, side, side), want_maps).features.sum().backward()
    assert 0 < seen.elements <= batch * labels * max(side * side, dim)
