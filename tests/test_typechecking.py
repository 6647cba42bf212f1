"""The type checker of the tests stands over every function: those with shapes, and those without."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from labelwise.data.hamming import close_pairs
from labelwise.errors import plain_line
from labelwise.types import Group, LabelSet
from typechecking import checked, jaxtyped


def test_a_function_without_shapes_refuses_what_its_signature_does() -> None:
    with pytest.raises(TypeCheckError, match="plain_line"):
        plain_line(3)  # type: ignore[arg-type]
    with pytest.raises(TypeCheckError, match="index"):
        LabelSet(("a", "b")).index(1)  # type: ignore[arg-type]


class Odd(tuple):
    """Names whose place is told in words."""

    def index(self, *_: object) -> str:  # type: ignore[override]
        """Where a name stands."""
        return "first"


def test_an_answer_that_a_signature_does_not_promise_is_refused() -> None:
    labels = LabelSet(("a", "b"))
    object.__setattr__(labels, "names", Odd(("a", "b")))
    with pytest.raises(TypeCheckError, match="return"):
        labels.index("a")


def test_a_dataclass_refuses_what_its_fields_do() -> None:
    with pytest.raises(TypeCheckError):
        Group(("a", "b"), exclusive="yes")  # type: ignore[arg-type]


def test_a_function_with_shapes_refuses_another_number_of_dimensions_and_another_kind() -> None:
    assert close_pairs(np.array([0, 1], np.uint64), 1).tolist() == [[0, 1]]
    for wrong in (np.zeros((2, 2), np.uint64), np.zeros(2, np.int64)):
        with pytest.raises(TypeCheckError, match="close_pairs"):
            close_pairs(wrong, 1)
    with pytest.raises(TypeCheckError, match="close_pairs"):
        close_pairs(np.zeros(2, np.uint64), "one")  # type: ignore[arg-type]


@jaxtyped(typechecker=checked)
def _product(
    one: Float[Tensor, "N L"], other: Float[Tensor, "L M"], turned: bool = False
) -> Float[Tensor, "N M"]:
    return (one @ other).T if turned else one @ other


def test_sizes_agree_between_arguments_and_answer() -> None:
    one, other = torch.ones(2, 3), torch.ones(3, 4)
    assert _product(one, other).shape == (2, 4)
    assert _product(one[:1], other[:, :1]).shape == (1, 1)  # each call has sizes of its own
    with pytest.raises(TypeCheckError, match="other"):
        _product(one, one)
    with pytest.raises(TypeCheckError, match="return"):
        _product(one, other, turned=True)


def _made(answer: object) -> Callable[[int], str]:
    @jaxtyped(typechecker=checked)
    def told(number: int) -> str:
        return answer  # type: ignore[return-value]

    return told


def test_a_function_inside_another_is_checked_each_time_it_is_made() -> None:
    first, second, wrong = _made("first"), _made("second"), _made(3)
    assert (first(1), second(1)) == ("first", "second")
    for told in (first, second):
        with pytest.raises(TypeCheckError, match="number"):
            told("one")  # type: ignore[arg-type]
    with pytest.raises(TypeCheckError, match="return"):
        wrong(1)
