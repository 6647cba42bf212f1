"""Probabilities that annotations are wrong, from scores of models that were not trained on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from scipy.special import expit, logit

SPREAD = 1.0
"""Standard deviation, in log-odds, of a label's rates of wrong annotations around those of all labels."""
SHRINK = 3.0
"""Weight of the penalty on a label's scale and bias, as in `calibrate`."""
PLANTED = 0.03
"""Share of annotations that the check flips."""
_LOWEST, _HIGHEST = 1e-6, 0.49
_START_RATE = 0.01  # rates where the fit starts


@dataclass(frozen=True)
class Noise:
    """Probabilities of labels, and rates at which annotations are wrong.

    Args:
        scale: `[L]`, positive.
        bias: `[L]`.
        added: `[L]`, share of the images without the label that are annotated as present.
        missed: `[L]`, share of the images with the label that are annotated as absent.
    """

    scale: np.ndarray
    bias: np.ndarray
    added: np.ndarray
    missed: np.ndarray

    def present(self, logits: Float[np.ndarray, "N L"]) -> Float[np.ndarray, "N L"]:
        """Probability `q` that the label is present, from the image alone."""
        return np.asarray(expit(self.scale * np.asarray(logits, np.float64) + self.bias))

    def wrong(
        self, logits: Float[np.ndarray, "N L"], positive: Bool[np.ndarray, "N L"]
    ) -> Float[np.ndarray, "N L"]:
        """Probability that the annotation, present where `positive` and absent elsewhere, is wrong."""
        z = self.scale * np.asarray(logits, np.float64) + self.bias
        q, absent = expit(z), expit(-z)
        as_present = self.added * absent / (self.added * absent + (1 - self.missed) * q)
        as_absent = self.missed * q / (self.missed * q + (1 - self.added) * absent)
        return np.where(positive, as_present, as_absent)


def fit_noise(
    logits: Float[np.ndarray, "N L"], positive: Bool[np.ndarray, "N L"], known: Bool[np.ndarray, "N L"]
) -> Noise:
    """Rates of wrong annotations and calibration of each label's logit `z`, by penalised likelihood of

        P(annotated as present | z) = added + (1 - added - missed) q,     q = sigmoid(scale z + bias)

    An image's annotation is thus flipped at a rate that depends on its true state alone. The rates are those at
    which an image's probability of being annotated levels out for the lowest and the highest logits.

    The labels are fitted twice. The penalty of the second time keeps the log-odds of the rates near those of all
    labels together (`SPREAD`), so that a label with few positives has no rates of its own.

    Args:
        logits: finite where known.
        positive: used where known.
        known: a label without a known cell has the parameters of all labels together.

    Source: the noise model of Natarajan et al. 2013, "Learning with Noisy Labels", section 2: class-conditional
        flips. The fit is ours.
    """
    z, y = np.asarray(logits, np.float64), np.asarray(positive, bool)
    cells = [(z[known[:, j], j], y[known[:, j], j]) for j in range(z.shape[1])]
    pooled = _fit(z[known], y[known], np.array([0.0, 0.0, logit(_START_RATE), logit(_START_RATE)]), 0.0, 0.0)
    first_fit = np.array([_fit(*label_cells, pooled, SHRINK, 0.0) for label_cells in cells])
    centre = np.array([*pooled[:2], *_rates_together(cells, first_fit)])
    fitted = np.array([_fit(*label_cells, centre, SHRINK, SPREAD**-2) for label_cells in cells])
    return Noise(np.exp(fitted[:, 0]), fitted[:, 1], expit(fitted[:, 2]), expit(fitted[:, 3]))


def _rates_together(cells: list[tuple[np.ndarray, np.ndarray]], fitted: np.ndarray) -> np.ndarray:
    """Log-odds of the rates over all cells: expected wrong ones of both kinds over the cells without and with."""
    wrong_counts, counts = np.zeros(2), np.zeros(2)
    for (z, _), (scale, bias, *rates) in zip(cells, fitted, strict=True):
        q = expit(np.exp(scale) * z + bias).sum()
        states = np.array([len(z) - q, q])
        wrong_counts += expit(np.array(rates)) * states
        counts += states
    return np.asarray(logit(np.clip(wrong_counts / np.maximum(counts, 1e-9), _LOWEST, _HIGHEST)))


def _fit(z: np.ndarray, y: np.ndarray, centre: np.ndarray, shrink: float, pull: float) -> np.ndarray:
    """The log of the scale, the bias, and the log-odds of both rates.

    Args:
        centre: start, and centre of the penalties.
        shrink: weight of the penalty on scale and bias.
        pull: weight of the penalty on the log-odds of the rates.
    """
    weight = np.array([shrink, shrink, pull, pull])

    def cost(w: np.ndarray) -> tuple[float, np.ndarray]:
        scale, rates = np.exp(w[0]), expit(w[2:])
        u = scale * z + w[1]
        q, absent = expit(u), expit(-u)
        p = rates[0] * absent + (1 - rates[1]) * q
        not_p = (1 - rates[0]) * absent + rates[1] * q
        slope = np.where(y, -1 / p, 1 / not_p)
        by_u = slope * (1 - rates.sum()) * q * absent
        gradient = np.array([scale * (by_u @ z), by_u.sum(), slope @ absent, -(slope @ q)])
        gradient[2:] *= rates * (1 - rates)
        offset = w - centre
        value = -np.log(np.where(y, p, not_p)).sum() + 0.5 * float(weight @ offset**2)
        return value, gradient + weight * offset

    low, high = logit(_LOWEST), logit(_HIGHEST)
    bounds = [(np.log(0.05), np.log(20.0)), (None, None), (low, high), (low, high)]
    # From rates near 0 the gradient in their log-odds vanishes.
    start = np.array([*centre[:2], *np.maximum(centre[2:], logit(1e-3))])
    return np.asarray(minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds).x)


@dataclass(frozen=True)
class Check:
    """The estimate on a copy of the annotations in which a known number was flipped.

    Args:
        planted: annotations that were flipped.
        rise: of the expected number of wrong annotations.
    """

    planted: int
    rise: float


def check_noise(
    noise: Noise,
    logits: Float[np.ndarray, "N L"],
    positive: Bool[np.ndarray, "N L"],
    known: Bool[np.ndarray, "N L"],
    seed: int = 0,
) -> Check:
    """Flips `PLANTED` of the known annotations in a copy, estimates again, and compares the expected numbers.

    A logit does not depend on its own annotation, so the scores stay the same: no model is trained again.
    """
    flipped = np.asarray(positive, bool).copy()
    cells = np.argwhere(known)
    chosen = np.random.default_rng(seed).choice(len(cells), round(PLANTED * len(cells)), replace=False)
    flipped_cells = cells[chosen]
    flipped[tuple(flipped_cells.T)] ^= True
    before = noise.wrong(logits, positive)[known].sum()
    after = fit_noise(logits, flipped, known).wrong(logits, flipped)[known].sum()
    return Check(len(flipped_cells), float(after - before))
