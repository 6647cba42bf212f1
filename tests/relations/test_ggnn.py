"""The gated graph network against its equations, written out label by label."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from labelwise.errors import LabelwiseError
from labelwise.relations import GGNN
from labelwise.relations.cooccurrence import conditional
from labelwise.types import LabelPriors, Targets

CLOSE = {"rtol": 0, "atol": 1e-12}


def make(dim: int = 4, labels: int = 3, **options: Any) -> GGNN:
    """A network in float64 on a graph that is neither symmetric nor normalised."""
    module = GGNN(dim, labels, None, **options).double()
    module.graph.copy_(torch.rand(labels, labels))
    return module


def features(labels: int = 3, dim: int = 4, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, labels, dim, generator=generator, dtype=torch.float64)


def slow(module: GGNN, f: Tensor, tied: bool = False, skip: bool = False) -> Tensor:
    """Each label of each image on its own, one matrix an equation."""
    if not isinstance(module.inner, nn.Identity):
        layer = module.inner[0]  # type: ignore[index]
        f = torch.stack(
            [torch.stack([torch.tanh(layer.weight @ v + layer.bias) for v in image]) for image in f]
        )
    h = [[module.enter(v) for v in image] for image in f]
    m, gates = module.graph, module.gates
    for _ in range(module.steps):
        assert gates is not None
        W, b = gates.W.weight.chunk(3), gates.W.bias.chunk(3)
        U = (gates.U.weight, gates.U.weight) if tied else gates.U.weight.chunk(2)
        after = []
        for image in h:
            labels, row = range(len(image)), []
            for i in labels:
                inward = sum(m[i, j] * image[j] for j in labels)
                outward = sum(m[j, i] * image[j] for j in labels)
                a = torch.cat([inward, outward])
                s = torch.sigmoid(W[0] @ a + b[0] + U[0] @ image[i])
                r = torch.sigmoid(W[1] @ a + b[1] + U[1] @ image[i])
                c = torch.tanh(W[2] @ a + b[2] + gates.U3.weight @ (r * image[i]))
                row.append((1 - s) * image[i] + s * c)
            after.append(row)
        h = after
    out = [
        [
            torch.tanh(module.out.weight @ torch.cat([x, v]) + module.out.bias)
            for x, v in zip(*pair, strict=True)
        ]
        for pair in zip(h, f, strict=True)
    ]
    made = torch.stack([torch.stack(row) for row in out])
    return f + made if skip else made


OPTIONS = [
    {},
    {"skip": False},
    {"steps": 1},
    {"steps": 0},
    {"hidden": 6},
    {"output": 5},
    {"hidden": 6, "output": 2},
    {"inner": 5},
    {"inner": 5, "hidden": 6, "output": 5},
]


@torch.no_grad()
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("tied", [False, True])
def test_equals_the_equations(options: dict, tied: bool, seeded: torch.Generator) -> None:
    module, f = make(tied=tied, **options), features()
    output = module(f)
    assert (
        output.shape[2] == module.dim == options.get("output", options.get("hidden", options.get("inner", 4)))
    )
    skip = module.dim == options.get("inner", 4) and options.get("skip", True)
    torch.testing.assert_close(output, slow(module, f, tied, skip), **CLOSE)


@torch.no_grad()
def test_without_messages_and_weights_a_state_halves_each_step(seeded: torch.Generator) -> None:
    module, f = make(steps=2), features()
    assert module.gates is not None
    for p in module.gates.parameters():
        p.zero_()
    module.graph.zero_()
    module.out.weight.copy_(torch.eye(4, 8))
    module.out.bias.zero_()
    torch.testing.assert_close(module(f), f + torch.tanh(f / 4), **CLOSE)


def test_tied_gates_have_one_matrix_less(seeded: torch.Generator) -> None:
    sizes = [sum(p.numel() for p in make(tied=tied).parameters()) for tied in (False, True)]
    assert sizes[0] - sizes[1] == 4 * 4


def test_the_graph_is_the_conditional_of_the_priors_and_is_saved() -> None:
    priors = LabelPriors.count(Targets.of((torch.rand(30, 3) < 0.5).float()))
    module = GGNN(4, 3, priors, kappa=2.0)
    assert torch.equal(module.graph, conditional(priors, 2.0))
    empty = GGNN(4, 3, None)
    assert torch.equal(empty.graph, torch.eye(3))
    empty.load_state_dict(module.state_dict())
    assert torch.equal(empty.graph, module.graph)
    assert "graph" not in dict(module.named_parameters())


@torch.no_grad()
def test_an_isolated_label_hears_nobody_and_is_heard_by_nobody(seeded: torch.Generator) -> None:
    module, f = make(), features()
    module.graph[1, [0, 2]] = module.graph[[0, 2], 1] = 0
    before = module(f)
    f[:, 1] += 1
    after = module(f)
    assert torch.equal(before[:, [0, 2]], after[:, [0, 2]])
    module.graph.copy_(torch.eye(3))
    alone = module(f[:, :1].expand(-1, 3, -1))
    torch.testing.assert_close(alone[:, 1], alone[:, 0], **CLOSE)
    assert module(f).isfinite().all()


@torch.no_grad()
def test_permuted_labels_permute_the_features(seeded: torch.Generator) -> None:
    module, f, order = make(), features(), torch.tensor([2, 0, 1])
    expected = module(f)[:, order]
    module.graph.copy_(module.graph[order][:, order])
    torch.testing.assert_close(module(f[:, order]), expected, **CLOSE)


@pytest.mark.parametrize("options", [{}, {"tied": True, "hidden": 3}], ids=str)
def test_gradients_are_the_derivative(options: dict, seeded: torch.Generator) -> None:
    module, f = make(steps=2, **options), features().requires_grad_()
    assert torch.autograd.gradcheck(lambda f, *_: module(f), (f, *module.parameters()))


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_parameter_learns(labels: int, options: dict, seeded: torch.Generator) -> None:
    module = make(labels=labels, **options)
    module(features(labels, batch=1)).square().sum().backward()
    assert [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_bfloat16_stays_finite_on_large_features(seeded: torch.Generator) -> None:
    module, f = GGNN(4, 3, None).bfloat16(), (1e3 * features()).bfloat16().requires_grad_()
    out = module(f)
    out.float().sum().backward()
    assert out.isfinite().all()
    assert f.grad is not None
    assert f.grad.isfinite().all()


@pytest.mark.parametrize("options", [{"inner": -1}, {"steps": -1}, {"hidden": -2}, {"output": -3}], ids=str)
def test_sizes_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(LabelwiseError) as error:
        GGNN(4, 3, None, **options)
    ((name, value),) = options.items()
    wanted = f"relation.{name}={value}; expected a whole number from 0; correct the option"
    assert str(error.value) == wanted
