"""Labels that are judged, and the reasons of the others."""

from __future__ import annotations

import numpy as np
import pytest

from labelwise.decisions.judged import learned_from, not_judged


def scored(positives: int, apart: float, rows: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits `[rows, 1]` whose mean differs by `apart` between the states, and the states."""
    y = np.zeros((rows, 1), bool)
    y[:positives] = True
    return np.random.default_rng(seed).normal(0, 1, y.shape) + apart * y, y


@pytest.mark.parametrize("positives", [0, 1, 3, 9])
def test_few_positives_are_not_judged_however_good_the_scores(positives: int) -> None:
    z, y = scored(positives, 20)
    assert not_judged(z, y, np.ones_like(y)) == {0: f"{positives} known positives, fewer than 10"}
    assert not_judged(-z, ~y, np.ones_like(y)) == {0: f"{positives} known negatives, fewer than 10"}


def test_a_learned_label_is_judged_and_a_random_one_is_not() -> None:
    z, y = scored(30, 3)
    assert not_judged(z, y, np.ones_like(y)) == {}
    reasons = [not_judged(*scored(30, 0, seed=seed), np.ones_like(y)) for seed in range(20)]
    assert sum(0 in r and "not above its rate, 0.075" in r[0] for r in reasons) >= 18


def test_only_known_cells_count() -> None:
    z, y = scored(30, 3)
    known = np.ones_like(y)
    known[8:30] = False
    assert not_judged(z, y, known) == {0: "8 known positives, fewer than 10"}


def test_every_model_needs_positives_to_learn_from() -> None:
    z, y = scored(30, 3)
    known = np.ones_like(y)
    codes = np.where(y[:, 0], 0, np.arange(400) % 5)
    codes[:4] = 1, 2, 3, 4
    learned = learned_from(y, known, codes)
    assert learned.tolist() == [[4], [min((codes[30:] != fold).sum() for fold in range(5))]]
    reasons = not_judged(z, y, known, learned)
    assert reasons == {0: "a model learned from 4 known positives, fewer than 5"}
