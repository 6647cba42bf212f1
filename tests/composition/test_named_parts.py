"""A part of a method replaced by another registered one, by the option `name` of its section."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from labelwise.classifiers import PerLabelClassifier
from labelwise.errors import LabelwiseError
from labelwise.extractors import ClassActivation, Pooled, ResidualAttention
from labelwise.methods import create_method
from labelwise.methods.create import method_parts
from labelwise.registry import EXTRACTORS, METHODS
from labelwise.relations import GGNN

IMAGES = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)


def built(method: str, **options: Any) -> Any:
    return create_method(method, ["a", "b", "c"], "test_resnet", weights="none", image_size=64, **options)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_every_extractor_stands_in_for_that_of_a_method(name: str) -> None:
    model = built("dlfl", extractor={"name": name}).model.eval()
    assert type(model.extractor) is EXTRACTORS[name]
    output = model(IMAGES, want_maps=True)
    assert output.logits.shape == (2, 3)
    torch.testing.assert_close(output.maps.sum((2, 3)), torch.ones(2, 3), rtol=0, atol=1e-5)


def test_options_beside_the_name_are_those_of_the_named_part() -> None:
    model = built("dlfl", extractor={"name": "pooled", "hidden": 6}).model
    assert isinstance(model.extractor, Pooled)
    assert model.extractor.dim == 6
    with pytest.raises(LabelwiseError, match=r"extractor\.heads; expected one of pool, hidden, "):
        built("dlfl", extractor={"name": "pooled", "heads": 2})


def test_the_name_of_the_methods_own_part_changes_nothing() -> None:
    own = built("add-gcn", extractor={"name": "class-activation"}).model.extractor
    assert isinstance(own, ClassActivation)
    assert (own.softmax, own.dim) == (False, 256)


def test_a_relation_is_added_and_classifiers_take_its_width() -> None:
    model = built("dlfl", extractor={"dim": 8, "ffn": 0}, relation={"name": "ggnn", "output": 5}).model
    assert isinstance(model.relation, GGNN)
    assert model.classifier.weight.shape == (3, 5)


def test_an_extractor_that_scores_labels_has_no_classifier() -> None:
    model = built("dlfl", extractor={"name": "residual-attention"}).model
    assert isinstance(model.extractor, ResidualAttention)
    assert model.classifier is None
    assert isinstance(built("csra", extractor={"name": "pooled"}).model.classifier, PerLabelClassifier)
    with pytest.raises(LabelwiseError, match=r"classifier\.name; expected a method with a classifier"):
        built("csra", classifier={"name": "per-label"})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"extractor": {"name": "poold"}},
            "extractor 'poold'; expected one of c-tran, .*; did you mean pooled\\?",
        ),
        (
            {"classifier": {"name": "graph"}},
            "classifier 'GraphClassifier' without weights; expected what its method",
        ),
    ],
)
def test_a_part_that_does_not_fit_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(LabelwiseError, match=says):
        built("dlfl", **options)


def test_the_parts_of_each_method_are_known() -> None:
    assert all({"extractor"} <= set(method_parts(name)) for name in METHODS)
    assert set(method_parts("csra")) == {"extractor"}
    assert set(method_parts("dsrb")) == {"extractor", "relation", "classifier", "blending", "contrast"}
    assert method_parts("dsrb")["relation"].defaults == {"inner": 256}
    state = torch.random.get_rng_state()
    method_parts.cache_clear()
    method_parts("dlfl")
    assert torch.random.get_rng_state().equal(state)
