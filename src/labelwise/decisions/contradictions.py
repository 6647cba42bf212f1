"""Labels that cannot all be right: copies of an image labelled apart, and labels against a rule of theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from labelwise.decisions.audit import Finding


def copies_apart(
    groups: Iterable[Sequence[int]],
    probabilities: Float[np.ndarray, "N L"],
    positive: Bool[np.ndarray, "N L"],
    known: Bool[np.ndarray, "N L"],
    names: Sequence[str],
) -> list[Finding]:
    """Cells in which images that look the same carry different known states.

    Copies have one truth: it is taken to be present where the mean `m` of their probabilities reaches one half. Cells
    that say otherwise are listed with score `max(m, 1 - m)`.

    Args:
        groups: rows of images that look the same, as `data.duplicates.near_duplicates` gives them.
        probabilities: `[N, L]` in [0, 1].
        positive: `[N, L]`, read where known.
        known: `[N, L]`.
        names: `[N]` how to name each image.
    """
    found = []
    for group in groups:
        rows = np.asarray(group, np.int64)
        yes, no = positive[rows] & known[rows], ~positive[rows] & known[rows]
        for label in np.flatnonzero(yes.any(0) & no.any(0)).tolist():
            mean = float(probabilities[rows, label].mean())
            truth = mean >= 0.5
            agree, differ = (rows[yes[:, label]], rows[no[:, label]])[:: 1 if truth else -1]
            reason = (
                f"looks like {names[int(agree[0])]}, which is given as {'present' if truth else 'absent'}"
            )
            found += [
                Finding(
                    int(row), label, int(not truth), int(truth), "duplicate", max(mean, 1 - mean),
                    float(probabilities[row, label]), reason,
                )
                for row in differ
            ]  # fmt: skip
    return found


def exclusive_conflicts(
    exclusive: Iterable[Sequence[int]],
    probabilities: Float[np.ndarray, "N L"],
    positive: Bool[np.ndarray, "N L"],
    known: Bool[np.ndarray, "N L"],
    names: Sequence[str],
) -> list[Finding]:
    """Labels given as present together although their group allows one at most.

    The most probable one, `a`, is kept; each other, `b`, is listed with score `p_a / (p_a + p_b)`.

    Args:
        exclusive: columns of each exclusive group.
        probabilities: `[N, L]` in [0, 1].
        positive: `[N, L]`, read where known.
        known: `[N, L]`.
        names: `[L]` label names.
    """
    found = []
    for group in exclusive:
        columns = np.asarray(group, np.int64)
        given = (positive & known)[:, columns]
        for row in np.flatnonzero(given.sum(1) > 1).tolist():
            together = columns[given[row]]
            p = probabilities[row, together]
            kept = int(together[p.argmax()])
            for label, own in zip(together.tolist(), p.tolist(), strict=True):
                if label != kept:
                    score = float(p.max() / max(p.max() + own, 1e-300))
                    reason = f"given together with {names[kept]}, which rules it out"
                    found.append(Finding(row, label, 1, 0, "contradiction", score, own, reason))
    return found


@dataclass(frozen=True)
class Implication:
    """A label that hardly ever stands without another.

    Args:
        label: column of the one, `a`.
        implied: column of the other, `b`.
        together: images with `a` and `b`.
        without: images with `a` and, known, not `b`.
    """

    label: int
    implied: int
    together: int
    without: int


def implications(
    positive: Bool[np.ndarray, "N L"], known: Bool[np.ndarray, "N L"], support: int = 20, most: float = 0.05
) -> list[Implication]:
    """Pairs in which a label is hardly ever given without the other, as a poodle without a dog.

    `a` implies `b` where at least `support` images have `a` present and `b` known, at most the share `most` of them
    lacks `b`, and `b` itself is absent from at least a fifth of the images where it is known, or it would be implied
    by everything.

    Args:
        positive: `[N, L]`, read where known.
        known: `[N, L]`.
        support: images that a rule stands on.
        most: largest share of exceptions, in [0, 1).

    >>> poodle, dog = [1] * 30 + [0] * 70, [1] * 29 + [0] * 61 + [1] * 10
    >>> cells = np.array([poodle, dog], bool).T
    >>> implications(cells, np.ones_like(cells))
    [Implication(label=0, implied=1, together=29, without=1)]
    """
    yes = (positive & known).astype(np.int64)
    together, anchored = yes.T @ yes, yes.T @ known.astype(np.int64)
    without = anchored - together
    often_absent = 5 * (known.sum(0) - yes.sum(0)) >= known.sum(0)
    holds = (anchored >= support) & (without <= most * anchored) & often_absent[None, :]
    np.fill_diagonal(holds, False)
    return [
        Implication(int(a), int(b), int(together[a, b]), int(without[a, b])) for a, b in np.argwhere(holds)
    ]


def ruled(
    above: Mapping[int, Iterable[int]], positive: Bool[np.ndarray, "N L"], known: Bool[np.ndarray, "N L"]
) -> list[Implication]:
    """The implications that rules give, with what the images say of them.

    Args:
        above: for each label all that follow from it, as `IndexedRules.above`.
        positive: `[N, L]`, read where known.
        known: `[N, L]`.
    """
    found = []
    for a, b in sorted((a, b) for a, upper in above.items() for b in upper):
        anchored = known[:, a] & positive[:, a] & known[:, b]
        together = int((anchored & positive[:, b]).sum())
        found.append(Implication(a, b, together, int(anchored.sum()) - together))
    return found


def implied_missing(
    rules: Iterable[Implication],
    probabilities: Float[np.ndarray, "N L"],
    positive: Bool[np.ndarray, "N L"],
    known: Bool[np.ndarray, "N L"],
    names: Sequence[str],
) -> list[Finding]:
    """The exceptions of implications: `a` present with `b` absent.

    Either `b` is missing, with probability `p_b`, or `a` is wrong, with `1 - p_a`: the likelier change is proposed.

    Args:
        rules: from `implications`.
        probabilities: `[N, L]` in [0, 1].
        positive: `[N, L]`, read where known.
        known: `[N, L]`.
        names: `[L]` label names.
    """
    found = []
    for rule in rules:
        a, b = rule.label, rule.implied
        share = f"in {rule.together} of {rule.together + rule.without} images"
        broken = known[:, a] & positive[:, a] & known[:, b] & ~positive[:, b]
        for row in np.flatnonzero(broken).tolist():
            p_a, p_b = float(probabilities[row, a]), float(probabilities[row, b])
            if p_b >= 1 - p_a:
                reason = f"{names[a]} comes with it {share}"
                found.append(Finding(row, b, 0, 1, "contradiction", p_b, p_b, reason))
            else:
                reason = f"comes with {names[b]} {share}, and here without"
                found.append(Finding(row, a, 1, 0, "contradiction", 1 - p_a, p_a, reason))
    return found
