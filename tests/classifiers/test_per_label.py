"""A linear classifier per label."""

from __future__ import annotations

import pytest
import torch

from labelwise.classifiers import PerLabelClassifier


def slow_logits(classifier: PerLabelClassifier, features: torch.Tensor) -> list[list[float]]:
    w, b = classifier.weight.tolist(), classifier.bias.tolist()
    return [
        [
            sum(x * y for x, y in zip(vector, w[label], strict=True)) + b[label]
            for label, vector in enumerate(image)
        ]
        for image in features.tolist()
    ]


@pytest.mark.parametrize(("batch", "labels", "dim"), [(3, 5, 4), (1, 1, 4), (2, 3, 1)])
def test_equals_a_scalar_product_per_label(
    seeded: torch.Generator, batch: int, labels: int, dim: int
) -> None:
    classifier = PerLabelClassifier(labels, dim).double()
    torch.nn.init.normal_(classifier.bias)
    features = torch.randn(batch, labels, dim, generator=seeded, dtype=torch.float64)
    expected = torch.tensor(slow_logits(classifier, features), dtype=torch.float64)
    torch.testing.assert_close(classifier(features), expected, rtol=0, atol=1e-12)


def test_a_shared_vector_takes_another_path_to_the_same_numbers(seeded: torch.Generator) -> None:
    classifier = PerLabelClassifier(5, 4)
    shared = torch.randn(3, 1, 4, generator=seeded).expand(-1, 5, -1)
    torch.testing.assert_close(classifier(shared, shared=True), classifier(shared), rtol=0, atol=1e-6)


def test_a_label_reads_its_own_feature_only(seeded: torch.Generator) -> None:
    classifier = PerLabelClassifier(4, 3)
    features = torch.randn(2, 4, 3, generator=seeded, requires_grad=True)
    classifier(features)[:, 1].sum().backward()
    assert features.grad is not None
    assert features.grad.abs().sum((0, 2)).nonzero().flatten().tolist() == [1]


def test_start_values_are_within_the_inverse_root_of_the_width(seeded: torch.Generator) -> None:
    classifier = PerLabelClassifier(200, 16)
    assert 0.2 < classifier.weight.abs().max() <= 0.25
    assert not classifier.bias.any()
