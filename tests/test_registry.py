"""Names of methods, and cards that tell what stands behind a number."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from labelwise import registry
from labelwise.errors import LabelwiseError
from labelwise.registry import Card, cards, list_methods, method, register


@pytest.fixture
def entered() -> Iterator[Card]:
    card = Card("zebra", "a summary", "a task", "a source", "a standing")
    list_methods()
    yield card
    registry._METHODS.pop("zebra", None)


def test_registering_makes_a_method_findable(entered: Card) -> None:
    def build(*parts: Any) -> str:
        return "built"

    assert register(entered)(build) is build
    assert list_methods()[-1] == "zebra"
    assert method("zebra") == (entered, build)


def test_the_documented_methods_are_there_in_order() -> None:
    names = list_methods()
    assert names == sorted(names)
    assert {"baseline-gap", "baseline-gmp", "baseline-mlp", "dlfl"} <= set(names)


def test_unknown_method_lists_the_known_ones() -> None:
    with pytest.raises(LabelwiseError) as error:
        method("dlfk")
    known = ", ".join(list_methods())
    assert str(error.value) == f"method 'dlfk'; expected one of {known}; see labelwise methods"


def test_cards_are_read_without_importing_the_methods() -> None:
    assert cards() == {name: method(name)[0] for name in list_methods()}
    program = "import sys; from labelwise.cli import main; sys.argv = ['labelwise', 'methods', 'dlfl']\n"
    program += "try: main()\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("name: dlfl")
    assert done.stdout.endswith("False\n")


@pytest.mark.parametrize("name", list_methods())
def test_every_card_is_complete(name: str) -> None:
    card, build = method(name)
    assert card.name == name
    for part in ("summary", "task", "source", "standing", "licence"):
        assert len(getattr(card, part)) >= 8, part
    assert "\n" not in card.summary
    assert build.__doc__
    if card.source != "baseline":
        assert card.differences, "a published method says where it departs"
    assert json.loads(json.dumps(card.to_json()))["name"] == name
