"""The sentence: how a model joins the answers of its parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from labelwise.classifiers import PerLabelClassifier
from labelwise.composition.compose import Options, Part, compose
from labelwise.errors import LabelwiseError
from labelwise.extractors import Pooled, QueryAttention
from labelwise.methods import create_method, create_model
from labelwise.model import LabelModel
from labelwise.types import LabelFeatures, LabelSet, Targets

LABELS, DIM = 3, 4


class Whole(nn.Module):
    """A backbone that gives the photograph back."""

    out_channels = 3

    def forward(self, images: Tensor) -> Tensor:
        return images.float()


class Answers(nn.Module):
    """An extractor whose answers are known beforehand; it remembers the states that it was given."""

    dim, num_labels = DIM, LABELS

    def __init__(self, channels: int = 3, num_labels: int = LABELS, own: bool = True, **more: Any) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.own, self.more, self.states = own, more, None

    def forward(self, x: Tensor, want_maps: bool = False, states: Targets | None = None) -> LabelFeatures:
        self.states = states
        features = self.scale * torch.arange(LABELS * DIM).float().view(1, LABELS, DIM).expand(len(x), -1, -1)
        maps = torch.full((len(x), LABELS, 2, 2), 0.25)
        own = torch.full((len(x), LABELS), 10.0) if self.own else None
        return LabelFeatures(features, maps, own, **self.more)


class Doubled(nn.Module):
    """A relation that anybody can check."""

    dim = DIM

    def __init__(self, dim: int = DIM, num_labels: int = LABELS) -> None:
        super().__init__()

    def forward(self, features: Tensor) -> Tensor:
        return 2 * features


class Sums(nn.Module):
    """A classifier that anybody can check."""

    def __init__(self, num_labels: int = LABELS, dim: int = DIM) -> None:
        super().__init__()

    def forward(self, features: Tensor) -> Tensor:
        return features.sum(2)


IMAGES = torch.zeros(2, 3, 2, 2)
SUMS = torch.tensor([[6.0, 22.0, 38.0]]).expand(2, -1)


@torch.no_grad()
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_own_logits_count_by_their_share(share: float) -> None:
    model = LabelModel(Whole(), Answers(), Sums(), own_share=share)
    torch.testing.assert_close(model(IMAGES).logits, (1 - share) * SUMS + share * 10)


@torch.no_grad()
def test_without_a_classifier_the_extractor_decides_alone() -> None:
    model = LabelModel(Whole(), Answers(), None, Doubled(), own_share=0.25)
    out = model(IMAGES)
    assert out.logits.tolist() == [[10.0] * 3] * 2
    features, logits = model.relate(out.decoupled)
    assert logits is None
    assert torch.equal(features, out.features)
    assert torch.equal(out.features, 2 * out.decoupled)


@torch.no_grad()
def test_without_own_logits_the_classifier_decides_alone() -> None:
    out = LabelModel(Whole(), Answers(own=False), Sums(), Doubled(), own_share=0.9)(IMAGES)
    torch.testing.assert_close(out.logits, 2 * SUMS)


def test_nobody_to_give_logits_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="needs a classifier"):
        LabelModel(Whole(), Answers(own=False), None)(IMAGES)


@torch.no_grad()
def test_branches_are_earlier_steps_and_the_extractors_own() -> None:
    earlier = [torch.ones(2, LABELS, DIM), torch.zeros(2, LABELS, DIM)]
    extractor = Answers(earlier=earlier, branches={"coarse": torch.full((2, LABELS), 5.0)})
    branches = LabelModel(Whole(), extractor, Sums(), Doubled())(IMAGES).branches
    assert {name: logits.unique().tolist() for name, logits in branches.items()} == {
        "step_1": [8.0],
        "step_2": [0.0],
        "coarse": [5.0],
    }


@torch.no_grad()
def test_half_precision_logits_are_widened() -> None:
    model = LabelModel(Whole(), Answers(own=False), PerLabelClassifier(LABELS, DIM))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(IMAGES).logits.dtype == torch.float32


@torch.no_grad()
def test_states_reach_an_extractor_that_takes_them() -> None:
    extractor, states = Answers(), Targets.of(torch.ones(2, LABELS))
    LabelModel(Whole(), extractor, None, takes_states=True)(IMAGES, states=states)
    assert extractor.states is states


def test_states_for_another_method_are_refused() -> None:
    model = create_model("baseline-gap", Whole(), ["a", "b"])
    with pytest.raises(LabelwiseError) as error:
        model(IMAGES, states=Targets.of(torch.ones(2, 2)))
    assert str(error.value) == (
        "known label states for a method that cannot use them; expected a method such as c-tran; leave them out"
    )


def test_a_composition_without_a_classifier() -> None:
    labels = LabelSet(("a", "b", "c"))
    scoring = type("Scoring", (Answers,), {"own_logits": True})
    method = compose(labels, Whole(), Options(), Part(scoring))
    assert method.model.classifier is None
    assert not any("classifier" in name for name in method.state_dict())
    assert compose(labels, Whole(), Options(), Part(Pooled)).model.classifier is not None


@pytest.mark.parametrize(
    ("name", "room"), [("csra", "classifier"), ("csra", "relation"), ("dlfl", "relation")]
)
def test_options_of_a_part_that_is_not_there_are_refused(name: str, room: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        create_method(name, ["a", "b"], Whole(), **{room: {"width": 3}})
    assert str(error.value) == f"{room}.width; expected a method with a {room}; leave it out"


@torch.no_grad()
def test_stored_maps_pass_over_the_backbone(seeded: torch.Generator) -> None:
    extractor = QueryAttention(3, LABELS, dim=DIM, ffn=2).eval()
    model = LabelModel(nn.Identity(), extractor, PerLabelClassifier(LABELS, DIM))
    model.backbone.forward = None  # type: ignore[assignment]
    x = torch.rand(2, 3, 2, 2, generator=seeded)
    assert model(x, is_map=True).logits.shape == (2, LABELS)
    with pytest.raises(TypeError):
        model(x)
