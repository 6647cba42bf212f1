"""Features pooled from fixed stripes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from labelwise.data.readers.peta import ATTRIBUTES
from labelwise.errors import LabelwiseError
from labelwise.extractors import Pooled, Stripes
from labelwise.extractors.regions import STRIPES
from labelwise.extractors.stripes import stripes_of
from labelwise.methods import create_method
from labelwise.types import Group, LabelSet

LABELS = LabelSet(
    ("hat", "bag", "shoes", "coat"),
    {"head": Group(("hat",)), "feet": Group(("shoes",)), "worn": Group(("hat", "coat"))},
)
GIVEN = {"head": [0.0, 0.3], "shoes": [0.75, 1.0], "worn": [0.2, 0.6]}
FINE = 60  # divides into each number of rows and each stripe below


@pytest.mark.parametrize("hidden", [0, 6])
@pytest.mark.parametrize("rows", [3, 4, 5])
def test_equals_a_loop_over_pixels_of_the_stripe(hidden: int, rows: int, seeded: torch.Generator) -> None:
    """The map enlarged to lines so fine that each lies inside or outside a stripe."""
    module = Stripes(4, 4, LABELS, GIVEN, hidden=hidden, dropout=0.5, normalise="none").double().eval()
    x = torch.randn(2, 4, rows, 2, generator=seeded, dtype=torch.float64)
    features = module(x).features
    inside = {"hat": range(18), "bag": range(60), "shoes": range(45, 60), "coat": range(12, 36)}
    for b in range(2):
        for label, lines in enumerate(inside[name] for name in LABELS.names):
            mean = [
                sum(x[b, c, line * rows // FINE, column].item() for line in lines for column in range(2))
                / (2 * len(lines))
                for c in range(4)
            ]
            if hidden:
                linear = module.hidden[0]
                v = (linear.weight @ torch.tensor(mean, dtype=torch.float64) + linear.bias).tolist()
                mean = [value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in v]
            assert features[b, label].tolist() == pytest.approx(mean, abs=1e-6)


def test_without_stripes_it_is_the_pooled_baseline(seeded: torch.Generator) -> None:
    x = torch.randn(2, 4, 3, 5, generator=seeded)
    plain = Stripes(4, 2, LabelSet(("a", "b")))
    torch.testing.assert_close(plain(x).features, Pooled(4, 2)(x).features)


def test_the_pixels_outside_a_stripe_change_nothing(seeded: torch.Generator) -> None:
    module = Stripes(4, 4, LABELS, GIVEN, normalise="none")
    x = torch.randn(1, 4, 8, 4, generator=seeded)
    y = x.clone()
    y[:, :, :6] = 100 * torch.randn(1, 4, 6, 4, generator=seeded)
    shoes = LABELS.index("shoes")
    torch.testing.assert_close(module(x).features[:, shoes], module(y).features[:, shoes])
    assert not torch.allclose(module(x).features[:, 0], module(y).features[:, 0])


class Maps(nn.Module):
    """A backbone of four channels."""

    out_channels, stride = 4, 4


@torch.no_grad()
def test_evidence_lies_in_the_stripe_and_sums_to_the_logit(seeded: torch.Generator) -> None:
    options = {"stripes": GIVEN, "normalise": "none"}
    model = create_method("baseline-stripes", LABELS, Maps(), extractor=options).model.double()
    x = torch.randn(3, 4, 8, 4, generator=seeded, dtype=torch.float64)
    out = model(x, want_maps=True, is_map=True)
    assert not out.maps[:, LABELS.index("shoes"), :6].any()
    assert not out.maps[:, LABELS.index("hat"), 3:].any()
    scores = torch.einsum("lc,bchw->blhw", model.classifier.weight, x)
    raised = scores.relu() * model.extractor.weights(x).unflatten(1, (8, 4))
    some = raised.sum((2, 3)) > 0
    assert some.any()
    torch.testing.assert_close(out.maps[some], (raised / raised.sum((2, 3), keepdim=True))[some])
    whole = (scores.flatten(2) * model.extractor.weights(x)).sum(2) + model.classifier.bias
    torch.testing.assert_close(whole, out.logits.double(), rtol=0, atol=1e-5)


def test_the_labels_of_peta_have_the_stripes_of_their_parts() -> None:
    groups = zip(
        ("head", "upper body", "lower body", "feet", "bags", "person"), ATTRIBUTES.regions, strict=True
    )
    found = stripes_of(LabelSet(ATTRIBUTES.names, {name: Group(labels) for name, labels in groups}))
    assert found["accessoryHat"] == (0, 1 / 6)
    assert found["hairLong"] == found["accessoryMuffler"] == (0, 1 / 4)
    assert found["footwearShoes"] == STRIPES["feet"] == (0.8, 1)
    assert not {"carryingBackpack", "personalMale"} & set(found)
    assert len(found) == 25


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"hut": [0, 1]}, "extractor.stripes of 'hut'; expected a label or a group of labels; "),
        ({"hat": [0.5, 0.5]}, "extractor.stripes of 'hat': [0.5, 0.5]; expected top and bottom in [0, 1]"),
        ({"hat": [0.5]}, "extractor.stripes of 'hat': [0.5]; expected top and bottom in [0, 1]"),
        ({"hat": 3}, "extractor.stripes={'hat': 3}; expected input should be an instance of sequence; "),
        ([0, 1], "extractor.stripes=[0, 1]; expected input should be a valid dictionary; "),
    ],
)
def test_bad_stripes_are_refused(given: object, says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        create_method("baseline-stripes", LABELS, Maps(), extractor={"stripes": given})
    assert says in str(error.value)
