"""The controls of experiments, with every method that has a part for them, against slow forms written by hand."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from labelwise.errors import LabelwiseError
from labelwise.extractors.attentive import Attentive
from labelwise.methods import create_method
from labelwise.model import LabelModel
from labelwise.registry import list_methods
from labelwise.types import LabelPriors, Output, Targets

CLOSE = {"rtol": 0, "atol": 1e-9}
NAMES = tuple("abcde")
CHANNELS, H, W = 8, 4, 3
UNIFORM, NO_EDGES = "uniform-attention", "no-edges"
ATTENTIVE = [name for name in list_methods() if not name.startswith("baseline-") and name != "ml-gcn"]
GRAPHS = ("dsrb", "hst", "ml-gcn", "sarb", "ssgrl", "sst")
BEFORE = ("ml-decoder", "query2label", "tdrg")
"""Methods whose places pass a layer that is not linear before labels attend to them."""
LAYERS = {"dim": 8, "heads": 2, "ffn": 6}
SMALL: dict[str, dict[str, Any]] = {
    **{name: {"dim": 8} for name in ("add-gcn", "class-features")},
    **dict.fromkeys(("c-tran", "ml-decoder", "query2label", "tdrg"), LAYERS),
    **{name: {**LAYERS, "position": "sine"} for name in ("dafl", "dlfl")},
}
SCORES = {
    "dlfl": r"steps\.\d\.query\.weight",
    "dafl": r"steps\.\d\.query\.weight",
    "ssgrl": r"scores\.fc4\.weight",
    "ml-decoder": r"layer\.attention\.query\.weight",
    "query2label": r"decoder\.\d\.attention\.query\.weight",
    "class-features": r"score\.weight",
    "tdrg": r"score\.weight",
}
"""Parameters that make the scores of all places equal if they are 0."""


class Maps(nn.Module):
    out_channels = CHANNELS


def counted() -> LabelPriors:
    y = (torch.rand(40, 5, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    return LabelPriors.count(Targets.of(y))


def built(name: str, *controls: str, **options: Any) -> LabelModel:
    """A model in float64 whose attention is far from uniform, the same with and without controls."""
    torch.manual_seed(0)
    extractor = {"normalise": "none", **SMALL.get(name, {}), **options}
    model = create_method(
        name, NAMES, Maps(), controls=controls, priors=counted(), extractor=extractor
    ).model.eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    return model.double()


def a_map(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, CHANNELS, H, W, generator=generator, dtype=torch.float64)


def output(model: LabelModel, x: Tensor) -> Output:
    return model(x, want_maps=True, is_map=True)


def test_these_are_all_methods_with_attention() -> None:
    plain = {name: create_method(name, NAMES, Maps()).model.extractor for name in list_methods()}
    assert [name for name, extractor in plain.items() if isinstance(extractor, Attentive)] == ATTENTIVE


@torch.no_grad()
@pytest.mark.parametrize("name", ATTENTIVE)
def test_labels_see_the_mean_alone(name: str) -> None:
    """Of two maps with the same mean, and of one without the place that it had."""
    plain, control, x = built(name), built(name, UNIFORM), a_map()
    assert list(control.state_dict()) == list(plain.state_dict())
    other = x.roll(1, 2) + (a_map(5) - a_map(5).mean((2, 3), keepdim=True))
    torch.testing.assert_close(other.mean((2, 3)), x.mean((2, 3)), **CLOSE)
    seen = output(control, x)
    torch.testing.assert_close(seen.maps, torch.full_like(seen.maps, 1 / 12))
    torch.testing.assert_close(control(x, is_map=True).logits, seen.logits, **CLOSE)
    assert not torch.allclose(output(plain, x).maps.double(), seen.maps.double(), atol=1e-2)
    assert not torch.allclose(output(plain, x).logits, output(plain, other).logits, atol=1e-3)
    is_equal = torch.allclose(output(control, other).logits, seen.logits, **CLOSE)
    assert is_equal is (name not in BEFORE)


@torch.no_grad()
@pytest.mark.parametrize("name", SCORES)
def test_it_equals_attention_by_scores_of_zero(name: str) -> None:
    plain, control, x = built(name), built(name, UNIFORM), a_map()
    before = output(plain, x).decoupled
    for key, p in plain.extractor.named_parameters():
        if re.fullmatch(SCORES[name], key):
            p.zero_()
    expected, seen = output(plain, x), output(control, x)
    # The sine code itself is made in fp32, and so are the scores of some.
    torch.testing.assert_close(seen.decoupled, expected.decoupled, rtol=0, atol=1e-6)
    torch.testing.assert_close(seen.maps.double(), expected.maps.double(), rtol=0, atol=1e-6)
    assert not torch.allclose(before, expected.decoupled, atol=1e-2)
    if name not in ("class-features", "tdrg"):  # these also score labels by what is 0
        torch.testing.assert_close(seen.logits, expected.logits, rtol=0, atol=1e-5)


def mean_of(image: Tensor) -> Tensor:
    return sum(image[:, i, j] for i in range(H) for j in range(W)) / (H * W)  # type: ignore[return-value]


@torch.no_grad()
def test_csra_is_a_scaled_mean() -> None:
    model, x = built("csra", UNIFORM, heads=2, lam=0.3), a_map()
    out, (one, two) = output(model, x), model.extractor.weight
    for image, features, logits in zip(x, out.features, out.logits, strict=True):
        mean = 1.3 * mean_of(image)
        for label in range(5):
            torch.testing.assert_close(features[label], torch.cat([mean, mean]), **CLOSE)
            score = sum(w[label] @ mean / w[label].norm() for w in (one, two))
            torch.testing.assert_close(logits[label], score, **CLOSE)


@torch.no_grad()
def test_mcar_is_the_whole_map() -> None:
    model, x = built("mcar", UNIFORM), a_map()
    out, head = output(model, x), model.extractor
    for row, image in enumerate(x):
        mean = mean_of(image)
        pooled = mean / mean.square().mean().sqrt()
        score = head.weight @ pooled + head.bias
        for logits in (out.logits, out.branches["whole"], out.branches["regions"]):
            torch.testing.assert_close(logits[row], score, **CLOSE)
        torch.testing.assert_close(out.features[row], pooled.expand(5, -1), **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("name", ["add-gcn", "class-features"])
def test_activation_keeps_its_factor_and_the_mean_score(name: str) -> None:
    model, x = built(name, UNIFORM), a_map()
    out, head = output(model, x), model.extractor
    own = model.extractor(x).logits
    for row, image in enumerate(x):
        mean = mean_of(image)
        for label in range(5):
            score = head.score.weight[label] @ mean + head.score.bias[label]
            factor = 1 / (1 + (-score).exp()) if name == "add-gcn" else 1
            feature = factor * (head.value.weight @ mean + head.value.bias)
            torch.testing.assert_close(out.decoupled[row, label], feature, **CLOSE)
            torch.testing.assert_close(own[row, label], score, **CLOSE)


@torch.no_grad()
def test_c_tran_is_itself_on_the_mean_map() -> None:
    plain, control, x = built("c-tran"), built("c-tran", UNIFORM), a_map()
    flat = torch.stack([mean_of(image) for image in x])[:, :, None, None].expand_as(x)
    torch.testing.assert_close(output(control, x).logits, output(plain, flat).logits, **CLOSE)


@torch.no_grad()
def test_ssgrl_keeps_the_mass_of_places_and_the_size_of_the_pooled_map() -> None:
    plain, control, x = built("ssgrl", pool=2), built("ssgrl", UNIFORM, pool=2), a_map()
    expected, seen = output(plain, x), output(control, x)
    assert seen.maps.shape == (2, 5, 2, 2)
    torch.testing.assert_close(seen.mass, expected.mass)


@pytest.mark.parametrize("name", ["dlfl", "query2label", "ssgrl"])
def test_scores_learn_nothing_and_the_rest_does(name: str) -> None:
    model = built(name, UNIFORM)
    output(model, a_map()).logits.square().sum().backward()
    sizes = {k: p.grad.abs().max().item() for k, p in model.named_parameters() if p.grad is not None}
    for key in (k for k in sizes if re.search(SCORES[name], k)):
        assert sizes[key] < 1e-9 * max(sizes.values())
    assert all(v > 1e-6 * max(sizes.values()) for k, v in sizes.items() if "value" in k or "classifier" in k)


def matrix(model: LabelModel) -> Tensor:
    buffers = dict(model.named_buffers())
    return next(b for key, b in buffers.items() if key.endswith(("relation.graph", "weights.adjacency")))


@torch.no_grad()
@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_without_edges_is_the_identity(name: str) -> None:
    made = []
    for controls in ((), (NO_EDGES,)):
        torch.manual_seed(0)
        made.append(create_method(name, NAMES, Maps(), priors=counted(), controls=controls))
    plain, control = made
    assert not torch.equal(matrix(plain.model), torch.eye(5))
    assert torch.equal(matrix(control.model), torch.eye(5))
    for key, value in control.model.state_dict().items():
        assert torch.equal(value, plain.model.state_dict()[key]) or value.shape == (5, 5)
    if control.model.relation is not None:
        features = torch.randn(2, 5, CHANNELS)
        before = control.model.relation(features)
        features[:, 1] += 1
        after = control.model.relation(features)
        assert torch.equal(after[:, [0, 2, 3, 4]], before[:, [0, 2, 3, 4]])
        assert not torch.allclose(after[:, 1], before[:, 1], atol=1e-3)


def test_without_edges_ml_gcn_learns_from_its_own_label() -> None:
    model = built("ml-gcn", NO_EDGES)
    output(model, a_map()).logits[:, 1].sum().backward()
    grad = model.classifier.weights.vectors.learned.grad
    assert grad.abs().sum(1).nonzero().flatten().tolist() == [1]


def test_without_edges_vectors_and_losses_keep_the_statistics() -> None:
    priors = dataclasses.replace(counted(), vectors=torch.randn(5, 6))
    methods = [
        create_method("ssgrl", NAMES, Maps(), priors=priors, controls=c, loss={"name": "weighted-bce"})
        for c in ((), (NO_EDGES,))
    ]
    logits, targets = torch.randn(3, 5), Targets.of(torch.rand(3, 5).round())
    losses = [method.criterion(logits, targets) for method in methods]
    assert torch.equal(*losses)
    uncounted = create_method(
        "ssgrl", NAMES, Maps(), priors=LabelPriors.nothing(5, priors.vectors), loss={"name": "weighted-bce"}
    )
    assert not torch.equal(uncounted.criterion(logits, targets), losses[0])
    for method in methods:
        assert torch.equal(method.model.extractor.scores.vectors.given, priors.vectors)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        (
            "baseline-gap",
            {"controls": [UNIFORM]},
            "for Pooled, whose labels do not attend to places; expected",
        ),
        ("ml-gcn", {"controls": [UNIFORM]}, "for Pooled, whose labels do not attend to places; expected"),
        ("dlfl", {"controls": [NO_EDGES]}, "for a method without a graph of co-occurring labels; expected"),
        ("dlfl", {"controls": ["blind"]}, "control 'blind'; expected one of uniform-attention, no-edges; "),
        (
            "dlfl",
            {"controls": [UNIFORM], "regions": {"outside": 0.1, "labels": {"a": [0, 0.5]}}},
            "controls=uniform-attention with regions.outside under 1; expected one of them",
        ),
    ],
)
def test_a_control_without_effect_is_refused(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        create_method(name, NAMES, Maps(), **options)
    assert says in str(error.value)
