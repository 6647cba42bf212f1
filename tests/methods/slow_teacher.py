"""What a teacher is learned by, by loops in plain Python, each from its equation in docs/distillation.md."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from slow_losses import Pair, cross, sigma
from slow_parts import MODEL, STATES, B, D, L, cosine, dot, some, targets
from torch import nn

from labelwise.losses.distillation import presence
from labelwise.taught import TeacherBatch
from labelwise.terms.teacher import TeacherTerm
from labelwise.terms.term import Step
from labelwise.types import Output

WIDTH = D + 2
SEEN = [True, True, False, True, True]


def taught(width: int = WIDTH) -> TeacherBatch:
    """Answers of which the third row is not to be learned."""
    z, seen = 2 * some(B, L, seed=11), torch.tensor(SEEN)
    features = nn.functional.normalize(some(B, L, width, seed=12), dim=2)
    return TeacherBatch(z, features, presence(targets(), z) * seen[:, None], seen)


def step_of(answers: TeacherBatch) -> Step:
    output = Output(some(B, L, seed=13), some(B, L, D, seed=15), None, some(B, L, D, seed=14))
    return Step(MODEL, targets(), output, nn.Identity(), torch.arange(B), 0, 1, answers)


def _divergence(z: float, q: float, t: float) -> float:
    return t * t * (cross(z / t, q) - cross(math.log(q / (1 - q)), q))


def scores() -> Iterator[Pair]:
    """Of every cell, known or not, of the rows that are seen."""
    step = step_of(taught())
    z, u = step.output.logits.tolist(), step.taught.logits.tolist()  # type: ignore[union-attr]
    for t, weight in ((1.0, 1.0), (2.5, 0.3)):
        cells = [_divergence(z[i][j], sigma(u[i][j] / t), t) for i in range(B) for j in range(L) if SEEN[i]]
        losses = TeacherTerm(D, WIDTH, weight, 0.0, t)(step)
        yield losses["teacher_logits"].item(), weight * sum(cells) / len(cells)
        yield float("teacher_features" in losses), 0.0


def likely() -> Iterator[Pair]:
    z = some(B, L, seed=11)
    weights = presence(targets(), z)
    for i in range(B):
        for j in range(L):
            y = STATES[i][j]
            yield weights[i, j].item(), sigma(z[i, j].item()) if y is None else float(y)


def features() -> Iterator[Pair]:
    for width in (WIDTH, D):
        step = step_of(taught(width))
        term = TeacherTerm(D, width, 0.0, 0.7).double()
        f, g = step.output.decoupled.tolist(), step.taught.features.tolist()  # type: ignore[union-attr]
        u = step.taught.logits.tolist()  # type: ignore[union-attr]
        total = weights = 0.0
        for i in range(B):
            for j in range(L):
                y = STATES[i][j]
                w = SEEN[i] * (sigma(u[i][j]) if y is None else float(y))
                own = f[i][j]
                if width != D:
                    rows = zip(term.map.weight.tolist(), term.map.bias.tolist(), strict=True)  # type: ignore[operator]
                    own = [dot(row, own) + b for row, b in rows]
                total, weights = total + w * (1 - cosine(own, g[i][j])), weights + w
        yield term(step)["teacher_features"].item(), 0.7 * total / max(1.0, weights)


def blended() -> Iterator[Pair]:
    """Row 0 is joined with row 4 and row 1 with row 3; row 2, its own partner, is not seen."""
    share = torch.tensor([0.8, 0.6, 0.7, 0.6, 0.8], dtype=torch.float64)
    answers = taught().joined(share)
    step, u = step_of(answers), taught().logits.tolist()
    z, cells = step.output.logits.tolist(), []
    for i in (0, 1, 3, 4):
        for j in range(L):
            own = share[i].item()
            q = own * sigma(u[i][j] / 2) + (1 - own) * sigma(u[B - 1 - i][j] / 2)
            cells.append(_divergence(z[i][j], q, 2.0))
    yield TeacherTerm(D, D, 1.0, 0.0, 2.0)(step)["teacher_logits"].item(), sum(cells) / len(cells)
