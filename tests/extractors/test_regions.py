"""Where a label may look: regions of labels, and their prior in every extractor that takes it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from labelwise.errors import LabelwiseError
from labelwise.extractors.regions import SOFT, STRIPES, PlacePrior, regions_of
from labelwise.methods import create_method
from labelwise.methods.create import method_parts
from labelwise.registry import list_methods
from labelwise.types import Group, LabelSet

LABELS = LabelSet(
    ("hat", "bag", "shoes", "coat"),
    {"head": Group(("hat",)), "feet": Group(("shoes",)), "worn": Group(("hat", "coat"))},
)
GIVEN = {"head": [0.0, 0.3], "shoes": [0.75, 1.0], "worn": [0.2, 0.6, 0.1, 0.7]}
ATTENTIVE = [
    name
    for name in list_methods()
    if "prior" in method_parts(name)["extractor"].kind.__init__.__annotations__
]


class Maps(nn.Module):
    """A backbone of 8 channels."""

    out_channels, stride = 8, 4


def blurred(at: float, low: float, high: float) -> float:
    """Inside a range whose ends, but for 0 and 1, fall linearly."""
    rise = 1.0 if low == 0 else min(1.0, max(0.0, (at - low) / SOFT + 0.5))
    fall = 1.0 if high == 1 else min(1.0, max(0.0, (high - at) / SOFT + 0.5))
    return rise + fall - 1


@pytest.mark.parametrize(("h", "w"), [(8, 4), (7, 7), (3, 5), (1, 1)])
def test_the_prior_equals_a_sum_over_fine_points(h: int, w: int) -> None:
    outside, fine = 0.05, 400
    prior = PlacePrior(LABELS, outside, GIVEN)(torch.zeros(1, 2, h, w, dtype=torch.float64))
    regions = {
        "hat": (0, 0.3, 0, 1),
        "bag": (0, 1, 0, 1),
        "shoes": (0.75, 1, 0, 1),
        "coat": (0.2, 0.6, 0.1, 0.7),
    }
    for label, (top, bottom, left, right) in regions.items():
        rows, columns = (
            [
                sum(blurred((cell + (i + 0.5) / fine) / n, low, high) for i in range(fine)) / fine
                for cell in range(n)
            ]
            for n, low, high in ((h, top, bottom), (w, left, right))
        )
        inside = [row * column for row in rows for column in columns]
        expected = [math.log(outside + (1 - outside) * m / max(inside)) for m in inside]
        assert prior[LABELS.index(label)].tolist() == pytest.approx(expected, abs=1e-4)


def test_a_region_smaller_than_a_place_keeps_the_place_that_holds_it() -> None:
    prior = PlacePrior(LabelSet(("logo",)), 0.01, {"logo": [0.4, 0.401, 0.9, 0.901]})
    factors = prior(torch.zeros(1, 1, 2, 2)).exp()
    assert factors.argmax().item() == 1
    assert factors.max().item() == 1


@torch.no_grad()
@pytest.mark.parametrize("name", ATTENTIVE)
def test_factors_of_the_prior_are_those_of_the_maps(name: str) -> None:
    """`A'_lp = A_lp F_lp / sum_p A_lp F_lp` where the scores themselves do not depend on the prior."""
    maps, x = {}, torch.rand(2, 8, 6, 4, generator=torch.Generator().manual_seed(0))
    for outside in (1.0, 0.2):
        torch.manual_seed(0)
        extractor: dict[str, object] = {}
        if name == "query2label":
            extractor |= {"layers": 1, "dim": 8, "heads": 1}
        if name == "dafl":
            extractor["steps"] = 1
        model = create_method(
            name, LABELS, Maps(), extractor=extractor, regions={"outside": outside, "labels": GIVEN}
        ).model.eval()
        scaled(model)
        out = model(x, want_maps=True, is_map=True)
        torch.testing.assert_close(model(x, is_map=True).logits, out.logits, rtol=0, atol=1e-5)
        maps[outside] = out.maps.flatten(2)
    assert not torch.allclose(maps[1.0], maps[1.0].mean(2, keepdim=True), atol=1e-3)
    expected = maps[1.0] * PlacePrior(LABELS, 0.2, GIVEN)(x).exp()
    expected = expected / expected.sum(2, keepdim=True)
    torch.testing.assert_close(maps[0.2], expected, rtol=0, atol=1e-5)


def scaled(model: nn.Module) -> None:
    """Scores far from equal, the same in both models."""
    generator = torch.Generator().manual_seed(1)
    for p in model.extractor.parameters():
        p.copy_(torch.randn(p.shape, generator=generator) * 0.3)


@torch.no_grad()
@pytest.mark.parametrize("name", ["dlfl", "ssgrl", "query2label", "class-features"])
def test_a_strong_prior_hides_what_lies_outside(name: str) -> None:
    """Whatever else reaches a feature is turned off: the mean of the map, the encoder, the graph."""
    options = {
        "dlfl": {"mean_feature": False},
        "query2label": {"encoder_layers": 0, "dim": 8},
    }.get(name, {})
    regions = {"outside": 1e-9, "labels": {"hat": [0, 0.2], "shoes": [0.5, 1, 0.5, 1]}}
    model = create_method(
        name, LABELS, Maps(), extractor={"normalise": "none", **options}, regions=regions
    ).model.eval()
    scaled(model)
    x = torch.rand(1, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    y = x.clone()
    y[:, :, 2:] += torch.rand(1, 8, 2, 4, generator=torch.Generator().manual_seed(2))
    before, after = (model(image, is_map=True).decoupled for image in (x, y))
    torch.testing.assert_close(before[:, 0], after[:, 0], rtol=0, atol=1e-4)
    assert not torch.allclose(before[:, 1], after[:, 1], atol=1e-2)


@torch.no_grad()
def test_off_is_bit_for_bit_what_it_was() -> None:
    x = torch.rand(2, 8, 6, 4)
    for name in ATTENTIVE:
        found = []
        for regions in ({}, {"outside": 1.0, "labels": GIVEN}):
            torch.manual_seed(0)
            model = create_method(name, LABELS, Maps(), regions=regions).model.eval()
            found.append(model(x, want_maps=True, is_map=True))
            assert getattr(model.extractor, "prior", None) is None
        assert torch.equal(found[0].logits, found[1].logits)
        assert torch.equal(found[0].maps, found[1].maps)


def test_the_prior_is_no_weight() -> None:
    with_prior, plain = (
        create_method("dlfl", LABELS, Maps(), regions=regions).state_dict()
        for regions in ({"outside": 0.1, "labels": GIVEN}, {})
    )
    assert list(with_prior) == list(plain)


def test_chunks_of_labels_keep_their_own_regions() -> None:
    x: Tensor = torch.rand(2, 8, 6, 4)
    for name in ("dlfl", "query2label", "class-features"):
        outs = []
        for chunk in (0, 3):
            torch.manual_seed(0)
            regions = {"outside": 0.1, "labels": GIVEN}
            model = create_method(name, LABELS, Maps(), extractor={"chunk": chunk}, regions=regions).model
            outs.append(model.eval()(x, want_maps=True, is_map=True))
        torch.testing.assert_close(outs[0].logits, outs[1].logits, rtol=0, atol=1e-5)
        torch.testing.assert_close(outs[0].maps, outs[1].maps, rtol=0, atol=1e-6)


def test_own_regions_come_before_those_of_groups() -> None:
    assert regions_of(LABELS, GIVEN) == {
        "hat": (0, 0.3, 0, 1),
        "shoes": (0.75, 1, 0, 1),
        "coat": (0.2, 0.6, 0.1, 0.7),
    }
    assert regions_of(LABELS) == {"hat": (*STRIPES["head"], 0, 1), "shoes": (*STRIPES["feet"], 0, 1)}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"labels": {"shoos": [0, 1]}}, "'shoos'; expected a label or a group of labels; did you mean shoes?"),
        ({"labels": {"hat": [0.5, 0.5]}}, "regions.labels of 'hat': [0.5, 0.5]; expected top and bottom in [0, 1], "),
        ({"labels": {"hat": [0, 1, 0.5]}}, "'hat': [0.0, 1.0, 0.5]; expected top and bottom in [0, 1], "),
        ({"labels": {"hat": [0, 1, 0.5, 0.4]}}, "'hat': [0.0, 1.0, 0.5, 0.4]; expected top and bottom "),
        ({"labels": {"hat": 3}, "outside": 0.1}, "regions.labels={'hat': 3}; expected input should be an instance of"),
        ({"outside": 0}, "regions.outside=0; expected a number above 0 and up to 1; "),
        ({"inside": 2}, "regions.inside; expected one of outside, labels; did you mean regions.outside?"),
    ],
)  # fmt: skip
def test_bad_regions_are_refused(given: dict, says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        create_method("dlfl", LABELS, Maps(), regions=given)
    assert says in str(error.value)


def test_labels_without_a_region_are_refused() -> None:
    with pytest.raises(LabelwiseError, match=r"regions.outside=0.1 for labels without a region; expected"):
        create_method("dlfl", ("a", "b"), Maps(), regions={"outside": 0.1})


def test_methods_that_cannot_take_regions_are_refused() -> None:
    for name in set(list_methods()) - set(ATTENTIVE):
        with pytest.raises(LabelwiseError, match=r"regions.outside=0.1 for a method without attention"):
            create_method(name, LABELS, Maps(), regions={"outside": 0.1})
