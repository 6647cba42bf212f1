"""Masks of known labels: the standard protocols for partial and single-positive labels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int64

from labelwise.errors import LabelwiseError


def known_mask(rows: int, labels: int, proportion: float, seed: int = 0) -> Bool[np.ndarray, "N L"]:
    """Mask of known cells, each known with the same probability (`bernoulli.v1`).

    `known[i, l] = u[i, l] < proportion`, `u` uniform float64 in C order from NumPy's legacy stream, which is
    stable. Masks of one seed are nested: those known at .1 are known at .2.

    Args:
        rows: number of images, in the protocol's image order.
        labels: number of labels, in the protocol's label order.
        proportion: share of known cells, in [0, 1]; the protocols use k / 10.
        seed: 0 is the published mask; 1 to 4 are repeats.

    Returns:
        `[rows, labels]` bool.

    Raises:
        LabelwiseError: for a proportion outside [0, 1] or a negative size.

    Source: partial-label protocol of SST, HST and SARB (`seed(0); random(shape)`).

    >>> int(known_mask(5011, 20, 0.1).sum())
    10108
    """
    if not 0 <= proportion <= 1:
        raise LabelwiseError(f"a known proportion of {proportion}", "a share in [0, 1]", "write 10 % as 0.1")
    if rows < 0 or labels < 0:
        raise LabelwiseError(f"a mask of {rows} x {labels}", "sizes of 0 or more", "correct the sizes")
    return np.random.RandomState(seed).random_sample((rows, labels)) < proportion


def group_mask(
    group: Int64[np.ndarray, " N"], labels: int, proportion: float, seed: int = 0
) -> Bool[np.ndarray, "N L"]:
    """Mask of known cells that images of one group share, so that no image shows what is hidden in another.

    The rows of `known_mask` are given to the groups by ascending code.

    Args:
        group: `[N]`, such as the person or the scene of each image.
        labels: number of labels.
        proportion: share of known cells, in [0, 1].
        seed: as in `known_mask`.

    Returns:
        `[N, labels]` bool.

    Raises:
        LabelwiseError: for a proportion outside [0, 1].

    >>> group_mask(np.array([7, 3, 7]), 4, 0.5).tolist()[0::2]
    [[True, False, True, False], [True, False, True, False]]
    """
    codes, place = np.unique(group, return_inverse=True)
    return known_mask(len(codes), labels, proportion, seed)[place]


def positives_mask(
    positive: Bool[np.ndarray, "N L"], proportion: float = 1.0, seed: int = 0
) -> Bool[np.ndarray, "N L"]:
    """Mask of known cells when only positives are known, each with the same probability (`drop-pos.v1`).

    The random numbers are those of `known_mask`, so masks of one seed are nested here too.

    Args:
        positive: `[N, L]` bool, the true labels in the protocol's order.
        proportion: share of known positives, in [0, 1].
        seed: as in `known_mask`.

    Returns:
        `[N, L]` bool, within `positive`.

    Raises:
        LabelwiseError: for a proportion outside [0, 1].

    Source: the missing-label setting of Hill and SPLC (Zhang et al., 2021), with another random mask.

    >>> positives_mask(np.array([[True, False], [True, True]])).tolist()
    [[True, False], [True, True]]
    """
    rows, labels = positive.shape
    return positive & known_mask(rows, labels, proportion, seed)


def single_positive_mask(positive: Bool[np.ndarray, "N L"], seed: int = 1200) -> Bool[np.ndarray, "N L"]:
    """Mask of known cells when one positive of each image is known and nothing else (`single-pos.v1`).

    Rows are processed in order; the positive indices are shuffled and the first is kept; the negative indices are
    shuffled too and none is kept, because that second shuffle changes the random stream of all later rows.

    Args:
        positive: `[N, L]` bool, the true labels in the protocol's order.
        seed: of NumPy's legacy generator; 1200 is the published one.

    Returns:
        `[N, L]` bool, one known cell in each row that has a positive.

    Source: single-positive protocol of ROLE (Cole et al., 2021), as released.

    >>> single_positive_mask(np.array([[True, True, False], [False, False, False]])).sum(1).tolist()
    [1, 0]
    """
    stream = np.random.RandomState(seed)
    known = np.zeros(positive.shape, bool)
    for row_known, row_positive in zip(known, positive, strict=True):
        present, absent = np.flatnonzero(row_positive), np.flatnonzero(~row_positive)
        stream.shuffle(present)
        stream.shuffle(absent)
        row_known[present[:1]] = True
    return known
