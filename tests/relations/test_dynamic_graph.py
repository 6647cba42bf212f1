"""ADD-GCN's graphs against loops written from their equations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from labelwise.relations import DynamicGraph


def act(v: Tensor) -> Tensor:
    return torch.where(v > 0, v, 0.2 * v)


def make(dim: int = 4, labels: int = 3) -> DynamicGraph:
    module = DynamicGraph(dim, labels).double()
    with torch.no_grad():
        for p in module.parameters():
            p.normal_()
    return module


def linear(layer: torch.nn.Linear, v: Tensor) -> Tensor:
    return layer.weight @ v + layer.bias


def slow(module: DynamicGraph, features: Tensor) -> Tensor:
    """One image after the other, one pair of labels after the other."""
    images = []
    for f in features:
        labels = range(len(f))
        h = [
            f[i] + act(linear(module.static_out, act(sum(module.static[i, j] * f[j] for j in labels))))
            for i in labels
        ]
        g = act(linear(module.summary, sum(h) / len(h)))
        out = []
        for j in labels:
            both = torch.cat([g, h[j]])
            taken = [
                h[i] / (1 + math.exp(-float(module.dynamic[i] @ both + module.dynamic_bias[i])))
                for i in labels
            ]
            out.append(f[j] + act(linear(module.dynamic_out, act(sum(taken) / len(h)))))
        images.append(torch.stack(out))
    return torch.stack(images)


@torch.no_grad()
@pytest.mark.parametrize(("batch", "labels"), [(2, 3), (1, 1), (3, 6)])
def test_equals_the_equations(batch: int, labels: int, seeded: torch.Generator) -> None:
    module = make(labels=labels)
    features = torch.randn(batch, labels, 4, generator=seeded, dtype=torch.float64)
    torch.testing.assert_close(module(features), slow(module, features), rtol=0, atol=1e-9)


@torch.no_grad()
def test_the_graph_is_the_images_own(seeded: torch.Generator) -> None:
    module = make()
    features = torch.randn(2, 3, 4, generator=seeded, dtype=torch.float64)
    graphs = module.graph(features)
    assert not torch.allclose(graphs[0], graphs[1])
    torch.testing.assert_close(module.graph(features[:1])[0], graphs[0])
    assert ((graphs > 0) & (graphs < 1)).all()


@torch.no_grad()
def test_every_label_hears_of_every_other(seeded: torch.Generator) -> None:
    module = make()
    features = torch.randn(1, 3, 4, generator=seeded, dtype=torch.float64)
    changed = features.clone()
    changed[0, 0] += 1
    assert (module(changed) - module(features)).abs().amax(2).min() > 1e-6


def test_gradients_are_the_derivative(seeded: torch.Generator) -> None:
    module = make()
    features = torch.randn(2, 3, 4, generator=seeded, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda f, *_: module(f), (features, module.static, module.dynamic))
    module(features).square().sum().backward()
    assert [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()] == []


@torch.no_grad()
def test_copies_of_the_labels_change_little(seeded: torch.Generator) -> None:
    """Sums are divided by L: labels that all look alike exchange as much whether they are 3 or 300."""
    sizes = []
    for labels in (3, 300):
        module = DynamicGraph(4, labels).double()
        torch.nn.init.zeros_(module.static)
        torch.manual_seed(0)
        for layer in (module.static_out, module.summary, module.dynamic_out):
            layer.reset_parameters()
        features = torch.ones(1, labels, 4).double()
        sizes.append((module(features) - features).norm(dim=2).mean())
    torch.testing.assert_close(sizes[0], sizes[1], rtol=0.2, atol=0)
