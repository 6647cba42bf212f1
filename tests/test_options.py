"""Options of a part from its signature: types, bounds, meanings, and errors with the dotted name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field
from torch import Tensor

from labelwise.errors import LabelwiseError
from labelwise.options import (
    Count,
    Share,
    build_part,
    checked_options,
    checking,
    options_model,
    taken_arguments,
)


class Part:
    """A part. It does nothing.

    More about it.

    Args:
        labels: of the set.
        share: a share,
            in [0, 1].
        steps: how many.
        kind: which | what.
        deep: or not.
        sides: of each label.
        text: passed by the method.
    """

    def __init__(
        self,
        labels: int,
        share: Share = 0.5,
        steps: Count = 2,
        kind: Literal["a", "bb"] = "a",
        deep: bool = False,
        sides: Mapping[str, Sequence[float]] | None = None,
        edge: Annotated[float, Field(gt=0, le=2)] = 1.0,
        text: Tensor | None = None,
    ) -> None:
        self.options = {
            "share": share,
            "steps": steps,
            "kind": kind,
            "deep": deep,
            "sides": sides,
            "edge": edge,
        }


NAMES = ["share", "steps", "kind", "deep", "sides", "edge"]


def test_options_are_arguments_with_a_default_and_a_plain_type() -> None:
    model = options_model(Part)
    assert list(model.model_fields) == NAMES
    assert model.model_fields["share"].description == "a share, in [0, 1]"
    assert model.model_json_schema()["properties"]["edge"] == {
        "default": 1.0, "description": "", "exclusiveMinimum": 0, "maximum": 2, "title": "Edge", "type": "number",
    }  # fmt: skip
    assert taken_arguments(Part, {"labels": 1, "text": 2, "share": 3, "priors": 4}) == {
        "labels": 1,
        "text": 2,
    }


@pytest.mark.parametrize(
    ("option", "value", "made"),
    [
        ("share", 1, 1.0),
        ("steps", 1e2, 100),
        ("kind", "bb", "bb"),
        ("sides", {"a": [0, 0.5]}, {"a": [0, 0.5]}),
    ],
)
def test_values_that_fit_are_of_the_annotated_type(option: str, value: Any, made: Any) -> None:
    part = build_part(Part, "extractor", {option: value}, {"labels": 3})
    assert part.options[option] == made
    assert type(part.options[option]) is type(made)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("share", 2, "extractor.share=2; expected a number from 0 to 1; correct the option"),
        ("share", float("nan"), "extractor.share=nan; expected a number from 0 to 1; correct the option"),
        ("share", "0.5", "extractor.share='0.5'; expected a number from 0 to 1; correct the option"),
        ("share", True, "extractor.share=True; expected a number from 0 to 1; correct the option"),
        ("share", None, "extractor.share=None; expected a number from 0 to 1; correct the option"),
        ("steps", 1.5, "extractor.steps=1.5; expected a whole number from 1; correct the option"),
        ("steps", True, "extractor.steps=True; expected a whole number from 1; correct the option"),
        ("steps", "4", "extractor.steps='4'; expected a whole number from 1; correct the option"),
        ("edge", 0.0, "extractor.edge=0.0; expected a number above 0 and up to 2; correct the option"),
        (
            "edge",
            float("inf"),
            "extractor.edge=inf; expected a number above 0 and up to 2; correct the option",
        ),
        ("kind", "b", "extractor.kind='b'; expected one of a, bb; did you mean bb?"),
        ("deep", 1, "extractor.deep=1; expected true or false; correct the option"),
        ("sides", 3, "extractor.sides=3; expected input should be a valid"),
        ("shar", 1, "extractor.shar; expected one of share, steps, kind, deep, sides, edge; did you mean "),
        ("labels", 1, "extractor.labels; expected one of share, "),
        ("text", 1, "extractor.text; expected one of share, "),
    ],
)
def test_what_does_not_fit_is_refused_by_its_dotted_name(option: str, value: Any, says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        build_part(Part, "extractor", {option: value}, {"labels": 3})
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)


def test_a_fixed_argument_is_no_option() -> None:
    with pytest.raises(
        LabelwiseError, match=r"relation\.kind; expected one of share, steps, deep, sides, edge; "
    ):
        checked_options(Part, {"kind": "a"}, "relation", {"kind"})


def test_what_nothing_passes_is_named() -> None:
    with pytest.raises(
        LabelwiseError, match=r"loss 'mine' without labels; expected what its method or data pass"
    ):
        build_part(Part, "loss", {}, {}, "mine")


def test_a_class_checks_its_options_when_it_is_built() -> None:
    made = checking("loss")(type("Made", (Part,), {"__init__": Part.__init__, "__doc__": Part.__doc__}))
    assert made(3, 0.25, steps=4.0).options == {
        "share": 0.25, "steps": 4, "kind": "a", "deep": False, "sides": None, "edge": 1.0,
    }  # fmt: skip
    with pytest.raises(LabelwiseError, match=r"loss\.share=2\.0; expected a number from 0 to 1; "):
        made(3, 2.0)
    with pytest.raises(TypeError, match="labels"):
        made()
