"""Cells of Vertex AI's import files that are not single names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from labelwise.data import read
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]


def written(folder: Path, photo: Photo, text: str) -> str:
    for number in range(2):
        photo(folder / f"{number}.jpg", seed=number)
    (folder / "import.csv").write_text(text)
    return f"vertex:{folder / 'import.csv'}"


@pytest.mark.parametrize("cell", ["dog#person", "dog|cat", "dog;cat", "dog; cat"])
def test_a_cell_of_several_names_is_refused(tmp_path: Path, photo: Photo, cell: str) -> None:
    source = written(tmp_path, photo, f"gs://b/0.jpg,{cell}\ngs://b/1.jpg,dog\n")
    with pytest.raises(LabelwiseError, match=r"line 1: .*may be several names.*a cell for each label"):
        read(source)


@pytest.mark.parametrize("row", ["0.jpg,1,1,20,20,dog", "0.jpg,10.5,1,20,20,dog", "0.jpg,dog,0.9"])
def test_numbers_beside_names_are_refused(tmp_path: Path, photo: Photo, row: str) -> None:
    source = written(tmp_path, photo, f"1.jpg,cat\n{row}\n")
    with pytest.raises(LabelwiseError, match=r"line 2: .*numbers beside names.*coco:FILE"):
        read(source)


def test_marks_that_end_a_name_and_numbers_alone_are_labels(tmp_path: Path, photo: Photo) -> None:
    source = written(tmp_path, photo, 'gs://b/0.jpg,C#,"hat, red"\ngs://b/1.jpg,C#\n')
    assert read(source).labels.names == ("C#", "hat, red")
    source = written(tmp_path, photo, "gs://b/0.jpg,3,7\ngs://b/1.jpg,7\n")
    assert read(source).labels.names == ("3", "7")
