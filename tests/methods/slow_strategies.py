"""Strategies for unknown cells by loops in plain Python, each from its equation in docs/partial-labels.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from slow_losses import Pair, cross, doubles, sigma

from labelwise.losses import BinaryCrossEntropy, Facts, Moment, UnknownLoss
from labelwise.registry import STRATEGIES
from labelwise.types import Targets

LOGITS = [
    [-2.3, -0.4, 0.1, 1.7],
    [3.1, 0.2, -1.1, -4.0],
    [0.9, -0.7, 2.2, -0.1],
    [0.45, 1.2, -3.0, 0.8],
    [-1.6, 2.6, 0.3, -0.9],
]
# 1 known present, 0 known absent, None unknown; nothing is known of the last image.
STATES = [
    [1, None, None, 0],
    [None, None, 1, None],
    [0, None, None, None],
    [None, 1, 0, None],
    [None, None, None, None],
]
ROWS, LABELS = 5, 4
CELLS = [(i, j) for i in range(ROWS) for j in range(LABELS)]
UNKNOWN = [(i, j) for i, j in CELLS if STATES[i][j] is None]
EXPECTED = 1.3
SCORES = [[0.125, 0.5, 0.75, 0.25] for _ in range(ROWS)]
PRIOR = [0.1, 0.2, 0.75, 0.3]
Cell = Callable[[int, int], float | None]


def z(i: int, j: int) -> float:
    return LOGITS[i][j]


def targets() -> Targets:
    return Targets(
        doubles([[float(y or 0) for y in row] for row in STATES]),
        torch.tensor([[y is not None for y in row] for row in STATES]),
    )


def strategy(name: str, **options: Any) -> UnknownLoss:
    scores = torch.tensor(SCORES)
    scores[0, 1] = math.nan
    facts = Facts(ROWS, LABELS, torch.tensor(PRIOR), scores)
    return UnknownLoss(BinaryCrossEntropy(), STRATEGIES[name](facts, **options))


def judged(loss: UnknownLoss, epoch: int = 0, stores_state: bool = True) -> float:
    return loss(doubles(LOGITS), targets(), Moment(torch.arange(ROWS), epoch, 10, stores_state)).item()


def plain(i: int, j: int) -> float:
    """A known cell: the chosen loss, here BCE."""
    return cross(z(i, j), float(STATES[i][j] or 0))


def mean(unknown: Cell, known: Cell = plain) -> float:
    """Mean over the cells that count: `None` does not."""
    cells = [unknown(i, j) if STATES[i][j] is None else known(i, j) for i, j in CELLS]
    counted = [value for value in cells if value is not None]
    return sum(counted) / len(counted)


def negative() -> Iterator[Pair]:
    yield judged(strategy("negative")), mean(lambda i, j: cross(z(i, j), 0))


def an_ls() -> Iterator[Pair]:
    yield judged(strategy("an-ls", smoothing=0.1)), mean(lambda i, j: cross(z(i, j), 0.05))

    def known(i: int, j: int) -> float:
        return cross(z(i, j), 0.9) if STATES[i][j] else plain(i, j)

    smooth = strategy("an-ls", smoothing=0.2, positives=True)
    yield judged(smooth), mean(lambda i, j: cross(z(i, j), 0.1), known)


def wan() -> Iterator[Pair]:
    yield judged(strategy("wan")), mean(lambda i, j: cross(z(i, j), 0) / (LABELS - 1))


def durand() -> Iterator[Pair]:
    for gamma, at_tenth in ((1.0, 5.0), (-1.0, 3.0)):
        a = (at_tenth - 1) / (0.1**gamma - 1)
        total = 0.0
        for i in range(ROWS):
            known = [j for j in range(LABELS) if STATES[i][j] is not None]
            if known:
                g = a * (len(known) / LABELS) ** gamma + 1 - a
                total += g / LABELS * sum(plain(i, j) for j in known)
        yield judged(strategy("durand", gamma=gamma, at_tenth=at_tenth)), total / ROWS


def surplus(p: Callable[[int, int], float]) -> float:
    return (sum(p(i, j) for i, j in CELLS) / ROWS - EXPECTED) / LABELS


def epr() -> Iterator[Pair]:
    known = sum(plain(i, j) for i, j in CELLS if STATES[i][j] is not None)
    whole = 0.7 * surplus(lambda i, j: sigma(z(i, j))) ** 2
    yield judged(strategy("epr", expected=EXPECTED, weight=0.7)), known / (ROWS * LABELS) + whole


def a_table() -> torch.Tensor:
    return torch.tensor([[0.5 * i - 0.25 * j - 1 for j in range(LABELS)] for i in range(ROWS)])


def estimate(i: int, j: int) -> float:
    y = STATES[i][j]
    return sigma(0.5 * i - 0.25 * j - 1) if y is None else float(y)


def role() -> Iterator[Pair]:
    loss = strategy("role", expected=EXPECTED, weight=0.7)
    loss.strategy.table.copy_(a_table())
    whole = 0.35 * surplus(lambda i, j: sigma(z(i, j))) ** 2
    yield judged(loss, stores_state=False), mean(lambda i, j: cross(z(i, j), estimate(i, j)) / 2) + whole


def role_table() -> Iterator[Pair]:
    """The derivative by difference quotients; the table itself is held in fp32."""
    loss = strategy("role", expected=EXPECTED, weight=0.7, rate=2.0)
    loss.strategy.table.copy_(a_table())
    judged(loss)
    for i, j in CELLS:
        t = 0.5 * i - 0.25 * j - 1
        if STATES[i][j] is not None:
            yield loss.strategy.table[i, j].item(), t
            continue

        def cost(u: float, i: int = i, j: int = j) -> float:
            total = sum(sigma(u) if (a, b) == (i, j) else estimate(a, b) for a, b in CELLS)
            p = sigma(z(i, j))
            own = -p * math.log(sigma(u)) - (1 - p) * math.log(1 - sigma(u))
            # A row's own step is that of its cells: the term of the batch is taken B L times.
            return own / 2 + 0.35 * ((total / ROWS - EXPECTED) / LABELS) ** 2 * ROWS * LABELS

        slope = (cost(t + 1e-5) - cost(t - 1e-5)) / 2e-5
        yield loss.strategy.table[i, j].item(), t - 2.0 * slope


role_table.close = 1e-6  # type: ignore[attr-defined]


def entropy(i: int, j: int) -> float:
    return cross(z(i, j), sigma(z(i, j)))


def em() -> Iterator[Pair]:
    yield judged(strategy("em", alpha=0.2)), mean(lambda i, j: -0.2 * entropy(i, j))


def em_apl() -> Iterator[Pair]:
    loss = strategy("em-apl", alpha=0.2, beta=0.3)
    made = {(0, 1): 0.25, (2, 3): 0.125, (4, 0): 0.5}
    for (i, j), score in made.items():
        loss.strategy.pseudo[i, j] = score
    value = judged(loss, epoch=6, stores_state=False)
    yield (
        value,
        mean(lambda i, j: 0.3 * cross(z(i, j), made[i, j]) if (i, j) in made else -0.2 * entropy(i, j)),
    )


def em_apl_choice() -> Iterator[Pair]:
    """Half of the ten epochs pass; the next takes round(.9 / 5 n_l) of a label, here with a share that takes some."""
    loss = strategy("em-apl", share=1.0, start=0.5)
    judged(loss, epoch=4)
    loss.strategy.start_epoch(5, 7)
    for j in range(LABELS):
        rows = sorted((sigma(z(i, j)), i) for i in range(ROWS) if STATES[i][j] is None)
        warmup = math.ceil(0.5 * 7)
        lowest = {i: p for p, i in rows[: round(len(rows) / (7 - warmup))]}
        for i in range(ROWS):
            made = loss.strategy.pseudo[i, j].item()
            yield (-1.0 if math.isnan(made) else made), lowest.get(i, -1.0)


em_apl_choice.close = 1e-6  # type: ignore[attr-defined]


def focused(value: float, margin: float, gamma: float = 2.0) -> float:
    q = sigma(value - margin)
    return -((1 - q) ** gamma) * math.log(q)


def with_margin(i: int, j: int) -> float:
    return focused(z(i, j), 1.0) if STATES[i][j] else plain(i, j)


def hill() -> Iterator[Pair]:
    def hidden(i: int, j: int) -> float:
        return (1.5 - sigma(z(i, j))) * sigma(z(i, j)) ** 2

    yield judged(strategy("hill")), mean(hidden, with_margin)


def splc() -> Iterator[Pair]:
    for epoch, corrected in ((0, True), (1, True), (1, False)):

        def hidden(i: int, j: int, epoch: int = epoch, corrected: bool = corrected) -> float:
            p = sigma(z(i, j))
            if epoch >= 1 and p > 0.6:
                return focused(z(i, j), 1.0 if corrected else 0.0)
            return -(p**2) * math.log(1 - p)

        loss = strategy("splc", margin_corrected=corrected)
        yield judged(loss, epoch), mean(hidden, with_margin)


def largest(number: int) -> set[tuple[int, int]]:
    """Of the unknown cells those with the largest losses as absent."""
    return set(sorted(UNKNOWN, key=lambda at: cross(z(*at), 0))[max(0, len(UNKNOWN) - number) :])


def ll_r() -> Iterator[Pair]:
    for epoch in (0, 1, 3):
        out = largest(math.ceil(ROWS * LABELS * epoch * 0.06)) if epoch else set()
        value = judged(strategy("ll-r", delta=0.06), epoch)
        yield value, mean(lambda i, j, out=out: 0.0 if (i, j) in out else cross(z(i, j), 0))  # type: ignore[misc]


def ll_ct() -> Iterator[Pair]:
    for epoch in (0, 1, 3):
        out = largest(math.ceil(ROWS * LABELS * epoch * 0.06)) if epoch else set()
        value = judged(strategy("ll-ct", delta=0.06), epoch)
        yield value, mean(lambda i, j, out=out: cross(z(i, j), float((i, j) in out)))  # type: ignore[misc]


def ll_cp() -> Iterator[Pair]:
    """Two steps of k = 2 cells; with `strict` one of them stays after each."""
    for strict in (False, True):
        loss, kept = strategy("ll-cp", delta=0.1, strict=strict), set()
        for _ in range(2):
            order = sorted((at for at in UNKNOWN if at not in kept), key=lambda at: cross(z(*at), 0))
            now = kept | set(order[-2:])
            yield judged(loss, 1), mean(lambda i, j, now=now: cross(z(i, j), float((i, j) in now)))  # type: ignore[misc]
            kept |= set(order[-1:]) if strict else set(order[-2:])
            turned = set(map(tuple, loss.strategy.flipped.nonzero().tolist()))
            yield float(turned == kept), 1.0


def csl() -> Iterator[Pair]:
    for topk, threshold, margin in ((0.0, 1.0, 0.0), (0.6, 0.5, 0.0), (1.0, 0.05, 0.2)):
        number = math.ceil(topk / LABELS * ROWS * LABELS - 1e-9)
        first = sorted(UNKNOWN, key=lambda at: z(*at))[len(UNKNOWN) - number :] if number else []

        def hidden(
            i: int, j: int, first: list = first, threshold: float = threshold, m: float = margin
        ) -> float | None:
            p = max(sigma(z(i, j)) - m, 0)
            return None if PRIOR[j] > threshold or (i, j) in first else -0.8 * p**1.5 * math.log(1 - p)

        options = {"gamma": 1.5, "alpha": 0.8, "topk": topk, "prior_threshold": threshold, "margin": margin}
        yield judged(strategy("csl", **options)), mean(hidden)


def vpu() -> Iterator[Pair]:
    for alpha, gamma in ((1.0, 0.0), (0.3, 0.7)):
        terms = []
        for j in range(LABELS):
            column = [z(i, j) for i in range(ROWS)]
            middle = sum(column) / ROWS
            t = max(0.05, min(1.0, alpha * math.sqrt(sum((v - middle) ** 2 for v in column) / ROWS)))
            present = [z(i, j) for i in range(ROWS) if STATES[i][j] == 1]
            if present:
                w = (sum(map(sigma, column)) / ROWS) ** gamma
                every = math.log(sum(sigma(v / t) for v in column) / ROWS)
                terms.append(w * every - sum(math.log(sigma(v / t)) for v in present) / len(present))
        # Known positives are in the term of the batch alone.
        rest = mean(lambda i, j: None, lambda i, j: 0.0 if STATES[i][j] else plain(i, j))
        yield judged(strategy("vpu", alpha=alpha, gamma=gamma)), sum(terms) / len(terms) + rest


def external() -> Iterator[Pair]:
    def hidden(i: int, j: int) -> float | None:
        return None if (i, j) == (0, 1) else 0.6 * cross(z(i, j), SCORES[i][j])

    yield judged(strategy("external", weight=0.6)), mean(hidden)
