"""Roboflow's multi-label export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from labelwise.data import read
from labelwise.data.readers.roboflow import recognises
from labelwise.data.source import WouldLose
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, photo: Photo) -> Callable[..., Path]:
    def split(name: str, rows: dict[str, str], header: str = "filename, dog, traffic light") -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for image in rows:
            photo(folder / image, seed=sum((name + image).encode()))
        text = "".join(f"{image}, {cells}\n" for image, cells in rows.items())
        (folder / "_classes.csv").write_text(f"{header}\n{text}")
        return tmp_path

    return split


def test_split_folders_are_splits(write: Callable[..., Path]) -> None:
    write("valid", {"c_jpg.rf.1.jpg": "0, 1"}, "filename, traffic light, dog")
    write("train", {"a_jpg.rf.1.jpg": "1, 0", "b_jpg.rf.2.jpg": "0, 0"})
    root = write("test", {"a_jpg.rf.1.jpg": "1, 1"})
    data = read(f"roboflow:{root}")
    assert data.labels.names == ("dog", "traffic light")
    assert data.values.tolist() == [[1, 0], [0, 0], [1, 0], [1, 1]]
    assert data.known.all()
    assert data.splits() == {"train": 2, "val": 1, "test": 1}
    assert data.image_id(3) == "test/a_jpg.rf.1.jpg"
    assert data[3].image.shape == (3, 32, 48)
    assert data.notes[0] == "Splits renamed: valid is val."


def test_missing_folders_and_tables(write: Callable[..., Path]) -> None:
    root = write("train", {"a.jpg": "1, 0"})
    assert read(f"roboflow:{root}").splits() == {"train": 1}
    (root / "test").mkdir()
    assert read(f"roboflow:{root}").notes[-1] == "Folder 'test' has no _classes.csv and was left out."
    whole = read(f"roboflow:{root / 'train'}")
    assert whole.split_of is None
    assert whole.image_id(0) == "a.jpg"


def test_labels_that_differ(write: Callable[..., Path]) -> None:
    write("train", {"a.jpg": "1, 0"})
    root = write("valid", {"b.jpg": "1, 0"}, "filename, dog, cat")
    with pytest.raises(WouldLose, match="train lacks cat; valid lacks traffic light"):
        read(f"roboflow:{root}")
    data = read(f"roboflow:{root}?labels=union")
    assert data.labels.names == ("dog", "traffic light", "cat")
    assert data.known.tolist() == [[True, True, False], [True, False, True]]
    assert read(f"roboflow:{root}?labels=union&ignore=dog").labels.names == ("traffic light", "cat")


def test_refusals(write: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match=r"without _classes\.csv in train, valid or test"):
        read(f"roboflow:{tmp_path}")
    root = write("train", {"a.jpg": "1, 0"})
    write("valid", {"b.jpg": "1, 7", "d.jpg": "1, 0"})
    with pytest.raises(LabelwiseError, match=r"valid/_classes\.csv, row 2, column 'traffic light'"):
        read(f"roboflow:{root}")
    write("valid", {"b.jpg": "1, 1"})
    (root / "valid" / "b.jpg").unlink()
    with pytest.raises(LabelwiseError, match=r"1 of 2 image files missing.*valid/b\.jpg"):
        read(f"roboflow:{root}")
    (root / "_classes.csv").write_text("filename, dog\n")
    with pytest.raises(LabelwiseError, match="tables in split folders, or one"):
        read(f"roboflow:{root}")
    with pytest.raises(LabelwiseError, match="option 'images'"):
        read(f"roboflow:{root}?images=x")


def test_what_is_recognised(write: Callable[..., Path], tmp_path: Path) -> None:
    assert not recognises(tmp_path)
    root = write("valid", {"a.jpg": "1, 0"})
    assert recognises(root)
    assert recognises(root / "valid")
    assert not recognises(root / "valid" / "_classes.csv")
    write("valid", {"a.jpg": "1, 0"}, "image,dog,car")
    assert not recognises(root)


def test_what_cells_mean_is_decided_once_for_all_tables(write: Callable[..., Path]) -> None:
    write("train", {"a.jpg": "1, -1", "b.jpg": "-1, 1"})
    root = write("valid", {"c.jpg": "-1, 0", "d.jpg": "0, 1"})
    data = read(f"roboflow:{root}")
    assert data.values.tolist() == [[1, 0], [0, 1], [0, 0], [0, 1]]
    assert data.known.tolist() == [[True, False], [False, True], [False, True], [True, True]]
    as_csv = read(f"csv:{root}/train/_classes.csv,{root}/valid/_classes.csv")
    assert as_csv.values.tolist() == data.values.tolist()
    assert as_csv.known.tolist() == data.known.tolist()


def test_a_text_for_unknown_in_one_table_alone(write: Callable[..., Path]) -> None:
    write("train", {"a.jpg": "1, 0", "b.jpg": "x, 1"})
    root = write("valid", {"c.jpg": "1, 0"})
    data = read(f"roboflow:{root}?unknown=x")
    assert data.known.tolist() == [[True, True], [False, True], [True, True]]
    with pytest.raises(LabelwiseError, match="unknown=y"):
        read(f"roboflow:{root}?unknown=x,y")


def test_columns_that_differ_and_are_ignored_or_given_twice(write: Callable[..., Path]) -> None:
    write("train", {"a.jpg": "1, 0"})
    root = write("valid", {"c.jpg": "1, 0, 1"}, "filename, dog, traffic light, seen")
    assert read(f"roboflow:{root}?ignore=seen").labels.names == ("dog", "traffic light")
    write("valid", {"c.jpg": "1, 0, 1"}, "filename, dog, traffic light, dog")
    with pytest.raises(LabelwiseError, match="column 'dog' twice"):
        read(f"roboflow:{root}")


def test_a_folder_with_a_comma(write: Callable[..., Path]) -> None:
    root = write("train", {"a.jpg": "1, 0"})
    write("valid", {"c.jpg": "1, 0"})
    moved = root.rename(root.with_name("co,ma"))
    assert read(f"roboflow:{moved}").splits() == {"train": 1, "val": 1}
