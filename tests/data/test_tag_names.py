"""Texts of tags that are not plain names: several in one, with a state or score, fragments of lists, and sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from labelwise.data import read
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]


@pytest.fixture
def texts(tmp_path: Path, photo: Photo) -> Callable[[Sequence[str]], str]:
    def write(lines: Sequence[str]) -> str:
        for number, line in enumerate(lines):
            photo(tmp_path / f"{number}.jpg", seed=number).with_suffix(".txt").write_text(line)
        return f"tags:{tmp_path}"

    return write


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["dog; cat", "cat", "dog", "dog; car", "car"], "'dog; c.*names in other cells too"),
        (["dog cat", "cat", "dog"], "'dog cat', whose parts"),
        (["dog|cat", "cat", "dog"], "'dog|cat', whose parts"),
        (["-dog, cat", "dog"], "'-dog' beside 'dog', which may mean that it is absent"),
        (["dog?, cat", "dog"], "'dog\\?' beside 'dog', which may mean that it is uncertain"),
        (["dog (0.9)", "cat (0.8)"], "numbers after names"),
        (["['dog', 'cat']", "['dog']"], "a piece of a list"),
        (
            [
                "A man stands on the street in front of a house, on a sunny day.",
                "dog, cat, cow, owl, 1girl, hat",
            ],
            "0.txt with a sentence",
        ),
        (["2 men.", "a dog, cat, on a sunny day."], "0.txt with a sentence, .2 men"),
    ],
)
def test_tags_that_are_no_names_are_refused(
    texts: Callable[[Sequence[str]], str], lines: Sequence[str], message: str
) -> None:
    source = texts(lines)
    with pytest.raises(LabelwiseError, match=message):
        read(source)
    assert len(read(f"{source}?separator=,")) == len(lines)


def test_tags_with_blanks_marks_and_faces_are_names(texts: Callable[[Sequence[str]], str]) -> None:
    names = (":)", ">_<", "dog (animal)", "hair", "long hair", "red hair", "st. bernard", "wow!")
    source = texts(["long hair, hair, :)", "red hair, >_<", "dog (animal), st. bernard, wow!", "hair"])
    assert read(source).labels.names == names
