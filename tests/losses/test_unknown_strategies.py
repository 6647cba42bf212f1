"""Strategies for unknown cells: each against a slow reference written from its equation, and hand values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from labelwise.losses import AsymmetricLoss, BinaryCrossEntropy, Facts, Moment, UnknownLoss
from labelwise.registry import STRATEGIES
from labelwise.types import Targets

ROWS, LABELS = 6, 4
PRIOR = torch.tensor([0.1, 0.6, 0.3, 0.2])
NEEDED: dict[str, dict[str, Any]] = {"epr": {"expected": 1.5}, "role": {"expected": 1.5}}
SCORES = torch.rand(ROWS, LABELS, generator=torch.Generator().manual_seed(5))
SCORES[1, 2] = math.nan


def build(name: str, loss: nn.Module | None = None, rows: int = ROWS, labels: int = LABELS, **options: Any):
    given = (PRIOR, SCORES) if (rows, labels) == (ROWS, LABELS) else (None, torch.full((rows, labels), 0.5))
    strategy = STRATEGIES[name](Facts(rows, labels, *given), **{**NEEDED.get(name, {}), **options})
    return UnknownLoss(loss or BinaryCrossEntropy(), strategy)


def batch(seed: int = 0) -> tuple[Tensor, Targets]:
    g = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(ROWS, LABELS, generator=g)
    values = torch.rand(ROWS, LABELS, generator=g).round()
    known = torch.rand(ROWS, LABELS, generator=g) < 0.5
    known[0, 0], values[0, 0], known[3] = True, 1.0, False
    return logits, Targets(values, known)


def at(epoch: int = 0, epochs: int = 10, stores_state: bool = True) -> Moment:
    return Moment(torch.arange(ROWS), epoch, epochs, stores_state)


def one(name: str, z: float, known: float | None, labels: int = 1, epoch: int = 0, **options: Any) -> float:
    """Loss of a cell among `labels` equal ones."""
    logits = torch.full((1, labels), float(z))
    value = torch.full((1, labels), math.nan if known is None else float(known))
    criterion = build(name, rows=1, labels=labels, **options)
    return criterion(logits, Targets.of(value), Moment(torch.tensor([0]), epoch, 10)).item()


def sigma(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def bce(z: float, y: float) -> float:
    return -y * math.log(sigma(z)) - (1 - y) * math.log(1 - sigma(z))


def spl(z: float) -> float:
    return -((1 - sigma(z - 1)) ** 2) * math.log(sigma(z - 1))


def entropy(z: float) -> float:
    return bce(z, sigma(z))


Cell = Callable[[float, int, int], float | None]
"""(logit, row, label) -> loss of an unknown cell, or `None` where it does not count."""
CELLS: dict[str, Cell] = {
    "negative": lambda z, i, j: bce(z, 0),
    "an-ls": lambda z, i, j: bce(z, 0.05),
    "wan": lambda z, i, j: bce(z, 0) / 3,
    "em": lambda z, i, j: -0.2 * entropy(z),
    "em-apl": lambda z, i, j: -0.2 * entropy(z),
    "hill": lambda z, i, j: (1.5 - sigma(z)) * sigma(z) ** 2,
    "splc": lambda z, i, j: -(sigma(z) ** 2) * math.log(1 - sigma(z)),
    "ll-r": lambda z, i, j: bce(z, 0),
    "ll-ct": lambda z, i, j: bce(z, 0),
    "ll-cp": lambda z, i, j: bce(z, 0),
    "external": lambda z, i, j: None if (i, j) == (1, 2) else bce(z, SCORES[i, j].item()),
    "csl": lambda z, i, j: None if j == 1 else -(sigma(z) ** 2) * math.log(1 - sigma(z)),
    "role": lambda z, i, j: 0.5 * bce(z, 0.375),
    "epr": lambda z, i, j: 0.0,  # divided by the number of all cells, as published
}


def slow(name: str, logits: Tensor, t: Targets, cells: Cell) -> float:
    """The mean over cells that count, by loops."""
    losses = []
    for i in range(ROWS):
        for j in range(LABELS):
            z, y = logits[i, j].item(), t.values[i, j].item()
            if t.known[i, j]:
                losses.append(spl(z) if y and name in ("hill", "splc") else bce(z, y))
            else:
                loss = cells(z, i, j)
                losses += [] if loss is None else [loss]
    whole = 0.0
    if name in ("epr", "role"):
        mean = sum(sigma(z) for z in logits.flatten().tolist()) / ROWS
        whole = ((mean - 1.5) / LABELS) ** 2 * (0.5 if name == "role" else 1)
    return sum(losses) / len(losses) + whole


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("seed", [0, 1])
def test_first_step_by_loops_over_cells(name: str, seed: int) -> None:
    logits, targets = batch(seed)
    loss = build(name, **({"topk": 0} if name == "csl" else {}))
    value = loss(logits.double(), targets, at())
    assert value.item() == pytest.approx(slow(name, logits, targets, CELLS[name]), rel=1e-6)


def test_every_strategy_has_a_reference() -> None:
    assert set(CELLS) | {"durand", "vpu"} == set(STRATEGIES)


@pytest.mark.parametrize(
    ("name", "z", "known", "options", "value"),
    [
        ("hill", 0, None, {}, 0.25),
        ("hill", 1, 1, {}, 0.1732868),
        ("em", 0, None, {"alpha": 0.1}, -0.0693147),
        ("wan", 0, None, {"labels": 3}, 0.3465736),
        ("splc", 0, None, {}, 0.1732868),
        ("splc", 1, None, {"epoch": 1, "tau": 0.5}, 0.1732868),
        ("an-ls", 0, None, {}, 0.6931472),
        ("negative", 0, None, {}, 0.6931472),
    ],
)
def test_hand_values(name: str, z: float, known: float | None, options: dict[str, Any], value: float) -> None:
    assert one(name, z, known, **options) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(("gamma", "weight"), [(1.0, 3.2222), (-1.0, 0.4444 * 2 + 0.5556)])
def test_durand_weights_images_by_their_known_share(gamma: float, weight: float) -> None:
    logits = torch.tensor([[0.5, -1.0, 2.0, 0.0]])
    t = Targets(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.tensor([[True, True, False, False]]))
    loss = build("durand", gamma=gamma)(logits, t, Moment(torch.tensor([0])))
    assert loss.item() == pytest.approx(weight / 4 * (bce(0.5, 1) + bce(-1.0, 0)), rel=1e-3)
    shares = torch.tensor([0.0, 0.1, 1.0])
    assert build("durand", gamma=gamma).strategy.weight(shares).tolist() == pytest.approx([0.0, 5.0, 1.0])


def test_durand_of_full_labels_is_the_plain_loss() -> None:
    logits, t = batch()
    full = Targets(t.values, torch.ones_like(t.known))
    torch.testing.assert_close(build("durand")(logits, full, at()), BinaryCrossEntropy()(logits, full))


def test_expected_positives_met_cost_nothing() -> None:
    p = torch.tensor([[0.5, 0.25, 0.25], [0.9, 0.6, 0.5]])  # row sums 1 and 2
    t = Targets(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool))
    loss = build("epr", rows=2, labels=3)(p.logit(), t, Moment(torch.arange(2)))
    assert loss.item() == pytest.approx(0, abs=1e-12)
    twice = build("epr", rows=2, labels=3, expected=3.0)(p.logit(), t, Moment(torch.arange(2)))
    assert twice.item() == pytest.approx(0.25, abs=1e-6)


def test_the_data_term_of_expected_positives_is_divided_by_all_cells() -> None:
    """With one known cell of 20 an image the two terms stand as published, not 20 times apart."""
    logits = torch.full((2, 20), -2.0)
    known = torch.zeros(2, 20, dtype=torch.bool)
    known[:, 0] = True
    t = Targets(known.float(), known)
    loss = build("epr", rows=2, labels=20)(logits, t, Moment(torch.arange(2)))
    expected = 2 * bce(-2.0, 1) / 40 + ((20 * sigma(-2.0) - 1.5) / 20) ** 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def slow_vpu(logits: Tensor, t: Targets, alpha: float, gamma: float) -> float:
    terms = []
    for j in range(LABELS):
        z = logits[:, j].tolist()
        mean = sum(z) / ROWS
        tau = max(0.05, min(1.0, alpha * math.sqrt(sum((a - mean) ** 2 for a in z) / ROWS)))
        there = [a for i, a in enumerate(z) if t.known[i, j] and t.values[i, j] == 1]
        if there:
            weight = (sum(map(sigma, z)) / ROWS) ** gamma
            every = math.log(sum(sigma(a / tau) for a in z) / ROWS)
            terms.append(weight * every - sum(math.log(sigma(a / tau)) for a in there) / len(there))
    known = [bce(logits[i, j].item(), 0) * (1 - t.values[i, j].item()) for i, j in t.known.nonzero().tolist()]
    return sum(terms) / len(terms) + sum(known) / len(known)


@pytest.mark.parametrize("options", [{}, {"alpha": 0.1, "gamma": 0.7}, {"alpha": 1e-3}])
def test_vpu_by_loops(options: dict[str, float]) -> None:
    logits, targets = batch()
    expected = slow_vpu(logits, targets, **{"alpha": 1.0, "gamma": 0.0, **options})
    assert build("vpu", **options)(logits.double(), targets, at()).item() == pytest.approx(expected, rel=1e-5)


def test_csl_leaves_out_the_highest_unknown_scores() -> None:
    logits, t = batch()
    loss = build("csl", topk=0.5, prior_threshold=1.0)
    unknown = [(logits[i, j].item(), i, j) for i, j in (~t.known).nonzero().tolist()]
    out = {(i, j) for _, i, j in sorted(unknown)[-3:]}  # half a cell for each of six images
    expected = slow("csl", logits, t, lambda z, i, j: None if (i, j) in out else CELLS["csl"](z, i, 0))
    assert loss(logits.double(), t, at()).item() == pytest.approx(expected, rel=1e-6)


def test_csl_without_selection_is_asl_with_unknown_as_absent() -> None:
    logits, t = batch()
    asl = AsymmetricLoss(gamma_negative=2.0)
    loss = build("csl", asl, topk=0, prior_threshold=1.0)(logits, t, at())
    full = Targets(t.values.masked_fill(~t.known, 0), torch.ones_like(t.known))
    torch.testing.assert_close(loss, asl(logits, full))


def ranked(logits: Tensor, t: Targets, number: int) -> set[tuple[int, int]]:
    """Unknown cells with the largest losses as absent."""
    cells = [(bce(logits[i, j].item(), 0), i, j) for i, j in (~t.known).nonzero().tolist()]
    return {(i, j) for _, i, j in sorted(cells)[len(cells) - min(number, len(cells)) :]}


@pytest.mark.parametrize("delta", [0.0, 0.01, 0.04, 0.5])
@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_large_losses_are_rejected_or_turned(delta: float, epoch: int) -> None:
    logits, t = batch()
    large = ranked(logits, t, math.ceil(ROWS * LABELS * epoch * delta))
    rules: dict[str, Cell] = {
        "ll-r": lambda z, i, j: 0.0 if (i, j) in large else bce(z, 0),
        "ll-ct": lambda z, i, j: bce(z, float((i, j) in large)),
    }
    for name, cells in rules.items():
        loss = build(name, delta=delta)(logits.double(), t, at(epoch))
        assert loss.item() == pytest.approx(slow(name, logits, t, cells), rel=1e-6)
        if not delta:
            assert loss.item() == build("negative")(logits.double(), t, at()).item()


def test_flips_stay_and_grow_and_never_touch_known_cells() -> None:
    loss = build("ll-cp", delta=0.06)  # two cells of 24 at a step
    flipped = loss.strategy.flipped
    t = batch()[1]
    for step in range(9):
        logits = batch(step)[0]
        before = set(map(tuple, flipped.nonzero().tolist()))
        value = loss(logits.double(), t, at(epoch=min(step, 3)))
        kept = set(map(tuple, flipped.nonzero().tolist()))
        free = [(bce(logits[i, j].item(), 0), i, j) for i, j in (~t.known).nonzero().tolist()]
        new = [c[1:] for c in sorted(free) if c[1:] not in before][-2:] if step else []
        assert kept == before | set(new)
        turned: Cell = lambda z, i, j, kept=kept: bce(z, float((i, j) in kept))  # type: ignore[misc]  # noqa: E731
        assert value.item() == pytest.approx(slow("ll-cp", logits, t, turned), rel=1e-6)
    assert not (flipped & t.known).any()
    assert len(kept) > 10
    held = flipped.clone()
    loss(batch(50)[0], t, at(epoch=5, stores_state=False))
    assert torch.equal(flipped, held)


def test_splc_corrects_only_sure_unknown_cells_after_its_epochs() -> None:
    logits, t = batch()
    cells: Cell = lambda z, i, j: spl(z) if sigma(z) > 0.6 else CELLS["splc"](z, i, j)  # noqa: E731
    loss = build("splc")(logits.double(), t, at(epoch=1))
    assert loss.item() == pytest.approx(slow("splc", logits, t, cells), rel=1e-6)
    assert build("splc", after=2)(logits, t, at(epoch=1)) == build("splc")(logits, t, at(epoch=0))


def test_role_moves_its_table_by_the_gradient_of_its_loss() -> None:
    logits, t = batch()
    loss = build("role", rate=2.0)
    table = loss.strategy.table.clone().double().requires_grad_()
    p, z = torch.sigmoid(logits.double()), table
    share = torch.where(t.known, t.values.double(), torch.sigmoid(z))
    cross = -(p * torch.log(share) + (1 - p) * torch.log(1 - share)).masked_fill(t.known, 0)
    surplus = (share.sum(1).mean() - 1.5) / LABELS
    # The table's loss is a mean over cells; a row's own step is that of its cells, so it is taken B L times.
    ((0.5 * cross.sum() / (ROWS * LABELS) + 0.5 * surplus.square()) * ROWS * LABELS).backward()
    assert table.grad is not None
    expected = table.detach() - 2.0 * table.grad.masked_fill(t.known, 0)
    loss(logits, t, at())
    torch.testing.assert_close(loss.strategy.table.double(), expected, atol=1e-5, rtol=1e-5)
    for _ in range(60):
        loss(logits, t, at())
    estimates = torch.sigmoid(loss.strategy.table)[~t.known]
    assert (estimates - torch.sigmoid(logits)[~t.known]).abs().mean() < 0.15


def test_pseudo_labels_are_the_lowest_scores_of_each_label() -> None:
    loss = build("em-apl", share=0.9, start=0.5, beta=0.5)
    logits, t = batch()
    loss.start_epoch(0, 4)
    loss(logits, t, at(0, 4))
    loss.start_epoch(1, 4)
    assert loss.strategy.pseudo.isnan().all()  # the warm-up is two epochs of four
    p = torch.sigmoid(logits)
    for epoch in (2, 3):
        loss.start_epoch(epoch, 4)
        for j in range(LABELS):
            scores = sorted(p[i, j].item() for i in range(ROWS) if not t.known[i, j])
            number = min(len(scores), (epoch - 1) * round(0.45 * len(scores)))
            made = loss.strategy.pseudo[:, j]
            assert sorted(made[~made.isnan()].tolist()) == pytest.approx(scores[:number])
    other = batch(3)[0]
    pseudo = loss.strategy.pseudo

    def cells(z: float, i: int, j: int) -> float:
        y = pseudo[i, j].item()
        return -0.2 * entropy(z) if math.isnan(y) else 0.5 * bce(z, y)

    assert not pseudo.isnan().all()
    value = loss(other.double(), t, at(3, 4))
    assert value.item() == pytest.approx(slow("em-apl", other, t, cells), rel=1e-6)


def test_one_cell_an_image_is_left_out_unless_said() -> None:
    logits, targets = batch()
    torch.testing.assert_close(
        build("csl")(logits, targets, at()), build("csl", topk=1)(logits, targets, at())
    )


def test_a_logit_that_is_not_finite_leaves_its_estimate() -> None:
    logits, targets = batch()
    logits[1], targets.known[1] = math.nan, False
    loss = build("role")
    before = loss.strategy.table.clone()
    loss(logits, targets, at())
    assert loss.strategy.table.isfinite().all()
    assert torch.equal(loss.strategy.table[1], before[1])
