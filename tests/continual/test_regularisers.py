"""EWC, LwF and distilled label features against figures by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labelwise.classifiers import PerLabelClassifier
from labelwise.continual.regularisers import ElasticWeights, FormerModel, former_answers, former_features
from labelwise.extractors import Pooled
from labelwise.model import LabelModel
from labelwise.runs.continual_settings import ContinualSettings
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


def test_distances_of_features_are_in_units_of_their_length(seeded: torch.Generator) -> None:
    new, old = torch.randn(2, 4, 3, 5, generator=seeded).unbind()
    distances = [float(((new[b, k] - old[b, k]) ** 2).sum()) for b in range(4) for k in range(3)]
    lengths = [float((old[b, k] ** 2).sum()) for b in range(4) for k in range(3)]
    loss = former_features(new, old)
    assert loss.item() == pytest.approx(sum(distances) / sum(lengths), rel=1e-5)
    assert former_features(7 * new, 7 * old).item() == pytest.approx(loss.item(), rel=1e-5)
    assert former_features(old, torch.zeros_like(old)).isfinite()


@pytest.mark.parametrize("regulariser", ["lwf", "features"])
def test_a_former_model_judges_the_old_labels_alone(regulariser: str, seeded: torch.Generator) -> None:
    model, grown = linear(), linear(3)
    former = FormerModel(model, [0, 1], regulariser, ContinualSettings(lwf_weight=2.0, feature_weight=2.0))
    (batch,) = batches(torch.randn(1, 3, generator=seeded), torch.ones(1, 3), torch.ones(1, 3) > 0)
    with torch.no_grad():
        old, new = (m(batch.images, is_map=True) for m in (model, grown))
    if regulariser == "lwf":
        expected = 2 * former_answers(new.logits[:, :2], old.logits)
    else:
        expected = 2 * former_features(new.features[:, :2], old.features)
    assert former.penalty(grown, batch).item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-12)
    with torch.no_grad():
        model.classifier.weight += 1.0  # the copy stays
        grown.classifier.weight[2] += 1.0
    assert former.penalty(grown, batch).item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-12)
