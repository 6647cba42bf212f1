"""Labels added to a trained model leave the old labels' answers alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from labelwise.composition import Method
from labelwise.composition.growth import carry_moments, grow
from labelwise.errors import LabelwiseError
from labelwise.methods import create_method
from labelwise.registry import list_methods
from labelwise.types import LabelPriors, Targets

OLD, ALL = ["a", "b"], ["a", "b", "c", "d", "e"]
EXACT = [
    "baseline-gap",
    "baseline-gmp",
    "baseline-mlp",
    "baseline-stripes",
    "class-features",
    "csra",
    "dafl",
    "dlfl",
]


class Maps(nn.Module):
    """A backbone of eight channels."""

    out_channels, stride = 8, 4

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 4, 4)


def built(name: str, labels: list[str], seed: int, rows: int = 6) -> Method:
    torch.manual_seed(seed)
    states = Targets.of((torch.rand(rows, len(labels)) > 0.5).float())
    return create_method(name, labels, Maps(), priors=LabelPriors.count(states))


def moved(method: Method) -> Method:
    """Weights as training leaves them: none at a start value."""
    with torch.no_grad():
        for p in method.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return method


@pytest.mark.parametrize("name", EXACT)
def test_old_labels_answer_as_before(name: str) -> None:
    old, new = moved(built(name, OLD, 0)), built(name, ALL, 1)
    grow(old.model, new, name)
    maps = torch.rand(3, 8, 5, 6, dtype=torch.float64)  # in fp32 the order of sums alone is worth 1e-6
    with torch.no_grad():
        before = old.model.double().eval()(maps, is_map=True).logits
        after = new.model.double().eval()(maps, is_map=True).logits
    assert after.shape == (3, 5)
    torch.testing.assert_close(after[:, :2], before, rtol=0, atol=1e-12)


def test_a_method_grows_exactly_or_is_refused_by_name() -> None:
    refused, messages = [], []
    for name in list_methods():
        try:
            grow(moved(built(name, OLD, 0)).model, built(name, ALL, 1), name)
        except LabelwiseError as error:
            refused.append(name)
            messages.append(str(error))
    assert not set(refused) & set(EXACT)
    assert {"c-tran", "ssgrl"} <= set(refused)
    named = [
        f"method {name!r}" in text or "other parts" in text
        for name, text in zip(refused, messages, strict=True)
    ]
    assert all(named)


def test_growing_in_two_steps_is_growing_in_one() -> None:
    old, middle, last, once = (built("dlfl", labels, s) for s, labels in enumerate((OLD, ALL[:4], ALL, ALL)))
    grow(old.model, middle, "dlfl")
    grow(middle.model, last, "dlfl")
    grow(old.model, once, "dlfl")
    maps = torch.rand(2, 8, 4, 4)
    with torch.no_grad():
        logits = [m.model.eval()(maps, is_map=True).logits[:, :2] for m in (last, once)]
    assert (logits[0] - logits[1]).abs().max() <= 1e-6 * logits[0].abs().max().clamp(min=1)


def test_new_labels_start_at_their_rate() -> None:
    states = Targets.of(torch.tensor([[1.0, 0, 1, 0, float("nan")], [0, 1, 1, 0, float("nan")]]).repeat(2, 1))
    old, new = moved(built("baseline-gap", OLD, 0)), built("baseline-gap", ALL, 1)
    grow(old.model, new, "baseline-gap", LabelPriors.count(states))
    bias = new.model.classifier.bias.detach()
    assert bias[:2].equal(old.model.classifier.bias)
    assert torch.sigmoid(bias[2:]).tolist() == pytest.approx([0.999, 0.001, 0.5], abs=1e-6)
    assert new.model.classifier.weight[2:].abs().max() < 0.05


def test_other_options_are_refused() -> None:
    torch.manual_seed(0)
    wide = create_method("dlfl", ALL, Maps(), extractor={"steps": 2})
    with pytest.raises(LabelwiseError, match="a run whose weights have other names or shapes"):
        grow(built("dlfl", OLD, 0).model, wide, "dlfl")


def test_moments_of_old_rows_are_kept() -> None:
    old, new = built("baseline-gap", OLD, 0), built("baseline-gap", ALL, 1)
    before, now = (torch.optim.Adam(m.parameters()) for m in (old, new))
    old.model(torch.rand(2, 8, 3, 3), is_map=True).logits.sum().backward()
    before.step()
    names = [dict(m.named_parameters()) for m in (old, new)]
    carry_moments(before, now, *names)
    kept = before.state[names[0]["model.classifier.weight"]]
    grown = now.state[names[1]["model.classifier.weight"]]
    assert grown["exp_avg"][:2].equal(kept["exp_avg"])
    assert not grown["exp_avg"][2:].any()
    assert grown["step"] == 1
    new.model(torch.rand(2, 8, 3, 3), is_map=True).logits.sum().backward()
    now.step()
