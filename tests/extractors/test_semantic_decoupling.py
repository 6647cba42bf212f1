"""Semantic decoupling against its published five layers, spelled out place by place in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.errors import LabelwiseError
from labelwise.extractors import SemanticDecoupling
from labelwise.relations import LabelVectors
from largest_tensor import LargestTensor
from tolerance import summed

CLOSE = {"rtol": 0, "atol": 1e-10}


def make(channels: int = 6, labels: int = 3, **options: Any) -> SemanticDecoupling:
    """A module in float64 without dropout, whose scores are large enough that maps are far from uniform."""
    off = {"dropout": 0.0, "map_dropout": 0.0, "normalise": "none"}
    vectors = LabelVectors(labels, 5)
    module = SemanticDecoupling(channels, labels, vectors, **{"joint": 4, **off, **options})
    with torch.no_grad():
        for p in module.parameters():
            p.normal_(std=1.5)
    return module.double()


def a_map(channels: int = 6, h: int = 2, w: int = 5, batch: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, h, w, generator=generator, dtype=torch.float64)


def five_layers(module: SemanticDecoupling, x: Tensor, b3: Tensor, b4: Tensor) -> tuple[Tensor, Tensor]:
    """U, V, tanh, fc3, fc4 for every pair, biases included, and a map of every label: `[B, P, L, C]` is made."""
    scores: Any = module.scores
    places = x.flatten(2).transpose(1, 2)[:, :, None]
    pairs = torch.tanh((places @ scores.U.weight.T) * (scores.vectors() @ scores.V.weight.T))
    a = (pairs @ scores.fc3.weight.T + b3) @ scores.fc4.weight.T + b4
    a = a.exp() / a.exp().sum(1, keepdim=True)
    return (a * places).sum(1), a[..., 0].transpose(1, 2).unflatten(2, x.shape[2:])


def slow(module: SemanticDecoupling, x: Tensor) -> Tensor:
    """Features by loops over images, labels and places."""
    scores: Any = module.scores
    v, features = scores.vectors(), []
    for image in x.flatten(2):
        for label in range(module.num_labels):
            at = scores.V.weight @ v[label]
            raw = []
            for place in image.T:
                met = torch.tanh(
                    torch.stack([a * b for a, b in zip(scores.U.weight @ place, at, strict=True)])
                )
                raw.append((scores.fc4.weight @ (scores.fc3.weight @ met))[0].exp())
            features.append(sum(r / sum(raw) * place for r, place in zip(raw, image.T, strict=True)))
    return torch.stack(features).unflatten(0, (len(x), module.num_labels))


@torch.no_grad()
@pytest.mark.parametrize("labels", [1, 7])
def test_equals_loops_over_places(labels: int, seeded: torch.Generator) -> None:
    module, x = make(labels=labels), a_map()
    torch.testing.assert_close(module(x).features, slow(module, x), **CLOSE)


@pytest.mark.parametrize("chunk", [0, 1, 7, 9])
def test_equals_the_five_layers_in_values_and_gradients(chunk: int, seeded: torch.Generator) -> None:
    module, x = make(labels=9, chunk=chunk), a_map().requires_grad_()
    b3, b4 = torch.randn(4, dtype=x.dtype).requires_grad_(), torch.randn(1, dtype=x.dtype).requires_grad_()
    of = [x, *module.parameters()]
    assert len(of) == 6
    expected, maps = five_layers(module, x, b3, b4)
    out = module(x, want_maps=True)
    torch.testing.assert_close(out.features, expected, **CLOSE)
    torch.testing.assert_close(out.maps.double(), maps, rtol=0, atol=1e-6)
    weight = torch.randn(expected.shape, generator=seeded, dtype=x.dtype)
    wanted = torch.autograd.grad((expected * weight).sum(), [*of, b3, b4])
    gradients = torch.autograd.grad((out.features * weight).sum(), of)
    for a, b in zip(gradients, wanted, strict=False):
        assert b.abs().max() > 1e-3
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    for none in wanted[-2:]:  # what the module leaves out
        assert none.abs().max() < 1e-12


@torch.no_grad()
def test_a_trunk_pools_squares_then_changes_the_width(seeded: torch.Generator) -> None:
    module, x = make(pool=2, width=8).eval(), a_map(h=4, w=6)
    squeeze: Any = module.squeeze
    squeeze[1].running_mean.normal_()
    squares = torch.stack(
        [x[:, :, i : i + 2, j : j + 2].mean((2, 3)) for i in (0, 2) for j in (0, 2, 4)], 2
    ).unflatten(2, (2, 3))
    mixed = torch.einsum("oc,bchw->bohw", squeeze[0].weight[:, :, 0, 0], squares)
    norm = squeeze[1]
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    held = (mixed - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]
    out = module(x, want_maps=True)
    torch.testing.assert_close(out.features, slow(module, held), **CLOSE)
    assert out.maps.shape == (2, 3, 2, 3)
    torch.testing.assert_close(out.mass.double(), held.sum(1), **summed(8, held.abs().sum(1)))


@torch.no_grad()
def test_an_odd_edge_is_averaged_over_what_it_has(seeded: torch.Generator) -> None:
    module, x = make(pool=2), a_map(h=3, w=3)
    held = torch.stack([x[:, :, i : i + 2, j : j + 2].mean((2, 3)) for i in (0, 2) for j in (0, 2)], 2)
    torch.testing.assert_close(module(x).features, slow(module, held.unflatten(2, (2, 2))), **CLOSE)


@torch.no_grad()
def test_collapsed_weights_are_the_product_of_the_factored(seeded: torch.Generator) -> None:
    module, collapsed, x = make(), make(parametrisation="collapsed"), a_map()
    state = module.state_dict()
    state["scores.fc4.weight"] = state["scores.fc4.weight"] @ state.pop("scores.fc3.weight")
    collapsed.load_state_dict(state)
    torch.testing.assert_close(collapsed(x).features, module(x).features, **CLOSE)


@torch.no_grad()
def test_maps_and_mass_are_given_when_asked_for(seeded: torch.Generator) -> None:
    module, x = make(labels=5), a_map(h=7, w=3)
    out = module(x, want_maps=True)
    assert out.maps.shape == (2, 5, 7, 3)
    assert (out.maps >= 0).all()
    torch.testing.assert_close(out.maps.sum((2, 3)), torch.ones(2, 5))
    torch.testing.assert_close(out.mass, x.sum(1).float())
    assert module(x).maps is None
    assert module(x).mass is None


@pytest.mark.parametrize("labels", [1, 3])
def test_gradients_are_the_derivative(labels: int, seeded: torch.Generator) -> None:
    module, x = make(4, labels, normalise="rms"), a_map(4, 2, 3).requires_grad_()
    scores: Any = module.scores
    learned = (x, scores.U.weight, scores.V.weight, scores.fc3.weight, scores.fc4.weight)
    assert torch.autograd.gradcheck(lambda x, *_: module(x).features, learned, fast_mode=True)


@pytest.mark.parametrize(("batch", "labels", "h", "w"), [(1, 1, 1, 1), (1, 3, 1, 1), (2, 1, 3, 1)])
def test_smallest_sizes(batch: int, labels: int, h: int, w: int, seeded: torch.Generator) -> None:
    module, x = make(labels=labels), a_map(h=h, w=w, batch=batch)
    torch.testing.assert_close(module(x).features, slow(module, x), **CLOSE)
    assert make(labels=labels, pool=2)(x).features.isfinite().all()


@torch.no_grad()
def test_a_label_does_not_depend_on_another_labels_vector(seeded: torch.Generator) -> None:
    module, x = make(labels=4), a_map()
    before = module(x).features
    module.scores.vectors.learned[2].normal_()
    after = module(x).features
    assert torch.equal(before[:, [0, 1, 3]], after[:, [0, 1, 3]])
    assert not torch.allclose(before[:, 2], after[:, 2])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_stay_finite_on_large_maps(dtype: torch.dtype, seeded: torch.Generator) -> None:
    module = SemanticDecoupling(16, 5, LabelVectors(5, 4), joint=8, map_dropout=0.0).to(dtype)
    x = (1e3 * a_map(16, 4, 4)).to(dtype).requires_grad_()
    out = module(x, want_maps=True)
    out.features.float().mean().backward()
    assert out.features.dtype == dtype
    assert out.maps.dtype == torch.float32
    for t in (out.features, x.grad, *(p.grad for p in module.parameters())):
        assert t.isfinite().all()


def test_dropout_acts_in_training_alone(seeded: torch.Generator) -> None:
    module, x = make(dropout=0.5), a_map()
    assert (module(x).features == 0).any()
    assert torch.equal(module.eval()(x).features, module(x).features)


@pytest.mark.parametrize("options", [{"joint": 0}, {"width": -1}, {"pool": -1}], ids=str)
def test_widths_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(LabelwiseError) as error:
        SemanticDecoupling(6, 3, LabelVectors(3), **options)
    ((name, value),) = options.items()
    least = 1 if name == "joint" else 0
    wanted = f"extractor.{name}={value}; expected a whole number from {least}; correct the option"
    assert str(error.value) == wanted


@pytest.mark.parametrize("want_maps", [False, True])
def test_memory_is_linear_in_labels_without_the_tanh_of_all_pairs(want_maps: bool) -> None:
    batch, labels, side, joint, channels = 2, 2000, 7, 32, 24
    module = SemanticDecoupling(channels, labels, LabelVectors(labels, 5), joint=joint)
    x = torch.randn(batch, channels, side, side)
    with LargestTensor() as seen:
        module(x, want_maps).features.sum().backward()
    assert 0 < seen.elements <= max(batch * labels * side * side, 2**20)
    assert seen.elements < batch * labels * side * side * joint / 5


@torch.no_grad()
def test_an_exported_graph_gives_the_same_features(seeded: torch.Generator) -> None:
    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = SemanticDecoupling(6, 3, LabelVectors(3, 5), joint=4).eval()

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.head(x).features)

    module, x = Features(), a_map().float()
    program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    assert not any("tanh_scores" in str(node.target).lower() for node in program.graph.nodes)
    other = a_map(batch=3, seed=4).float()
    terms = 6 + 5 + 4 + other[0, 0].numel()  # channels, a vector, the joint space, places
    bound = summed(terms, 2 * other.abs().max())
    torch.testing.assert_close(program.module()(other), module(other), **bound)


def test_one_image_of_one_place_trains_with_a_narrower_map() -> None:
    module = make(width=4).train()
    output = module(a_map(h=1, w=1, batch=1))
    output.features.sum().backward()
    assert output.features.isfinite().all()
