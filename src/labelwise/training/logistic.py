"""Logistic regressions of many labels at many strengths of regularisation, solved jointly to their optimum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Solution:
    """Weights and biases on the unscaled features.

    Args:
        weight: `[S, L, D]`, for each strength.
        bias: `[S, L]`.
        steps: steps taken until all problems were solved.
        residual: the largest remaining gradient norm of a problem.
    """

    weight: Float[Tensor, "S L D"]
    bias: Float[Tensor, "S L"]
    steps: int
    residual: float


def solve(
    features: Float[Tensor, "N D"],
    values: Float[Tensor, "N L"],
    known: Bool[Tensor, "N L"],
    strengths: Float[Tensor, "S L"],
    tolerance: float = 1e-3,
    most_steps: int = 500,
) -> Solution:
    """The minimum over `w, b`, for each strength and each label, of

        mean over known cells of [ softplus(z_n) - y_n z_n ] + (strength / 2) |w|^2,   z_n = <w, s_n> + b

    where `s` are the features scaled to mean 0 and deviation 1. A label without a known cell gets weights of 0.

    All problems take steps of Nesterov's accelerated gradient in the basis of the features' principal axes, each axis
    at the rate that its curvature allows. A step that is too long is halved and repeated, and momentum restarts if it
    points uphill.

    Args:
        features: features of each image.
        values: label states in [0, 1]; ignored where not known.
        known: cells that count.
        strengths: of the penalty, above 0, per label.
        tolerance: on the norm of each problem's gradient.
        most_steps: largest number of steps, converged or not.

    Source: Nesterov (1983); restarts as in O'Donoghue and Candes (2015).
    """
    mean, deviation = features.mean(0), features.std(0, correction=0).clamp(min=1e-6)
    scaled = (features - mean) / deviation
    curvature, axes = torch.linalg.eigh(scaled.T @ scaled / len(scaled))
    # The last column is 1, for the bias.
    rotated = torch.cat([scaled @ axes, scaled.new_ones(len(scaled), 1)], 1)
    problem = _Problem(rotated, values, known, strengths, curvature.clamp(min=0))
    solved, steps, residual = _descend(problem, tolerance, most_steps)
    weight = (axes @ solved[:-1]) / deviation[:, None]
    bias = solved[-1] - mean @ weight
    shape = strengths.shape
    return Solution(weight.T.reshape(*shape, -1), bias.reshape(shape), steps, residual)


class _Problem:
    """Objectives and gradients of all problems; one column for each strength and label."""

    def __init__(
        self, rotated: Tensor, values: Tensor, known: Tensor, strengths: Tensor, curvature: Tensor
    ) -> None:
        self.rotated, self.columns = rotated, strengths.numel()
        self._times = len(strengths)
        self._share = known / known.sum(0).clamp(min=1)
        self._present = self._share * values
        penalty = strengths.reshape(1, -1).expand(rotated.shape[1] - 1, -1)
        self._penalty = torch.cat([penalty, penalty.new_zeros(1, self.columns)])
        # A quarter is the largest slope of a sigmoid; the bias has the curvature of a column of ones.
        bound = torch.cat([curvature, curvature.new_ones(1)])[:, None] / 4
        self.rate = 1 / (bound + self._penalty)

    def value_and_gradient(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Objective `[C]` and gradient `[D + 1, C]`."""
        logits = (self.rotated @ weights).unflatten(1, (self._times, -1))
        share, present = self._share[:, None], self._present[:, None]
        cost = (share * functional.softplus(logits) - present * logits).sum(0).flatten()
        slope = (share * logits.sigmoid() - present).flatten(1)
        penalised = self._penalty * weights
        return cost + (penalised * weights).sum(0) / 2, self.rotated.T @ slope + penalised


def _descend(problem: _Problem, tolerance: float, most_steps: int) -> tuple[Tensor, int, float]:
    """Accelerated gradient descent with a step length per column; returns the point, steps and residual."""
    point = problem.rotated.new_zeros(problem.rotated.shape[1], problem.columns)
    lookahead, momentum = point.clone(), point.new_ones(problem.columns)
    length = point.new_ones(problem.columns)
    step, residual = 0, float("inf")
    while step < most_steps:
        cost, gradient = problem.value_and_gradient(lookahead)
        residual = float(gradient.norm(dim=0).max())
        if residual <= tolerance:
            return lookahead, step, residual
        step += 1
        while True:
            move = length * problem.rate * gradient
            next_point = lookahead - move
            decrease = (move * gradient).sum(0) / 2
            too_far = problem.value_and_gradient(next_point)[0] > cost - decrease + 1e-7 * cost.abs()
            if not too_far.any():
                break
            length = torch.where(too_far, length / 2, length)
        uphill = ((lookahead - next_point) * (next_point - point)).sum(0) > 0
        next_momentum = torch.where(uphill, 1.0, (1 + (1 + 4 * momentum**2).sqrt()) / 2)
        share = torch.where(uphill, 0.0, (momentum - 1) / next_momentum)
        lookahead = next_point + share * (next_point - point)
        point, momentum, length = next_point, next_momentum, length * 1.05
    return point, step, residual
