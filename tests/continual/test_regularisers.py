"""EWC and LwF against figures by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labelwise.classifiers import PerLabelClassifier
from labelwise.continual.regularisers import ElasticWeights, former_answers
from labelwise.extractors import Pooled
from labelwise.model import LabelModel
from labelwise.types import Batch, Targets


def linear(labels: int = 2) -> LabelModel:
    """`z = W x + b` of a map of one place."""
    return LabelModel(nn.Identity(), Pooled(3, labels, normalise="none"), PerLabelClassifier(labels, 3))


def batches(x: torch.Tensor, y: torch.Tensor, known: torch.Tensor) -> list[Batch]:
    return [
        Batch(x[i : i + 1, :, None, None], Targets(y[i : i + 1], known[i : i + 1]), torch.tensor([i]), True)
        for i in range(len(x))
    ]


def test_importance_by_hand(seeded: torch.Generator) -> None:
    model = linear()
    x, y = torch.randn(5, 3, generator=seeded), (torch.rand(5, 2, generator=seeded) > 0.5).float()
    known = torch.rand(5, 2, generator=seeded) > 0.3
    held = ElasticWeights(2.0)
    assert held.penalty(model).item() == 0
    held.remember(model, batches(x, y, known))
    p = torch.sigmoid(x @ model.classifier.weight.T + model.classifier.bias).detach()
    slope = (p - y) * known  # of the summed log-likelihood by each logit, image by image
    for label in range(2):
        for d in range(3):
            slow = sum(float((slope[i, label] * x[i, d]) ** 2) for i in range(5)) / 5
            assert float(held.fisher["classifier.weight"][label, d]) == pytest.approx(slow, rel=1e-4)
    assert held.penalty(model).item() == 0


def test_the_penalty_grows_with_the_square(seeded: torch.Generator) -> None:
    model = linear()
    held = ElasticWeights(3.0)
    ones = torch.ones(2, 2)
    held.remember(model, batches(torch.randn(2, 3, generator=seeded), ones, ones > 0))
    with torch.no_grad():
        model.classifier.bias += torch.tensor([0.1, 0.0])
        small = held.penalty(model).item()
        assert small == pytest.approx(1.5 * held.fisher["classifier.bias"][0].item() * 0.01, rel=1e-4)
        model.classifier.bias += torch.tensor([0.1, 0.0])
    assert held.penalty(model).item() == pytest.approx(4 * small, rel=1e-4)


def test_new_labels_cost_nothing(seeded: torch.Generator) -> None:
    ones = torch.ones(2, 2)
    held = ElasticWeights(1.0)
    old, grown = linear(), linear(3)
    held.remember(old, batches(torch.randn(2, 3, generator=seeded), ones, ones > 0))
    with torch.no_grad():
        grown.classifier.weight[:2], grown.classifier.bias[:2] = old.classifier.weight, old.classifier.bias
        grown.classifier.weight[2] = 50.0
    assert held.penalty(grown).item() == 0
    held.load(ElasticWeights(1.0).state())
    assert held.penalty(grown).item() == 0


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_former_answers_are_least_where_they_are_kept(temperature: float, seeded: torch.Generator) -> None:
    old = torch.randn(4, 3, generator=seeded)
    new = torch.cat([old, torch.randn(4, 2, generator=seeded)], 1).requires_grad_()
    loss = former_answers(new, old, temperature)
    loss.backward()
    assert new.grad is not None
    assert new.grad.abs().max().item() < 1e-7
    slow = F.binary_cross_entropy(torch.sigmoid(old / temperature), torch.sigmoid(old / temperature))
    assert loss.item() == pytest.approx(temperature**2 * slow.item(), rel=1e-4)
    assert former_answers(new + 0.5, old, temperature) > loss
