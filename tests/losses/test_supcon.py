"""Contrast between images: values by hand, what unknown labels mean, and options."""

from __future__ import annotations

import math

import pytest
import torch

from labelwise.errors import LabelwiseError
from labelwise.losses import JaccardContrast
from labelwise.types import Targets

NAN = float("nan")


def images(*rows: list[float]) -> torch.Tensor:
    """One vector an image, given to each of two labels."""
    return torch.tensor(rows, dtype=torch.float64)[:, None].expand(-1, 2, -1)


def test_values_by_hand() -> None:
    features = images([1, 0], [1, 0], [0, 1])
    targets = Targets.of(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    intra, inter = JaccardContrast(temperature=0.5)(features, targets)
    # Images 0 and 1 are each other's partner at s = 2, the third stands at s = 0 and has none.
    assert intra.item() == pytest.approx(-2)
    assert inter.item() == pytest.approx(math.log(math.exp(2) + 1))


@pytest.mark.parametrize(("jaccard", "together"), [(0.5, True), (0.51, False)])
def test_half_an_overlap(jaccard: float, together: bool) -> None:
    targets = Targets.of(torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    halves = JaccardContrast(jaccard=jaccard)(images([1, 0], [0, 1]), targets)
    # Orthogonal partners: the product is 0, and so is the logarithm of its one exponential.
    assert [x.item() for x in halves] == pytest.approx([0, 0])
    intra, _ = JaccardContrast(jaccard=jaccard)(images([1, 0], [1, 0]), targets)
    assert intra.item() == pytest.approx(-10 if together else 0)


@pytest.mark.parametrize(("state", "together"), [(1.0, True), (0.0, False), (NAN, True)])
def test_a_label_counts_where_both_images_know_it(state: float, together: bool) -> None:
    targets = Targets.of(torch.tensor([[1.0, state], [1.0, 1.0]]))
    intra, _ = JaccardContrast(jaccard=0.9)(images([1, 0], [1, 0]), targets)
    assert intra.item() == pytest.approx(-10 if together else 0)


def test_images_without_a_known_present_label_are_no_company() -> None:
    features = images([1, 0], [1, 0], [1, 0])
    known = [[1.0, NAN], [1.0, NAN], [NAN, NAN]]
    _, alone = JaccardContrast()(features, Targets.of(torch.tensor(known)))
    assert alone.item() == pytest.approx(10)
    known[2] = [0.0, NAN]
    _, with_third = JaccardContrast()(features, Targets.of(torch.tensor(known)))
    assert with_third.item() == pytest.approx(10 + math.log(2))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperature": 0.0}, "temperature=0.0; expected a number above 0; correct the option"),
        ({"jaccard": 0.0}, "jaccard=0.0; expected a number above 0 and up to 1; correct the option"),
        ({"jaccard": 1.5}, "jaccard=1.5; expected a number above 0 and up to 1; correct the option"),
    ],
)
def test_options_out_of_range(options: dict[str, float], says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        JaccardContrast(**options)
    assert str(error.value) == says
