"""How far apart float32 results may lie that follow from the same numbers."""

from __future__ import annotations

import math

from torch import Tensor

UNIT = 2.0**-24
"""Largest relative error of one rounding to float32."""


def summed(terms: int, size: float | Tensor) -> dict[str, float]:
    """For `assert_close`: two float32 sums of the same terms, each added in an order of its own.

    A processor chooses the order by its registers: more lanes, other blocks, a fused multiply-add. In any order a sum
    of n terms is off by at most `n u sum |t|`; as roundings have no preferred sign, by more than `6 sqrt(n) u sum |t|`
    about once in ten million sums. Two orders may lie twice as far apart.

    Args:
        terms: how many terms one result has, products counted once, over all sums that follow one another.
        size: the largest `sum |t|` of one result, such as `(a.abs() @ b.abs()).max()`.

    Source: Higham and Mary 2019, "A New Approach to Probabilistic Rounding Error Analysis".
    """
    largest = float(size.max()) if isinstance(size, Tensor) else float(size)
    return {"rtol": 0.0, "atol": 2 * min(terms, 6 * math.sqrt(terms)) * UNIT * largest}


ANSWERS = 1e-5
"""Probabilities, and shares of maps, of one network: in batches of other sizes, in another process or engine.

Every layer sums in float32, so logits of order 10 move by some 1e-5 and probabilities by a quarter of that; of 500
photographs through three engines the most was 8e-6 for all but one method (results/parity.csv).
"""
