"""C-Tran's transformer against loops written from its equations, and the masking of labels in training."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_checks import (
    CLOSE,
    a_map,
    linear,
    slow_layer,
    small,
    tokens_of,
)

from labelwise.errors import LabelwiseError
from labelwise.extractors import CTran
from labelwise.methods import create_method
from labelwise.methods.c_tran import LabelMasking
from labelwise.types import Batch, Targets

make = partial(small, CTran)
NAN = float("nan")


def states_of(labels: int) -> Targets:
    """Two images: states of three kinds and one in between, then nothing known."""
    row = torch.tensor([1.0, 0.0, NAN, 0.25, NAN, 1.0, 0.0][:labels])
    return Targets.of(torch.stack([row, torch.full_like(row, NAN)]))


def slow(module: CTran, x: Tensor, states: Targets | None) -> tuple[Tensor, Tensor]:
    """Features and maps by loops."""
    features, maps = [], []
    unknown, negative, positive = module.state_queries
    for row, image in enumerate(x):
        places = [linear(module.project, token) for token in tokens_of(image)]
        labels = []
        for label, query in enumerate(module.queries):
            state = unknown
            if states is not None and states.known[row, label]:
                y = states.values[row, label].double()
                state = (1 - y) * negative + y * positive
            labels.append(query + state)
        for layer in module.layers:
            every = places + labels
            tokens, seen = slow_layer(layer, labels, labels, every, every)
            places, _ = slow_layer(layer, places, places, every, every)
            labels = tokens
        features.append(torch.stack(labels))
        maps.append(torch.stack([s[: len(places)] / s[: len(places)].sum() for s in seen]))
    return torch.stack(features), torch.stack(maps).unflatten(2, x.shape[2:])


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"layers": 1, "heads": 4}, {"layers": 3}], ids=str)
@pytest.mark.parametrize("labels", [1, 7])
@pytest.mark.parametrize("with_states", [False, True])
def test_equals_the_equations(options: dict, labels: int, with_states: bool, seeded: torch.Generator) -> None:
    module, x = make(labels=labels, **options), a_map()
    states = states_of(labels) if with_states else None
    features, maps = slow(module, x, states)
    looked = module(x, want_maps=True, states=states)
    torch.testing.assert_close(looked.features, features, **CLOSE)
    torch.testing.assert_close(looked.maps, maps, **CLOSE)
    torch.testing.assert_close(module(x, states=states).features, features, **CLOSE)


@torch.no_grad()
def test_all_unknown_is_exactly_no_states(seeded: torch.Generator) -> None:
    nothing = Targets(torch.full((2, 7), NAN), torch.zeros(2, 7, dtype=torch.bool))
    for module, x in [(make(labels=7), a_map()), (make(labels=7).float(), a_map().float())]:
        assert torch.equal(module(x, states=nothing).features, module(x).features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(module(x, states=nothing).features, module(x).features)


@torch.no_grad()
def test_a_known_state_moves_the_other_labels(seeded: torch.Generator) -> None:
    module, x = make(), a_map()
    logits = {}
    for state in (NAN, 0.0, 1.0):
        states = Targets.of(torch.tensor([[state, NAN, NAN]] * 2))
        logits[state] = module(x, states=states).features[:, 1:]
    assert not torch.allclose(logits[0.0], logits[1.0], atol=1e-3)
    assert not torch.allclose(logits[NAN], logits[1.0], atol=1e-3)


@torch.no_grad()
def test_maps_where_labels_look_at_labels_alone(seeded: torch.Generator) -> None:
    module = make(layers=1).float()
    module.project.weight.zero_()
    module.project.bias.copy_(-1e4 * torch.ones(8))
    module.layers[0].attention.query.weight.copy_(1e3 * torch.eye(8))
    module.layers[0].attention.key.weight.copy_(torch.eye(8))
    module.queries.copy_(torch.ones(3, 8))
    module.state_queries.zero_()
    maps = module(a_map().float(), want_maps=True).maps
    torch.testing.assert_close(maps, torch.full_like(maps, 1 / 10))


def some_targets(rows: int = 4000, labels: int = 5) -> Targets:
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(rows, labels, generator=generator).round()
    return Targets(values, torch.rand(rows, labels, generator=generator) < 0.6)


@pytest.mark.parametrize("most", [0.0, 0.4, 0.75, 1.0])
def test_inputs_and_targets_are_parts_of_the_known_cells(most: float, seeded: torch.Generator) -> None:
    targets = some_targets()
    shown, judged = LabelMasking(most)(targets)
    assert torch.equal(shown.known | judged.known, targets.known)
    assert not (shown.known & judged.known).any()
    share = shown.known.sum() / targets.known.sum()
    assert share.item() == pytest.approx(most / 2, abs=0.02)
    assert torch.equal(LabelMasking(most, hidden_only=False)(targets)[1].known, targets.known)


def test_images_have_different_shares_of_inputs(seeded: torch.Generator) -> None:
    targets = Targets(torch.ones(2000, 400), torch.ones(2000, 400, dtype=torch.bool))
    shares = LabelMasking(0.75)(targets)[0].known.float().mean(1)
    assert shares.max().item() == pytest.approx(0.75, abs=0.07)
    assert shares.min().item() == pytest.approx(0.0, abs=0.02)
    assert shares.std().item() == pytest.approx(0.75 / 12**0.5, abs=0.02)


def test_masking_follows_the_global_generator() -> None:
    targets, masking = some_targets(20), LabelMasking()
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(masking(targets)[0].known)
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def a_method(**options: Any) -> tuple[Any, Batch]:
    torch.manual_seed(0)
    small = {"dim": 16, "ffn": 16, **options}
    method = create_method("c-tran", "abcdef", "test_resnet", weights="none", image_size=64, extractor=small)
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    return method, Batch(images, some_targets(4, 6), torch.arange(4))


@pytest.mark.parametrize("filling", [0.0, NAN])
def test_unknown_cells_have_no_influence_in_training(filling: float) -> None:
    outcomes = []
    for value in (0.5, filling):
        method, batch = a_method()
        batch.targets.values[~batch.targets.known] = value
        torch.manual_seed(5)
        loss = method.train()(batch)["loss"]
        loss.backward()
        outcomes.append([loss.detach(), *(p.grad for p in method.parameters() if p.grad is not None)])
    assert len(outcomes[0]) == len(outcomes[1])
    assert all(torch.equal(a, b) for a, b in zip(*outcomes, strict=True))


def test_nothing_known_in_training_is_zero() -> None:
    method, batch = a_method()
    batch.targets.known[:] = False
    loss = method.train()(batch)["loss"]
    loss.backward()
    assert loss.item() == 0
    assert not any(p.grad.any() for p in method.parameters() if p.requires_grad)


def test_an_input_label_has_a_loss_only_with_loss_on_all() -> None:
    for loss_on in ("hidden", "all"):
        method, batch = a_method(told=1.0, loss_on=loss_on)
        assert method.split_states.training
        judged = []
        method.criterion.register_forward_hook(lambda m, given, out, judged=judged: judged.append(given[1]))
        method(batch)
        assert torch.equal(judged[0].known, batch.targets.known) is (loss_on == "all")
        assert not method.eval().split_states.training
        judged.clear()
        method(batch)
        assert torch.equal(judged[0].known, batch.targets.known)


def test_all_state_vectors_learn_in_training(seeded: torch.Generator) -> None:
    method, batch = a_method(told=1.0)
    method.train()(batch)["loss"].backward()
    assert method.model.extractor.state_queries.grad.any(1).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"told": 1.5}, "extractor.told=1.5; expected a number from 0 to 1; correct the option"),
        ({"layers": 0}, "extractor.layers=0; expected a whole number from 1; correct the option"),
    ],
)
def test_bad_options(options: dict, says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        make(**options)
    assert str(error.value) == says
