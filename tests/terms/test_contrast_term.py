"""Contrast as a term: its weight rises with the steps of training."""

from __future__ import annotations

import pytest
import torch

from labelwise.errors import LabelwiseError
from labelwise.losses import pair_contrast
from partial_batches import a_batch, build


def test_the_weight_rises_and_stays() -> None:
    method, batch = build(contrast={"weight": 0.5, "rise": 4}), a_batch()
    batch.targets.values[:] = 1  # no list is reduced, so that nothing is random
    plain = pair_contrast(method.model(batch.images).decoupled, batch.targets).item()
    assert plain > 0
    losses = [method(batch)["contrast"].item() for _ in range(6)]
    assert losses == pytest.approx([plain * 0.5 * share for share in (0.25, 0.5, 0.75, 1, 1, 1)], rel=1e-5)
    method.eval()
    again = [method(batch)["contrast"].item() for _ in range(2)]
    assert again == losses[-2:]
    assert method.terms["contrast"].steps == 6


def test_no_rise_is_the_whole_weight_at_once() -> None:
    method, batch = build(contrast={"weight": 0.5, "rise": 0}), a_batch()
    batch.targets.values[:] = 1
    first, second = (method(batch)["contrast"] for _ in range(2))
    assert first == second > 0


def test_it_reads_the_features_before_the_relation() -> None:
    method, batch = build(name="ssgrl", contrast={"weight": 1.0, "rise": 0}).eval(), a_batch()
    out = method.model(batch.images)
    torch.manual_seed(0)
    loss = method(batch)["contrast"]
    torch.manual_seed(0)
    torch.testing.assert_close(loss, pair_contrast(out.decoupled, batch.targets))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rise": -1}, "contrast.rise=-1; expected a whole number from 0; correct the option"),
        ({"negneg": "attract"}, "contrast.negneg='attract'; expected one of repel, none; "),
    ],
)
def test_wrong_options_are_refused(options: dict, says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        build(contrast={"weight": 1.0, **options})
    assert says in str(error.value)
