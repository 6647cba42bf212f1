"""LightlyTrain's CSV: two columns, comma-separated names, and notes on unsupported content."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from labelwise.data import read
from labelwise.data.writers import convert
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]


@pytest.fixture
def source(tmp_path: Path, photo: Photo) -> str:
    for i in range(4):
        photo(tmp_path / f"{i}.jpg", seed=i)
    rows = "image,split,dog,traffic light\n0.jpg,train,1,1\n1.jpg,train,0,0\n2.jpg,val,,1\n3.jpg,val,1,0\n"
    (tmp_path / "t.csv").write_text(rows)
    return f"csv:{tmp_path / 't.csv'}"


def test_rows_and_notes(source: str, tmp_path: Path) -> None:
    written = convert(read(source), tmp_path / "lightly.csv", "lightly")
    with (tmp_path / "lightly.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows == [
        ["image_path", "label"],
        ["0.jpg", "dog,traffic light"],
        ["1.jpg", ""],
        ["2.jpg", "traffic light"],
        ["3.jpg", "dog"],
    ]
    notes = " ".join(written.notes)
    assert "drops rows without a label, 1 here" in notes
    assert "1 unknown cells are not written" in notes
    assert "Splits are left out" in notes
    again = read(f"csv:{tmp_path / 'lightly.csv'}")
    assert again.labels.names == ("dog", "traffic light")
    assert again.values.tolist() == [[1, 1], [0, 0], [0, 1], [1, 0]]


def test_a_name_with_a_comma_is_refused(source: str, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(table.read_text().replace("traffic light", '"light, red"'))
    with pytest.raises(LabelwiseError, match="label 'light, red', with a comma"):
        convert(read(source), tmp_path / "lightly.csv", "lightly")
    assert not (tmp_path / "lightly.csv").exists()


def test_a_folder_has_one_file_per_split(source: str, tmp_path: Path) -> None:
    written = convert(read(source), tmp_path / "out", "lightly")
    assert written.files == ("train.csv", "val.csv")
    assert written.source is None
    assert (tmp_path / "out" / "val.csv").read_text().splitlines()[1:] == [
        f"{tmp_path / '2.jpg'},traffic light",
        f"{tmp_path / '3.jpg'},dog",
    ]
    assert not any("Splits" in note for note in written.notes)
