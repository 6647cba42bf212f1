"""Graph convolutions of label vectors."""

from __future__ import annotations

import pytest
import torch

from labelwise.errors import LabelwiseError
from labelwise.relations import GCN, LabelVectors
from labelwise.relations.cooccurrence import conditional, ml_gcn_adjacency
from labelwise.types import LabelPriors, Targets


def counted(labels: int = 4) -> LabelPriors:
    y = (torch.rand(50, labels, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    return LabelPriors.count(Targets.of(y))


def slow(module: GCN) -> list[torch.Tensor]:
    """Two rounds of weighted sums, label by label."""
    a, e = module.adjacency, module.vectors()
    labels = range(len(e))

    def spread(rows: list[torch.Tensor]) -> list[torch.Tensor]:
        return [sum(a[i, j] * rows[j] for j in labels) for i in labels]

    h = spread([module.first.weight @ e[j] for j in labels])
    h = [torch.where(v > 0, v, 0.2 * v) for v in h]
    return spread([module.second.weight @ v for v in h])


@torch.no_grad()
def test_equals_weighted_sums_over_neighbours(seeded: torch.Generator) -> None:
    module = GCN(6, 4, LabelVectors(4, 5), counted(), hidden=3, threshold=0.5).double()
    assert 4 < module.adjacency.count_nonzero() < 16
    torch.testing.assert_close(module(), torch.stack(slow(module)), rtol=0, atol=1e-12)


@torch.no_grad()
def test_without_edges_it_is_two_layers_on_each_vector(seeded: torch.Generator) -> None:
    module = GCN(6, 4, LabelVectors(4, 5), hidden=3).double()
    mlp = torch.nn.Sequential(module.first, torch.nn.LeakyReLU(0.2), module.second)
    torch.testing.assert_close(module(), mlp(module.vectors()), rtol=0, atol=1e-12)


def test_the_adjacency_follows_its_options_and_is_saved() -> None:
    priors = counted()
    module = GCN(6, 4, LabelVectors(4, 5), priors, threshold=0.45, share=0.5, kappa=3.0)
    assert torch.equal(module.adjacency, ml_gcn_adjacency(conditional(priors, 3.0), 0.45, 0.5))
    empty = GCN(6, 4, LabelVectors(4, 5))
    empty.load_state_dict(module.state_dict())
    assert torch.equal(empty.adjacency, module.adjacency)


def test_gradients_are_the_derivative(seeded: torch.Generator) -> None:
    module = GCN(3, 4, LabelVectors(4, 5), counted(), hidden=3).double()
    assert torch.autograd.gradcheck(lambda *_: module(), tuple(module.parameters()))


def test_a_width_of_nothing_is_refused() -> None:
    with pytest.raises(LabelwiseError) as error:
        GCN(6, 4, LabelVectors(4, 5), hidden=0)
    assert str(error.value) == "hidden 0; expected a width >= 1; correct the graph's hidden width"
