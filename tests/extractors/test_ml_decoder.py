"""ML-Decoder against loops written from its equations."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor
from transformer_checks import (
    CLOSE,
    OFF,
    a_map,
    layer_norm,
    linear,
    slow_layer,
    small,
    tokens_of,
)

from labelwise.classifiers import PerLabelClassifier
from labelwise.errors import LabelwiseError
from labelwise.extractors import MLDecoder

make = partial(small, MLDecoder)


def slow(module: MLDecoder, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features and maps of queries by loops."""
    features, maps = [], []
    for image in x:
        places = [linear(module.project[0], token).clamp(min=0) for token in tokens_of(image)]
        t = [layer_norm(2 * q, module.query_norm) for q in module.queries]
        rows, seen = slow_layer(module.layer, t, t, places, places)
        features.append(torch.stack(rows))
        maps.append(torch.stack(seen))
    return torch.stack(features), torch.stack(maps).unflatten(2, x.shape[2:])


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"heads": 4}], ids=str)
@pytest.mark.parametrize("labels", [1, 7])
def test_equals_the_equations(options: dict, labels: int, seeded: torch.Generator) -> None:
    module, x = make(labels=labels, **options), a_map()
    features, maps = slow(module, x)
    looked = module(x, want_maps=True)
    torch.testing.assert_close(looked.features, features, **CLOSE)
    torch.testing.assert_close(looked.maps, maps, **CLOSE)
    torch.testing.assert_close(module(x).features, features, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize(
    ("labels", "groups", "of_each"),
    [(6, 2, [0, 0, 0, 1, 1, 1]), (7, 3, [0, 0, 0, 1, 1, 2, 2]), (5, 1, [0] * 5), (4, 3, [0, 0, 1, 2])],
)
def test_labels_of_a_group_share_its_feature(
    labels: int, groups: int, of_each: list[int], seeded: torch.Generator
) -> None:
    module, x = make(labels=labels, groups=groups), a_map()
    features, maps = slow(module, x)
    out = module(x, want_maps=True)
    assert module.group.tolist() == of_each
    for label, group in enumerate(of_each):
        torch.testing.assert_close(out.features[:, label], features[:, group], **CLOSE)
        torch.testing.assert_close(out.maps[:, label], maps[:, group], **CLOSE)


@torch.no_grad()
def test_the_classifier_is_the_groups_fully_connected_layer(seeded: torch.Generator) -> None:
    module, x = make(labels=6, groups=2), a_map()
    classifier = PerLabelClassifier(6, 8).double()
    classifier.bias.normal_()
    groups, _ = slow(module, x)
    weight, bias = classifier.weight.view(2, 3, 8), classifier.bias.view(2, 3)
    for group in range(2):
        expected = groups[:, group] @ weight[group].T + bias[group]
        logits = classifier(module(x).features)[:, 3 * group : 3 * group + 3]
        torch.testing.assert_close(logits, expected, **CLOSE)


@torch.no_grad()
def test_as_many_groups_as_labels_is_one_query_a_label(seeded: torch.Generator) -> None:
    grouped, single, x = make(labels=4, groups=4), make(labels=4), a_map()
    single.load_state_dict(grouped.state_dict(), strict=True)
    assert torch.equal(single(x).features, grouped(x).features)


@torch.no_grad()
def test_queries_are_saved_and_do_not_learn(seeded: torch.Generator) -> None:
    module = MLDecoder(6, 3, dim=8)
    assert "queries" in module.state_dict()
    assert "queries" not in dict(module.named_parameters())
    assert "queries" in dict(MLDecoder(6, 3, dim=8, learn_queries=True).named_parameters())
    assert not torch.allclose(module.queries[0], module.queries[1], atol=0.1)


@torch.no_grad()
def test_dropped_queries_keep_what_they_add_to(seeded: torch.Generator) -> None:
    module, seen = MLDecoder(6, 500, **{**OFF, "dropout": 0.5, "dim": 8, "ffn": 4}), []
    module.query_norm.register_forward_hook(lambda m, given, out: seen.append(given[0]))
    module(a_map().float())
    ratio = seen[0] / module.queries
    assert ((ratio - 1).abs() < 1e-5).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert ((ratio - 3).abs() < 1e-5).float().mean().item() == pytest.approx(0.5, abs=0.05)


@torch.no_grad()
def test_places_have_no_positions(seeded: torch.Generator) -> None:
    module, x = make(), a_map()
    torch.testing.assert_close(module(x).features, module(x.flip(3)).features, **CLOSE)


@torch.no_grad()
def test_a_label_does_not_depend_on_another_labels_query(seeded: torch.Generator) -> None:
    module, x = make(labels=4), a_map()
    before = module(x).features
    module.queries[2].normal_()
    same = (before == module(x).features).all(-1).all(0)
    assert same.tolist() == [True, True, False, True]


def test_groups_that_do_not_fit() -> None:
    with pytest.raises(LabelwiseError) as error:
        make(labels=3, groups=4)
    assert str(error.value) == (
        "4 groups for 3 labels; expected at most one group per label, or 0 for one query per label; "
        "correct extractor.groups"
    )
