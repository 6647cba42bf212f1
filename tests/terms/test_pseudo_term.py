"""Pseudo-positives: which cells they fill, by which margins, and what learns to find them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from labelwise.composition import Method
from labelwise.errors import LabelwiseError
from labelwise.types import Batch, Targets
from partial_batches import LABELS, a_batch, begin, build, entropy

HST = {"memory": "prototypes", "thresholds": "learned", "memory_contrast": 0.05}


def completed(method: Method, batch: Batch) -> dict[str, Targets]:
    """The targets that the criterion is given, by the loss that they belong to."""
    seen: list[Targets] = []
    handle = method.criterion.register_forward_hook(lambda _m, given, _out: seen.append(given[1]))
    method(batch)
    handle.remove()
    return dict(zip(("classification", "intra", "inter"), seen, strict=True))


@pytest.mark.parametrize("options", [{}, HST], ids=["sst", "hst"])
def test_known_labels_stay_and_only_positives_are_added(options: dict[str, Any]) -> None:
    method = begin(build(pseudo={"weight": 1.0, "margin": 0.0, "floor": 0.0, **options}))
    for p in method.terms["pseudo"].thresholds.values():
        torch.nn.init.zeros_(p)
    method(a_batch(40, 0.9))  # fills the queue
    filled = 0
    for seed in range(12):
        batch = a_batch(seed=seed, known=(0.1, 0.5, 1.0)[seed % 3])
        before = Targets(batch.targets.values.clone(), batch.targets.known.clone())
        batch.targets.values[~before.known] = float("nan")
        for targets in completed(method, batch).values():
            assert targets.known[before.known].all()
            assert torch.equal(targets.values[before.known], before.values[before.known])
            added = targets.known & ~before.known
            filled += int(added.sum())
            assert (targets.values[added] == 1).all()
    assert filled > 30


def memory_score(term: Any, features: Tensor) -> Tensor:
    """Mean cosine with what the memory holds, row by row; -inf where it holds nothing."""
    score = torch.full(features.shape[:2], -torch.inf)
    for label in range(LABELS):
        held = term.memory.rows[label, : int(term.memory.filled[label])]
        for b in range(len(features)):
            if len(held):
                score[b, label] = torch.stack(
                    [F.cosine_similarity(features[b, label], row, 0) for row in held]
                ).mean()
    return score


@pytest.mark.parametrize(("epoch", "margin"), [(3, 0.9), (5, 0.7), (9, 0.5)])
def test_a_margin_that_falls_decides(epoch: int, margin: float) -> None:
    options = {"margin": 0.9, "fall": 0.1, "floor": 0.5, "size": 7, "intra": 2.0, "inter": 3.0}
    method = build((epoch, 10), pseudo={"weight": 0.5, **options})
    term, batch = method.terms["pseudo"], a_batch(8, 0.5, seed=3)
    method(a_batch(12, 0.5, seed=4, positive=0.9))
    method.eval()
    out = method.model(batch.images)
    losses, targets = method(batch), completed(method, batch)
    present = batch.targets.known & (batch.targets.values == 1)
    pairs, scored = term.pairs.score(term.pairs(out.decoupled), present)
    scores = {"intra": pairs.masked_fill(~scored, -torch.inf), "inter": memory_score(term, out.decoupled)}
    filled = []
    for name, weight in (("intra", 1.0), ("inter", 1.5)):
        taken = ~batch.targets.known & (scores[name] >= margin)
        assert torch.equal(targets[name].known, batch.targets.known | taken)
        values = torch.where(taken, 1.0, batch.targets.values)
        expected = weight * entropy(out.logits, values, batch.targets.known | taken)
        assert losses[f"pseudo_{name}"].item() == pytest.approx(expected, rel=1e-5)
        filled.append(taken[~batch.targets.known].float().mean().item())
    assert any(0 < share < 1 for share in filled)


def test_nothing_is_filled_before_its_share_of_the_epochs() -> None:
    method = build((2, 10), pseudo={"weight": 1.0, "margin": 0.0, "floor": 0.0})
    method(a_batch(20, 1.0))
    losses = method(a_batch())
    assert losses["pseudo_intra"] == losses["pseudo_inter"] == 0
    assert losses["cooccurrence"] > 0
    assert method.terms["pseudo"].memory.filled.all()


def test_the_queue_learns_in_training_alone_and_after_it_was_asked() -> None:
    method, batch = build(pseudo={"weight": 1.0}), a_batch(known=1.0)
    queue = method.terms["pseudo"].memory
    method.eval()
    method(batch)
    assert not queue.filled.any()
    method.train()
    method(batch)
    assert queue.filled.tolist() == batch.targets.values.sum(0).tolist()
    held = queue.rows[0, : int(queue.filled[0])]
    torch.testing.assert_close(held.norm(dim=1), torch.ones(len(held)))


def test_learned_thresholds_settle_midway_between_present_and_absent_cells() -> None:
    method, batch = begin(build(pseudo={"weight": 1.0, **HST})).eval(), a_batch(24, 0.7, positive=0.2)
    term, k = method.terms["pseudo"], batch.targets.known
    assert {name: p.tolist() for name, p in term.thresholds.items()} == dict.fromkeys(
        ("intra", "inter"), [1.0] * LABELS
    )
    optimizer = torch.optim.Adam(term.thresholds.parameters(), lr=0.1)
    for _ in range(80):
        optimizer.zero_grad()
        method(batch)["pseudo_thresholds"].backward()
        optimizer.step()
    assert all(p.grad is None for name, p in method.named_parameters() if "thresholds" not in name)
    shown = k & (batch.targets.values == 1)
    with torch.no_grad():
        score, scored = term.pairs.score(term.pairs(method.model(batch.images).decoupled), shown)
    moved = 0
    for label, threshold in enumerate(term.thresholds["intra"].tolist()):
        sides = [score[:, label][(c & k & scored)[:, label]] for c in (shown, ~shown)]
        if min(map(len, sides)):
            middle = (sides[0].mean() + sides[1].mean()).item() / 2
            assert threshold == pytest.approx(middle, abs=0.02)
            moved += 1
        else:
            assert threshold == 1
    assert moved
    assert (term.thresholds["inter"] <= 1).all()


def test_the_memory_contrast_is_a_mean_over_known_cells() -> None:
    method, batch = begin(build(pseudo={"weight": 2.0, **HST, "memory_contrast": 0.5})), a_batch()
    loss = method(batch)["memory_contrast"].item()
    bank, f = method.terms["pseudo"].memory, method.model(batch.images).decoupled
    cells = []
    for b, label in batch.targets.known.nonzero().tolist():
        held = bank.prototypes[label][bank.counts[label] > 0]
        if len(held):
            c = F.cosine_similarity(f[b, label].unsqueeze(0), held).mean().item()
            cells.append(1 - c if batch.targets.values[b, label] == 1 else 1 + c)
    assert loss == pytest.approx(2.0 * 0.5 * sum(cells) / len(cells), rel=1e-5)


@pytest.mark.parametrize("options", [{}, HST], ids=["sst", "hst"])
def test_a_batch_of_which_nothing_is_known_weighs_nothing(options: dict[str, Any]) -> None:
    method = begin(build(pseudo={"weight": 1.0, "margin": -1.0, "floor": -1.0, **options}))
    method(a_batch())
    loss = method(a_batch(known=0.0))["loss"]
    loss.backward()
    assert loss == 0
    assert all(p.grad is not None and not p.grad.any() for p in method.parameters())


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"intra": 0, "cooccurrence": 0}, {"pseudo_inter"}),
        ({"inter": 0}, {"pseudo_intra", "cooccurrence"}),
        ({**HST, "inter": 0, "intra": 0}, {"cooccurrence", "memory_contrast"}),
        (HST, {"pseudo_intra", "pseudo_inter", "cooccurrence", "memory_contrast", "pseudo_thresholds"}),
    ],
)
def test_only_what_weighs_is_there(options: dict[str, Any], names: set[str]) -> None:
    method = begin(build(pseudo={"weight": 1.0, **options}))
    losses = method(a_batch())
    assert set(losses) == {"loss", "classification", *names}
    losses["loss"].backward()
    assert [name for name, p in method.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"cooccurrence": 0},
            "pseudo.intra=1 with pseudo.cooccurrence=0; expected both above 0, or both 0; correct one",
        ),
        ({"start": 2}, "pseudo.start=2; expected a number from 0 to 1; correct the option"),
        ({"width": 0}, "pseudo.width=0; expected a whole number from 1; correct the option"),
        ({"memory": "bank"}, "pseudo.memory='bank'; expected one of queue, prototypes; "),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        build(pseudo={"weight": 1.0, **options})
    assert says in str(error.value)
