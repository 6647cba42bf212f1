"""A classifier whose weights come from a graph of label vectors."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from labelwise.classifiers import GraphClassifier
from labelwise.relations import GCN, LabelVectors
from labelwise.types import LabelPriors, Targets


def make(labels: int = 4, dim: int = 3, **options: Any) -> GraphClassifier:
    y = (torch.rand(50, labels, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    priors = LabelPriors.count(Targets.of(y))
    weights = partial(GCN, vectors=LabelVectors(labels, 5))
    return GraphClassifier(labels, dim, weights, **{"priors": priors, **options}).double()


@torch.no_grad()
@pytest.mark.parametrize(("batch", "labels", "dim"), [(3, 4, 3), (1, 1, 3), (2, 3, 1)])
def test_equals_a_scalar_product_with_the_graphs_vectors(
    batch: int, labels: int, dim: int, seeded: torch.Generator
) -> None:
    classifier = make(labels, dim, hidden=16)
    features = torch.randn(batch, labels, dim, generator=seeded, dtype=torch.float64)
    rows = classifier.weights().tolist()
    expected = [
        [sum(x * w for x, w in zip(f, rows[i], strict=True)) / 4 for i, f in enumerate(image)]
        for image in features.tolist()
    ]
    torch.testing.assert_close(classifier(features), torch.tensor(expected, dtype=torch.float64))


@torch.no_grad()
def test_a_shared_vector_takes_another_path_to_the_same_numbers(seeded: torch.Generator) -> None:
    classifier = make()
    shared = torch.randn(2, 1, 3, generator=seeded, dtype=torch.float64).expand(-1, 4, -1)
    torch.testing.assert_close(classifier(shared, shared=True), classifier(shared), rtol=0, atol=1e-12)


def test_a_labels_score_teaches_its_neighbours_vectors_too(seeded: torch.Generator) -> None:
    features = torch.randn(2, 4, 3, generator=seeded, dtype=torch.float64)
    for options, reached in (({}, [0, 1, 2, 3]), ({"priors": None}, [1])):
        classifier = make(threshold=0.1, **options)
        classifier(features)[:, 1].sum().backward()
        grad = classifier.weights.vectors.learned.grad
        assert grad.abs().sum(1).nonzero().flatten().tolist() == reached


def test_options_reach_the_graph() -> None:
    made = {}

    def weights(**options: Any) -> torch.nn.Module:
        made.update(options)
        return torch.nn.Identity()

    asked = {
        "hidden": 9,
        "threshold": 0.3,
        "share": 0.2,
        "kappa": 5.0,
        "inclusive": True,
    }
    priors = LabelPriors.nothing(4)
    assert GraphClassifier(4, 3, weights, priors=priors, **asked).scale == pytest.approx(1 / 3)
    assert made == {"num_labels": 4, "dim": 3, "priors": priors, **asked}
