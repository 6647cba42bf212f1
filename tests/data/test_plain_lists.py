"""A bare text file of images and labels: read if its format is clear, else refused with advice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from labelwise.data import read
from labelwise.errors import LabelwiseError


@pytest.fixture
def folder(tmp_path: Path, photo: Callable[..., Path]) -> Path:
    for i, name in enumerate("abc"):
        photo(tmp_path / f"{name}.jpg", seed=i)
    return tmp_path


@pytest.mark.parametrize(
    ("content", "values"),
    [
        ("a.jpg,cat\nb.jpg,dog,cat\nc.jpg,dog\n", [[1, 0], [1, 1], [0, 1]]),
        ("image,cat,dog\na.jpg,1,0\nb.jpg,1,1\nc.jpg,0,1\n", [[1, 0], [1, 1], [0, 1]]),
        ("path\tlabels\na.jpg\tcat\nb.jpg\tcat;dog\nc.jpg\tdog\n", [[1, 0], [1, 1], [0, 1]]),
    ],
)
def test_lists_and_tables_are_recognised(folder: Path, content: str, values: list[list[int]]) -> None:
    (folder / "train.txt").write_text(content)
    data = read(str(folder / "train.txt"))
    assert data.labels.names == ("cat", "dog")
    assert data.values.tolist() == values
    assert data.known.all()


@pytest.mark.parametrize(
    ("content", "given", "todo"),
    [
        (
            "a.jpg cat dog\nb.jpg dog\n",
            "lines of images and their labels, separated by blanks",
            "instead of the blanks",
        ),
        ("a.jpg cat,dog\nb.jpg dog\n", "lines of images and their labels, separated by blanks", "vertex:"),
        ("a.jpg\tcat\tdog\nb.jpg\tdog\n", "separated by tabs", "write commas instead of the tabs"),
        ("a.jpg 1 0\nb.jpg 0 1\n", "a 0 or 1 for each label, separated by blanks", "such as 'image dog cat'"),
        (
            "a.jpg,1,0\nb.jpg,0,1\n",
            "a 0 or 1 for each label, separated by commas",
            "such as 'image,dog,cat' with your",
        ),
        ("a.jpg\t1\t0\nb.jpg\t0\t1\n", "separated by tabs", "such as 'image<TAB>dog<TAB>cat'"),
        ("a.jpg\nb.jpg\n", "lines of images without labels", "write the labels after each image"),
        ("cat\ndog\n", "a file of no known kind", "write the kind before the path"),
        ("", "a file of no known kind", "write the kind before the path"),
    ],
)
def test_other_forms_are_refused_with_advice(folder: Path, content: str, given: str, todo: str) -> None:
    (folder / "train.txt").write_text(content)
    with pytest.raises(LabelwiseError) as refused:
        read(str(folder / "train.txt"))
    assert given in refused.value.given
    assert todo in refused.value.todo


def test_the_advice_of_refusals_works(folder: Path) -> None:
    (folder / "commas.txt").write_text("a.jpg,cat,dog\nb.jpg,dog\n")
    (folder / "blanks.txt").write_text("image dog cat\na.jpg 1 0\nb.jpg 0 1\n")
    assert read(f"vertex:{folder / 'commas.txt'}").values.tolist() == [[1, 1], [0, 1]]
    assert read(f"csv:{folder / 'blanks.txt'}").values.tolist() == [[1, 0], [0, 1]]


def test_lists_beside_label_folders_change_nothing(tmp_path: Path, photo: Callable[..., Path]) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        photo(tmp_path / label / "a.jpg")
    (tmp_path / "all.txt").write_text("cat/a.jpg,cat\ndog/a.jpg,dog\n")
    assert read(str(tmp_path)).source.startswith("folder:")
