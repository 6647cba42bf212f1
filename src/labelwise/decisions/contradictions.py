"""Contradictory labels: duplicates of an image with different labels, and labels that break a rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from labelwise.decisions.audit import Finding


def conflicting_duplicates(
    groups: Iterable[Sequence[int]],
    probabilities: Float[np.ndarray, "N L"],
    positive: Bool[np.ndarray, "N L"],
    known: Bool[np.ndarray, "N L"],
    names: Sequence[str],
) -> list[Finding]:
    """Cells in which images that look the same have different known states.

    The label of duplicates is assumed present if the mean `m` of their probabilities is at least 0.5. Cells that
    differ from it are listed with score `max(m, 1 - m)`.

    Args:
        groups: rows of images that look the same, as returned by `data.duplicates.near_duplicates`.
        probabilities: `[N, L]` in [0, 1].
        positive: `[N, L]`, used where known.
        known: `[N, L]`.
        names: `[N]` image names.
    """
    findings = []
    for group in groups:
        rows = np.asarray(group, np.int64)
        present, absent = positive[rows] & known[rows], ~positive[rows] & known[rows]
        for label in np.flatnonzero(present.any(0) & absent.any(0)).tolist():
            mean = float(probabilities[rows, label].mean())
            truth = mean >= 0.5
            agree, differ = rows[present[:, label]], rows[absent[:, label]]
            if not truth:
                agree, differ = differ, agree
            reason = (
                f"looks like {names[int(agree[0])]}, which is given as {'present' if truth else 'absent'}"
            )
            findings += [
                Finding(
                    int(row), label, int(not truth), int(truth), "duplicate", max(mean, 1 - mean),
                    float(probabilities[row, label]), reason,
                )
                for row in differ
            ]  # fmt: skip
    return findings


def exclusive_conflicts(
    exclusive: Iterable[Sequence[int]],
    probabilities: Float[np.ndarray, "N L"],
    positive: Bool[np.ndarray, "N L"],
    known: Bool[np.ndarray, "N L"],
    names: Sequence[str],
) -> list[Finding]:
    """Labels given as present together although their group allows at most one.

    The most probable one, `a`, is kept; every other, `b`, is listed with score `p_a / (p_a + p_b)`.

    Args:
        exclusive: columns of each exclusive group.
        probabilities: `[N, L]` in [0, 1].
        positive: `[N, L]`, read where known.
        known: `[N, L]`.
        names: `[L]` label names.
    """
    findings = []
    for group in exclusive:
        columns = np.asarray(group, np.int64)
        present = (positive & known)[:, columns]
        for row in np.flatnonzero(present.sum(1) > 1).tolist():
            conflicting = columns[present[row]]
            p = probabilities[row, conflicting]
            kept = int(conflicting[p.argmax()])
            for label, probability in zip(conflicting.tolist(), p.tolist(), strict=True):
                if label != kept:
                    score = float(p.max() / max(p.max() + probability, 1e-300))
                    reason = f"given together with {names[kept]}, which rules it out"
                    findings.append(Finding(row, label, 1, 0, "contradiction", score, probability, reason))
    return findings


@dataclass(frozen=True)
class Implication:
    """A label that rarely occurs without another.

    Args:
        label: column of the label, `a`.
        implied: column of the implied label, `b`.
        together: number of images with `a` and `b`.
        without: number of images with `a` in which `b` is known to be absent.
    """

    label: int
    implied: int
    together: int
    without: int


def implications(
    positive: Bool[np.ndarray, "N L"], known: Bool[np.ndarray, "N L"], support: int = 20, most: float = 0.05
) -> list[Implication]:
    """Pairs in which a label is rarely given without the other, such as a poodle without a dog.

    `a` implies `b` if at least `support` images have `a` present and `b` known, at most the share `most` of them
    lacks `b`, and `b` itself is absent from at least a fifth of the images where it is known; otherwise every label
    would imply it.

    Args:
        positive: `[N, L]`, used where known.
        known: `[N, L]`.
        support: fewest images that support a rule.
        most: largest share of exceptions, in [0, 1).

    >>> poodle, dog = [1] * 30 + [0] * 70, [1] * 29 + [0] * 61 + [1] * 10
    >>> cells = np.array([poodle, dog], bool).T
    >>> implications(cells, np.ones_like(cells))
    [Implication(label=0, implied=1, together=29, without=1)]
    """
    present = (positive & known).astype(np.int64)
    together, support_counts = present.T @ present, present.T @ known.astype(np.int64)
    without = support_counts - together
    often_absent = 5 * (known.sum(0) - present.sum(0)) >= known.sum(0)
    holds = (support_counts >= support) & (without <= most * support_counts) & often_absent[None, :]
    np.fill_diagonal(holds, False)
    return [
        Implication(int(a), int(b), int(together[a, b]), int(without[a, b])) for a, b in np.argwhere(holds)
    ]


def stated_implications(
    above: Mapping[int, Iterable[int]], positive: Bool[np.ndarray, "N L"], known: Bool[np.ndarray, "N L"]
) -> list[Implication]:
    """The implications stated by rules, with their counts in the images.

    Args:
        above: for each label all labels that it implies, as `IndexedRules.above`.
        positive: `[N, L]`, used where known.
        known: `[N, L]`.
    """
    stated = []
    for a, b in sorted((a, b) for a, upper in above.items() for b in upper):
        supporting = known[:, a] & positive[:, a] & known[:, b]
        together = int((supporting & positive[:, b]).sum())
        stated.append(Implication(a, b, together, int(supporting.sum()) - together))
    return stated


def implied_missing(
    rules: Iterable[Implication],
    probabilities: Float[np.ndarray, "N L"],
    positive: Bool[np.ndarray, "N L"],
    known: Bool[np.ndarray, "N L"],
    names: Sequence[str],
) -> list[Finding]:
    """The exceptions of implications: `a` present with `b` absent.

    Either `b` is missing, with probability `p_b`, or `a` is wrong, with `1 - p_a`; the likelier change is proposed.

    Args:
        rules: from `implications`.
        probabilities: `[N, L]` in [0, 1].
        positive: `[N, L]`, read where known.
        known: `[N, L]`.
        names: `[L]` label names.
    """
    findings = []
    for rule in rules:
        a, b = rule.label, rule.implied
        share = f"in {rule.together} of {rule.together + rule.without} images"
        exceptions = known[:, a] & positive[:, a] & known[:, b] & ~positive[:, b]
        for row in np.flatnonzero(exceptions).tolist():
            p_a, p_b = float(probabilities[row, a]), float(probabilities[row, b])
            if p_b >= 1 - p_a:
                reason = f"{names[a]} comes with it {share}"
                findings.append(Finding(row, b, 0, 1, "contradiction", p_b, p_b, reason))
            else:
                reason = f"comes with {names[b]} {share}, and here without"
                findings.append(Finding(row, a, 1, 0, "contradiction", 1 - p_a, p_a, reason))
    return findings
