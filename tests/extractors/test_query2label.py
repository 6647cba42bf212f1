"""Query2Label's transformer against loops written from its equations."""

from __future__ import annotations

from functools import partial
from unittest import mock

import pytest
import torch
from torch import Tensor
from transformer_checks import (
    CLOSE,
    NEAR,
    a_map,
    code_of,
    linear,
    plus,
    slow_layer,
    small,
    tokens_of,
)

from labelwise.errors import LabelwiseError
from labelwise.extractors import Query2Label
from labelwise.extractors.transformer import sine_code

make = partial(small, Query2Label)


def slow(module: Query2Label, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features and maps by loops."""
    features, maps = [], []
    code = code_of(x.shape[2], x.shape[3], module.dim, scaled=True)
    queries = list(module.queries)
    for image in x:
        places = [linear(module.project, token) for token in tokens_of(image)]
        for layer in module.encoder:
            places, _ = slow_layer(layer, places, plus(places, code), plus(places, code), places)
        labels = queries
        for layer in module.decoder:
            labels, seen = slow_layer(layer, labels, plus(labels, queries), plus(places, code), places)
        features.append(torch.stack(labels))
        maps.append(torch.stack(seen))
    return torch.stack(features), torch.stack(maps).unflatten(2, x.shape[2:])


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"encoder_layers": 0, "layers": 1},
        {"encoder_layers": 2, "layers": 3, "heads": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize("labels", [1, 7])
def test_equals_the_equations(options: dict, labels: int, seeded: torch.Generator) -> None:
    module, x = make(labels=labels, **options), a_map()
    features, maps = slow(module, x)
    looked = module(x, want_maps=True)
    torch.testing.assert_close(looked.features, features, **NEAR)
    torch.testing.assert_close(looked.maps, maps, **NEAR)
    torch.testing.assert_close(module(x).features, looked.features, **CLOSE)
    if labels == 7:
        assert not torch.equal(looked.maps[:, :1].expand_as(maps), looked.maps)


@torch.no_grad()
def test_the_first_layer_has_one_query_for_the_whole_batch(seeded: torch.Generator) -> None:
    module = make(layers=2)
    rows = []
    for layer in module.decoder:
        layer.attention.query.register_forward_hook(lambda m, given, out: rows.append(len(out)))
    module(a_map(batch=5))
    assert rows == [1, 5]


@torch.no_grad()
def test_places_have_positions(seeded: torch.Generator) -> None:
    module, x = make(), a_map()
    assert not torch.allclose(module(x).features, module(x.flip(3)).features, atol=1e-3)
    with mock.patch(
        "labelwise.extractors.query2label.sine_code", lambda h, w, dim, like, scaled: like.new_zeros(1)
    ):
        torch.testing.assert_close(module(x).features, module(x.flip(3)).features, **CLOSE)


@pytest.mark.parametrize(("h", "w"), [(7, 7), (14, 14), (28, 28), (14, 7)])
def test_a_position_means_the_same_part_of_the_image_at_every_resolution(h: int, w: int) -> None:
    """Of raw indices opposite corners are .74, .66 and .57 alike at 7, 14 and 28 places."""
    code = sine_code(h, w, 256, torch.zeros(()), scaled=True)[0]
    assert torch.cosine_similarity(code[0], code[-1], 0).item() == pytest.approx(0.735, abs=0.03)


@pytest.mark.parametrize("labels", [1, 4])
def test_no_gradient_reaches_another_labels_query(labels: int, seeded: torch.Generator) -> None:
    module = make(labels=labels)
    module(a_map()).features[:, 0].sum().backward()
    assert module.queries.grad.abs().sum(1).nonzero().flatten().tolist() == [0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"heads": 3}, "dim 8 with heads 3; expected dim a multiple of heads; correct extractor.heads"),
        ({"layers": 0}, "extractor.layers=0; expected a whole number from 1; correct the option"),
        (
            {"encoder_layers": -1},
            "extractor.encoder_layers=-1; expected a whole number from 0; correct the option",
        ),
    ],
)
def test_bad_options(options: dict, says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        make(**options)
    assert str(error.value) == says
