"""A last row of sums in a spreadsheet is left out with a note, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from labelwise.data import Dataset, read
from labelwise.errors import LabelwiseError

ROWS = "image,cat,dog\na.jpg,1,0\nb.jpg,1,1\nc.jpg,1,\n"


@pytest.fixture
def given(tmp_path: Path, photo: Callable[..., Path]) -> Callable[[str, str], Dataset]:
    def reading(content: str, options: str = "") -> Dataset:
        (tmp_path / "t.csv").write_text(content)
        return read(f"csv:{tmp_path / 't.csv'}{options}")

    for i, name in enumerate(("a.jpg", "b.jpg", "c.jpg", "total.jpg")):
        photo(tmp_path / name, seed=i)
    return reading


@pytest.mark.parametrize("last", ["Total,3,1", "Summe:,3,1", ",3,1", "TOTAL,3,", "合计,3,1"])
@pytest.mark.parametrize("options", ["", "?missing=skip"])
def test_sums_are_left_out_and_noted(given: Callable[..., Dataset], last: str, options: str) -> None:
    data = given(f"{ROWS}{last}\n", options)
    assert data.images.to_pylist() == ["a.jpg", "b.jpg", "c.jpg"]
    assert data.values.tolist() == [[1, 0], [1, 1], [1, 0]]
    (note,) = [note for note in data.notes if "sums" in note]
    assert note.endswith("holds the sums of the columns and no image: it was left out.")


def test_counts_that_are_no_sums_stop_the_reading(given: Callable[..., Dataset]) -> None:
    with pytest.raises(LabelwiseError, match=r"the last row \(Total, 7, 1\), which by its name and counts"):
        given(f"{ROWS}Total,7,1\n")
    with pytest.raises(LabelwiseError, match="remove the row from the table"):
        given("image,labels\na.jpg,cat\nb.jpg,dog\nTotal,2\n")


def test_images_are_no_totals(given: Callable[..., Dataset]) -> None:
    """A file of that name, and a row that happens to hold sums."""
    data = given(f"{ROWS}total.jpg,1,1\n")
    assert data.images.to_pylist()[-1] == "total.jpg"
    numbers = given("image,cat,dog\na.jpg,1,0\nb.jpg,0,1\nc.jpg,1,1\n")
    assert len(numbers) == 3


def test_numbers_of_images_are_no_sums(tmp_path: Path, photo: Callable[..., Path]) -> None:
    for i in (1, 2, 3):
        photo(tmp_path / f"{i}.jpg", seed=i)
    (tmp_path / "t.csv").write_text("image,cat,dog\n1,0,1\n2,1,0\n3,1,1\n")
    assert len(read(f"csv:{tmp_path / 't.csv'}")) == 3
