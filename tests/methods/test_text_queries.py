"""Queries and classifiers that are made from the labels' word vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from labelwise.composition.growth import grow
from labelwise.composition.method import Method
from labelwise.errors import LabelwiseError
from labelwise.methods.create import create_method
from labelwise.types import LabelPriors, LabelSet

NAMES = ("dog", "cat", "car", "bus")
METHODS = ("dlfl", "dafl", "query2label", "ml-decoder")


class Maps(nn.Module):
    """The map itself."""

    out_channels = 6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def built(
    method: str,
    extractor: Mapping[str, Any],
    classifier: Mapping[str, Any] | None = None,
    names: tuple[str, ...] = NAMES,
    vectors: torch.Tensor | None = None,
    missing: tuple[str, ...] = (),
) -> Method:
    torch.manual_seed(0)
    small = {"ffn": 8, "heads": 2, "dim": 8, **extractor}
    labels = LabelSet(names)
    priors = LabelPriors.nothing(len(names), vectors, list(missing))
    options = {"extractor": small, "classifier": classifier or {}, "priors": priors}
    return create_method(method, labels, Maps(), **options).eval()


def word_vectors(rows: int = len(NAMES)) -> torch.Tensor:
    return torch.randn(rows, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", METHODS)
def test_queries_are_the_linear_map_of_unit_word_vectors(method: str) -> None:
    vectors = word_vectors()
    head = built(method, {"queries": "text"}, vectors=vectors).model.extractor
    weight = head.text_queries.weight
    for row, vector in zip(head.label_queries(), vectors, strict=True):
        length = sum(float(v) ** 2 for v in vector) ** 0.5
        slow = [
            sum(float(w) * float(v) / length for w, v in zip(line, vector, strict=True))
            for line in weight.detach()
        ]
        torch.testing.assert_close(row, torch.tensor(slow), atol=1e-6, rtol=1e-5)
    assert "queries" not in dict(head.named_parameters())


@pytest.mark.parametrize("method", METHODS)
def test_a_label_without_training_has_its_query_and_classifier_from_text(method: str) -> None:
    """Labels change places with their vectors, and the step of one label moves the answer of another."""
    vectors, x = word_vectors(), torch.rand(2, 6, 3, 4)
    method_of = built(method, {"queries": "text"}, {"weights": "text"}, vectors=vectors)
    order = torch.tensor([2, 0, 3, 1])
    turned = built(method, {"queries": "text"}, {"weights": "text"}, vectors=vectors[order])
    state = {k: v for k, v in method_of.model.state_dict().items() if not k.endswith("vectors")}
    turned.model.load_state_dict(state, strict=False)
    before = method_of.model(x).logits
    torch.testing.assert_close(turned.model(x).logits, before[:, order], atol=1e-5, rtol=1e-5)
    before[:, 0].sum().backward()
    with torch.no_grad():
        for p in method_of.model.parameters():
            p -= 0.1 * (p.grad if p.grad is not None else 0)
    assert (method_of.model(x).logits[:, 3] - before[:, 3]).abs().min() > 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_a_start_from_text_is_alike_for_like_names_and_learns_alone(method: str) -> None:
    vectors = word_vectors()
    vectors[1] = 3 * vectors[0]
    head = built(method, {"queries": "text-start"}, vectors=vectors).model.extractor
    queries = dict(head.named_parameters())["queries"]
    torch.testing.assert_close(queries[0], queries[1])
    assert (queries[0] - queries[2]).abs().max() > 1e-3


def test_saved_weights_bring_the_vectors_back() -> None:
    """A run is opened with vectors of zeros; what was saved has the true ones."""
    vectors, x = word_vectors(), torch.rand(2, 6, 3, 4)
    first = built("dlfl", {"queries": "text"}, {"weights": "text"}, vectors=vectors)
    second = built("dlfl", {"queries": "text"}, {"weights": "text"}, vectors=torch.zeros_like(vectors))
    second.model.load_state_dict(first.model.state_dict())
    torch.testing.assert_close(second.model(x).logits, first.model(x).logits)


def test_a_new_label_is_named_by_its_text_after_growth() -> None:
    vectors, x = word_vectors(), torch.rand(2, 6, 3, 4)
    options = {"queries": "text"}, {"weights": "text"}
    old = built("dlfl", *options, names=NAMES[:3], vectors=vectors[:3])
    new = built("dlfl", *options, vectors=vectors)
    with torch.no_grad():
        old.model.extractor.text_queries.weight += 0.5
    grow(old.model, new, "dlfl")
    logits = new.model(x).logits
    torch.testing.assert_close(logits[:, :3], old.model(x).logits)
    whole = built("dlfl", *options, vectors=vectors)
    whole.model.load_state_dict(
        {k: v for k, v in old.model.state_dict().items() if not k.endswith("vectors")}, strict=False
    )
    torch.testing.assert_close(logits[:, 3], whole.model(x).logits[:, 3])


@pytest.mark.parametrize(
    ("method", "extractor", "classifier", "vectors", "missing", "message"),
    [
        ("dlfl", {"queries": "text"}, {}, None, (), "extractor.queries=text without word vectors"),
        ("dlfl", {}, {"weights": "text"}, None, (), "classifier.weights=text without word vectors"),
        ("dlfl", {"queries": "text"}, {}, word_vectors(), ("cat",), "no word vector for cat"),
        ("dlfl", {"queries": "words"}, {}, None, (), "one of learned, text-start, text"),
        ("ml-decoder", {"queries": "text", "groups": 2}, {}, word_vectors(), (), "with 2 groups"),
    ],
)
def test_what_is_refused(
    method: str,
    extractor: dict[str, Any],
    classifier: dict[str, Any],
    vectors: torch.Tensor | None,
    missing: tuple[str, ...],
    message: str,
) -> None:
    with pytest.raises(LabelwiseError, match=message):
        built(method, extractor, classifier, vectors=vectors, missing=missing)
