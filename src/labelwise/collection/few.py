"""A linear classifier from a few examples, with the scores of examples that were left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy import stats

from labelwise.collection.queries import AWAY

SHRINK = 30.0
"""Multiple of the mean variance that is added to the variance of every direction."""
DRAWS, ENOUGH = 199, 2_000
"""Random sets of the permutation test, and images that it draws from, at most."""
LEVEL = 0.05
"""Highest p-value at which examples left out rank above other images."""


@dataclass(frozen=True)
class Fitted:
    """A linear classifier and what leaving out single examples says about it.

    Args:
        weight, bias: of the score `<w, s> + b`, a calibrated logit.
        threshold: probability from which the label is selected.
        left_out: scores of the positives, each by a classifier without it.
        others: scores of the other images.
        rank: mean share of the other images that a positive left out ranks above; .5 is chance.
        low, high: its interval at 90 %.
        p_value: of "no better than chance", by a permutation test: the share of random images in the positives' place
            that rank at least as high.
        prevalence: estimated share of other images that have the label.
    """

    weight: Float64[np.ndarray, " D"]
    bias: float
    threshold: float
    left_out: Float64[np.ndarray, " p"]
    others: Float64[np.ndarray, " n"]
    rank: float
    low: float
    high: float
    p_value: float
    prevalence: float

    @property
    def learned(self) -> bool:
        """Whether positives that are left out rank above other images, beyond chance."""
        return self.p_value <= LEVEL


class Space:
    """Features in directions of equal variance, by which classes of few examples are told apart.

    Args:
        features: `[N, D]` of images at large.
        shrink: see `SHRINK`.

    Source: linear discriminant analysis with one covariance of all images, as Hariharan, Malik and Ramanan 2012,
    "Discriminative Decorrelation for Clustering and Classification".
    """

    def __init__(self, features: np.ndarray, shrink: float = SHRINK) -> None:
        x = np.asarray(features, np.float64)
        self.mean, self.shrink = x.mean(0), shrink
        centred = x - self.mean
        covariance = centred.T @ centred / max(1, len(x))
        ridge = shrink * max(float(np.trace(covariance)) / len(covariance), 1e-12)
        factor = np.linalg.cholesky(covariance + ridge * np.eye(len(covariance)))
        self.scale = np.linalg.inv(factor).T

    def __call__(self, features: np.ndarray) -> Float64[np.ndarray, "n D"]:
        """Features in these directions."""
        return (np.asarray(features, np.float64) - self.mean) @ self.scale


def fit_few(space: Space, positives: np.ndarray, negatives: np.ndarray, others: np.ndarray) -> Fitted:
    """A classifier of positives against negatives and other images.

    Args:
        space: of the features.
        positives: `[p, D]`, two or more.
        negatives: `[n, D]`, may be empty.
        others: `[N, D]`, images that are not labelled, as negatives at large; empty only beside negatives.
    """
    p, n, other = space(positives), space(negatives), space(others)
    direction = _direction(p, n)
    left_out = np.array([p[i] @ _direction(np.delete(p, i, 0), n) for i in range(len(p))])
    # Negatives left out too, so that they do not look easier than they are.
    negative_scores = np.array([n[i] @ _direction(p, np.delete(n, i, 0)) for i in range(len(n))])
    other_scores = other @ direction
    compared = other_scores if len(other) else negative_scores
    ranks = np.array([(s > compared).mean() + (s == compared).mean() / 2 for s in left_out])
    low, high = _interval(ranks)
    p_value = _p_value(float(ranks.mean()), p, n, other[:: -(-len(other) // ENOUGH)] if len(other) else n)
    unlike = np.concatenate([other_scores, negative_scores])
    scale, bias, threshold, prevalence = _calibrated(left_out, unlike)
    weight = scale * (space.scale @ direction)
    return Fitted(
        weight,
        bias - float(weight @ space.mean),
        threshold,
        left_out,
        other_scores,
        float(ranks.mean()),
        low,
        high,
        p_value,
        prevalence,
    )


def _direction(p: np.ndarray, n: np.ndarray) -> np.ndarray:
    """`mean(p) - 0.2 mean(n)` of unit length, from the mean of images at large, as `labelwise search` does."""
    direction = p.mean(0) - (AWAY * n.mean(0) if len(n) else 0.0)
    return direction / max(float(np.linalg.norm(direction)), 1e-12)


def _p_value(rank: float, p: np.ndarray, n: np.ndarray, others: np.ndarray) -> float:
    """The p-value of a mean rank among those of random images of the positives and others, left out one by one."""
    pool, rng = np.concatenate([p, others]), np.random.default_rng(0)
    rows = np.stack([rng.choice(len(pool), len(p), replace=False) for _ in range(DRAWS)])
    samples = pool[rows]  # [R, p, D]
    negative_part = AWAY * n.mean(0) if len(n) else 0.0
    sums = samples.sum(1, keepdims=True)
    directions = (sums - samples) / (len(p) - 1) - negative_part
    left_out = (samples * directions).sum(2) / np.maximum(np.linalg.norm(directions, axis=2), 1e-12)
    full_directions = sums[:, 0] / len(p) - negative_part
    full_directions /= np.maximum(np.linalg.norm(full_directions, axis=1, keepdims=True), 1e-12)
    scores = pool @ full_directions.T  # [N, R]
    np.put_along_axis(scores, rows.T, np.inf, axis=0)  # no image is compared with itself
    shares = (left_out[:, :, None] > scores.T[:, None]).sum(2) / max(1, len(pool) - len(p))
    return float((1 + (shares.mean(1) >= rank).sum()) / (1 + DRAWS))


def _interval(ranks: np.ndarray) -> tuple[float, float]:
    """Student's interval of the mean at 90 %, within [0, 1]."""
    half_width = float(stats.t.ppf(0.95, len(ranks) - 1) * ranks.std(ddof=1) / np.sqrt(len(ranks)))
    return max(0.0, float(ranks.mean()) - half_width), min(1.0, float(ranks.mean()) + half_width)


def _calibrated(positives: np.ndarray, others: np.ndarray) -> tuple[float, float, float, float]:
    """Scale and bias of the logit, the threshold on its probability, and the prevalence.

    The prevalence is the largest with which the positives' scores fit into those of the other images,
    `min over t of share of others above t / share of positives above t`, over thresholds that half of the positives
    reach. The logit is that of two normal distributions of one variance. The threshold maximises the expected F1.

    Source: Blanchard, Lee and Scott 2010, "Semi-Supervised Novelty Detection" (prevalence).
    """
    positive_mean, other_mean = positives.mean(), others.mean()
    spread = np.sqrt(
        (positives.var() * len(positives) + others.var() * len(others)) / (len(positives) + len(others))
    )
    spread = max(float(spread), 1e-9)
    thresholds = np.quantile(np.concatenate([positives, others]), np.linspace(0, 1, 401))
    recall = stats.norm.sf(thresholds, positive_mean, max(float(positives.std(ddof=1)), spread / 4))
    selected = np.array([(others >= t).mean() for t in thresholds]) + 1 / len(others)
    reached = recall >= 0.5
    prevalence = float(min(0.5, (selected[reached] / recall[reached]).min())) if reached.any() else 0.5
    f1 = 2 * recall * prevalence / (selected + prevalence)
    scale = max(float(positive_mean - other_mean) / spread**2, 1e-6)
    bias = float(np.log(prevalence / (1 - prevalence)) - scale * (positive_mean + other_mean) / 2)
    logit = scale * thresholds[int(f1.argmax())] + bias
    return scale, bias, float(1 / (1 + np.exp(-logit))), prevalence
