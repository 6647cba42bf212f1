"""The type checker of the tests stands over every function: those with shapes, and those without."""

from __future__ import annotations

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from labelwise.data.hamming import close_pairs
from labelwise.errors import plain_line
from labelwise.types import Group, LabelSet


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
