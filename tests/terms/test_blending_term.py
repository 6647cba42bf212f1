"""Blending as a term: its equation, when it acts, its state, and what it refuses."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch

from labelwise.blending import blend_instances, blend_prototypes, peak_quadrant
from labelwise.composition import Method
from labelwise.errors import LabelwiseError
from labelwise.types import Targets
from partial_batches import LABELS, a_batch, begin, build, entropy


def logits_of(method: Method, features: torch.Tensor) -> torch.Tensor:
    logits = method.model.relate(features)[1]
    assert logits is not None
    return logits.detach()


@pytest.mark.parametrize("kind", ["quadrants", "kmeans"])
def test_the_losses_are_those_of_the_blended_features(kind: str) -> None:
    options = {"weight": 0.5, "instance": 3.0, "prototype": 0.8, "alpha": 0.3, "beta": 0.6}
    method, batch = begin(build(blending={**options, "prototypes": kind})), a_batch()
    term = method.terms["blending"]
    torch.manual_seed(5)
    losses = method(batch)
    out = method.model(batch.images, want_maps=True)
    f, t = blend_instances(out.decoupled, batch.targets, torch.tensor(0.3))
    assert (t.known & ~batch.targets.known).any()
    expected = 0.5 * 3.0 * entropy(logits_of(method, f), t.values, t.known)
    assert losses["blend_instance"].item() == pytest.approx(expected, rel=1e-5)
    own = peak_quadrant(out.maps) if kind == "quadrants" else None
    torch.manual_seed(5)
    bank = term.bank
    f, t = blend_prototypes(
        out.decoupled, batch.targets, bank.prototypes, bank.counts, torch.tensor(0.6), own
    )
    assert (t.known & ~batch.targets.known).any()
    expected = 0.5 * 0.8 * entropy(logits_of(method, f), t.values, t.known)
    assert losses["blend_prototype"].item() == pytest.approx(expected, rel=1e-5)


def test_own_shares_of_one_give_the_plain_logits_a_target_of_zero() -> None:
    method, batch = begin(build(blending={"weight": 1.0, "alpha": 1.0, "beta": 1.0})), a_batch()
    batch.targets.known[:] = True  # no cell is blended, so all three losses are the plain one
    losses = method(batch)
    for name in ("blend_instance", "blend_prototype"):
        torch.testing.assert_close(losses[name], losses["classification"])


@pytest.mark.parametrize(
    ("start", "epoch", "epochs", "acts"),
    [
        *(
            (0.25, *case)
            for case in [(0, 10, False), (2, 10, False), (3, 10, True), (9, 10, True), (0, 1, False)]
        ),
        *((None, *case) for case in [(0, 10, True), (9, 10, True), (0, 1, True)]),  # as it comes
    ],
)
def test_it_begins_after_its_share_of_the_epochs(
    start: float | None, epoch: int, epochs: int, acts: bool
) -> None:
    settings = {"weight": 1.0} if start is None else {"weight": 1.0, "start": start}
    method = begin(build((epoch, epochs), blending=settings))
    losses = method(a_batch())
    assert (int(method.terms["blending"].bank.epoch) >= 0) is acts
    for name, share in (("blend_instance", "alpha"), ("blend_prototype", "beta")):
        assert bool(losses[name] > 0) is acts
        losses[name].backward(retain_graph=True)
        grad = getattr(method.terms["blending"], share).grad
        assert grad is not None
        assert bool(grad != 0) is acts


def test_prototypes_that_were_never_made_are_not_blended() -> None:
    losses = build(blending={"weight": 1.0})(a_batch())
    assert losses["blend_instance"] > 0
    assert losses["blend_prototype"] == 0
    assert losses["blend_prototype"].requires_grad


def test_a_batch_of_which_nothing_is_known_weighs_nothing() -> None:
    method, batch = begin(build(blending={"weight": 1.0}, contrast={"weight": 1.0})), a_batch(known=0.0)
    batch.targets.values[:] = float("nan")
    loss = method(batch)["loss"]
    loss.backward()
    assert loss == 0
    assert all(p.grad is not None and not p.grad.any() for p in method.parameters())


def test_shares_are_kept_in_their_range_and_can_come_back() -> None:
    method = begin(build(blending={"weight": 1.0}))
    term = method.terms["blending"]
    with torch.no_grad():
        term.alpha.fill_(1.3)
        term.beta.fill_(-0.2)
    method(a_batch())["loss"].backward()
    assert (term.alpha.item(), term.beta.item()) == (1.0, 0.0)
    assert term.alpha.grad != 0
    assert term.beta.grad != 0


@pytest.mark.parametrize(
    ("options", "names", "maps"),
    [
        ({"prototype": 0}, ["alpha"], False),
        ({"instance": 0}, ["bank.counts", "bank.epoch", "bank.prototypes", "beta"], True),
        ({"prototypes": "kmeans"}, ["alpha", "bank.counts", "bank.epoch", "bank.prototypes", "beta"], False),
    ],
)
def test_only_what_is_used_is_there(options: dict[str, Any], names: list[str], maps: bool) -> None:
    method = begin(build(blending={"weight": 1.0, **options}))
    assert sorted(method.terms["blending"].state_dict()) == names
    assert method.terms["blending"].needs_maps is maps
    losses = method(a_batch())
    assert ("blend_instance" in losses) is ("alpha" in names)
    assert ("blend_prototype" in losses) is ("beta" in names)


def train(method: Method, epochs: range) -> list[float]:
    """Epochs of two steps; what an epoch draws follows from its number."""
    losses = []
    for epoch in epochs:
        method.clock = epoch, 8
        torch.manual_seed(epoch)
        begin(method)
        method.train()
        for seed in (0, 1):
            torch.manual_seed(10 * epoch + seed)
            loss = method(a_batch(seed=10 * epoch + seed))["loss"]
            loss.backward()
            with torch.no_grad():
                for p in method.parameters():
                    p -= 0.1 * p.grad
                    p.grad = None
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize("kind", ["quadrants", "kmeans"])
def test_a_resumed_training_is_the_uninterrupted_one(kind: str) -> None:
    terms = {"blending": {"weight": 1.0, "prototypes": kind}, "contrast": {"weight": 0.5, "rise": 9}}
    whole, before, after = (build(**deepcopy(terms)) for _ in range(3))
    expected = train(whole, range(8))
    losses = train(before, range(5))  # prototypes are of epoch 4, and recomputed at 6
    after.load_state_dict(before.state_dict(), strict=True)
    assert losses + train(after, range(5, 8)) == expected
    for key, value in whole.state_dict().items():
        assert torch.equal(after.state_dict()[key], value), key


def test_any_method_with_label_features_can_be_blended() -> None:
    for name in ("baseline-gap", "ssgrl"):
        method = begin(build(name=name, blending={"weight": 1.0}))
        losses = method(a_batch())
        losses["loss"].backward()
        assert losses["blend_prototype"] > 0
        assert method.terms["blending"].beta.grad != 0


def test_a_method_that_scores_places_is_refused() -> None:
    with pytest.raises(LabelwiseError) as error:
        build(name="csra", blending={"weight": 1.0})
    assert str(error.value) == (
        "blending with a method that scores locations, not label features; expected a method with a classifier of "
        "label features, such as dsrb; set blending.weight=0"
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"alpha": 1.2}, "blending.alpha=1.2; expected a number from 0 to 1; correct the option"),
        ({"start": -0.1}, "blending.start=-0.1; expected a number from 0 to 1; correct the option"),
        ({"top_k": 0}, "blending.top_k=0; expected a whole number from 1; correct the option"),
        ({"refresh": -1}, "blending.refresh=-1; expected a whole number from 0; correct the option"),
        ({"prototypes": "mean"}, "blending.prototypes='mean'; expected one of quadrants, kmeans; "),
        (
            {"instance": 0, "prototype": 0},
            "blending.instance=0 with blending.prototype=0; expected one of them above 0; "
            "set blending.weight=0 for no blending",
        ),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        build(blending={"weight": 1.0, **options})
    assert says in str(error.value)


def test_targets_of_a_batch_are_not_changed() -> None:
    method, batch = begin(build(blending={"weight": 1.0})), a_batch()
    kept = Targets(batch.targets.values.clone(), batch.targets.known.clone())
    method(batch)
    assert torch.equal(batch.targets.values, kept.values)
    assert torch.equal(batch.targets.known, kept.known)
    assert kept.values.shape[1] == LABELS
