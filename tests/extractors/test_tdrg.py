"""TDRG's dual relations against loops written from its equations."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformer_checks import (
    CLOSE,
    NEAR,
    a_map,
    code_of,
    layer_norm,
    linear,
    plus,
    slow_attention,
    slow_layer,
    small,
    tokens_of,
)

from labelwise.errors import LabelwiseError
from labelwise.extractors import DualRelations
from labelwise.methods import create_method
from labelwise.types import Batch, Targets

make = partial(small, DualRelations)


def half_side(x: Tensor) -> Tensor:
    """Means of two by two places; of those that there are, at an odd edge."""
    rows, columns = math.ceil(x.shape[1] / 2), math.ceil(x.shape[2] / 2)
    cells = [
        x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((1, 2)) for i in range(rows) for j in range(columns)
    ]
    return torch.stack(cells, 1).unflatten(1, (rows, columns))


def resized(x: Tensor, h: int, w: int) -> Tensor:
    """Values between the centres of places, by distance; beyond the outermost centres, theirs."""

    def weights(old: int, new: int) -> Tensor:
        matrix = torch.zeros(new, old, dtype=x.dtype)
        for i in range(new):
            at = min(max((i + 0.5) * old / new - 0.5, 0), old - 1)
            low = min(int(at), max(old - 2, 0))
            matrix[i, low] += 1 - (at - low)
            if old > 1:
                matrix[i, low + 1] += at - low
        return matrix

    return torch.einsum("ih,jw,dhw->dij", weights(x.shape[1], h), weights(x.shape[2], w), x)


def slow(module: DualRelations, x: Tensor) -> dict[str, Tensor]:
    """All that is given, by loops over images, scales and labels."""
    h, w = x.shape[2:]
    code = torch.stack(code_of(h, w, module.dim), 1).unflatten(1, (h, w))
    rows = [slow_image(module, image, code) for image in x]
    return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}


def slow_image(module: DualRelations, image: Tensor, code: Tensor) -> dict[str, Tensor]:
    h, w = image.shape[1:]
    places = [linear(module.project, token) for token in tokens_of(image)]
    scores = torch.stack([linear(module.score, place) for place in places], 1)
    grid = torch.stack(places, 1).unflatten(1, (h, w))
    sides = 3 if module.double_side else 2
    scales = [[half_side(t), t, resized(t, 2 * h, 2 * w)][:sides] for t in (grid, code)]
    values, codes = ([tokens_of(t) for t in scale] for scale in scales)
    related = torch.zeros_like(grid)
    for i, own in enumerate(values):
        others = [token for j, v in enumerate(values) if j != i for token in v]
        where = [token for j, c in enumerate(codes) if j != i for token in c]
        gathered, _ = slow_attention(module.across, plus(own, codes[i]), plus(others, where), others)
        t = [layer_norm(v, module.across_norm) for v in plus(own, gathered)]
        for layer in module.encoder:
            t, _ = slow_layer(layer, t, plus(t, codes[i]), plus(t, codes[i]), t)
        scale = torch.stack(t, 1).unflatten(1, scales[0][i].shape[1:])
        related = related + (half_side(scale) if i == 2 else resized(scale, h, w)) / sides
    features, nodes, maps, sac = [], [], [], []
    for row in scores:
        a = torch.softmax(row, 0)
        maps.append(a.view(h, w))
        features.append(sum(weight * e for weight, e in zip(a, tokens_of(related), strict=True)))
        pooled = sum(weight * place for weight, place in zip(a, places, strict=True))
        nodes.append(linear(module.graph.node, pooled))
        highest = row.sort(descending=True).values[: max(1, math.ceil(module.peak * len(row)))]
        sac.append(highest.mean())
    gcn = []
    for label, v in enumerate(nodes):
        n = [torch.cat([f, v]) for f, v in zip(features, nodes, strict=True)]
        q = linear(module.graph.source, n[label])
        like = torch.stack([q @ linear(module.graph.target, m) / math.sqrt(module.dim) for m in n])
        near = sum(weight * other for weight, other in zip(like.softmax(0), nodes, strict=True))
        g = v + linear(module.graph.step, near).clamp(min=0)
        gcn.append(g @ module.graph.weight[label] + module.graph.bias[label])
    parts = {"features": features, "maps": maps, "gcn": gcn, "sac": sac}
    return {key: torch.stack(value) for key, value in parts.items()}


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layers": 0},
        {"layers": 2, "heads": 4, "peak": 0.5},
        {"peak": 1.0, "double_side": False},
    ],
    ids=str,
)
@pytest.mark.parametrize(("labels", "h", "w"), [(1, 1, 2), (4, 2, 3), (3, 1, 1)])
def test_equals_the_equations(options: dict, labels: int, h: int, w: int, seeded: torch.Generator) -> None:
    module, x = make(labels=labels, **options), a_map(h=h, w=w)
    expected, output = slow(module, x), module(x, want_maps=True)
    torch.testing.assert_close(output.features, expected["features"], **NEAR)
    torch.testing.assert_close(output.maps, expected["maps"], **NEAR)
    torch.testing.assert_close(output.logits, expected["gcn"], **NEAR)
    torch.testing.assert_close(output.branches["gcn"], expected["gcn"], **NEAR)
    torch.testing.assert_close(output.branches["sac"], expected["sac"], **NEAR)
    assert output.earlier[0] is output.features


@torch.no_grad()
@pytest.mark.parametrize(
    ("peak", "places", "expected"), [(0.0, 4, 1), (0.05, 20, 1), (0.05, 21, 2), (0.1, 30, 3), (1, 4, 4)]
)
def test_the_share_of_highest_scores(
    peak: float, places: int, expected: int, seeded: torch.Generator
) -> None:
    module = make(labels=1, dim=4, peak=peak)
    x = a_map(h=1, w=places, batch=1)
    scores = torch.stack([module.score(linear(module.project, token))[0] for token in tokens_of(x[0])])
    highest = scores.sort(descending=True).values[:expected].mean()
    torch.testing.assert_close(module(x).branches["sac"][0, 0], highest, **CLOSE)


def a_method() -> tuple[Any, Batch]:
    torch.manual_seed(0)
    options = {"dim": 16, "ffn": 16}
    method = create_method("tdrg", "abcdef", "test_resnet", weights="none", image_size=64, extractor=options)
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    return method.eval(), Batch(images, Targets.of(torch.rand(4, 6).round()), torch.arange(4))


@torch.no_grad()
def test_shares_of_the_two_branches() -> None:
    method, batch = a_method()
    out = method.model(batch.images)
    trans = F.linear(out.features, method.model.classifier.weight).diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(out.branches["step_1"], trans + method.model.classifier.bias)
    torch.testing.assert_close(out.logits, 0.7 * out.branches["step_1"] + 0.3 * out.branches["gcn"])


@torch.no_grad()
def test_four_losses_of_equal_weight() -> None:
    method, batch = a_method()
    terms, out = method(batch), method.model(batch.images)
    assert set(terms) == {"loss", "classification", "step_1", "gcn", "sac"}
    for name, logits in out.branches.items():
        torch.testing.assert_close(terms[name], method.criterion(logits, batch.targets))


@torch.no_grad()
def test_weights_do_not_hang_on_the_size_of_the_map(seeded: torch.Generator) -> None:
    module = make()
    for h, w in [(7, 10), (14, 14), (5, 3)]:
        assert module(a_map(h=h, w=w), want_maps=True).maps.shape == (2, 3, h, w)


@pytest.mark.parametrize("peak", [-0.1, 1.5])
def test_bad_share(peak: float) -> None:
    with pytest.raises(LabelwiseError) as error:
        make(peak=peak)
    assert str(error.value) == f"extractor.peak={peak}; expected a number from 0 to 1; correct the option"
