"""Folders of labels."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from labelwise.data import read
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]


def test_a_copy_in_two_folders_is_one_image_with_both_labels(tmp_path: Path, photo: Photo) -> None:
    dog = photo(tmp_path / "dog" / "deep" / "1.jpg", seed=1)
    photo(tmp_path / "cat" / "2.jpg", seed=2)
    photo(tmp_path / "_none" / "3.jpg", seed=3)
    shutil.copy(dog, tmp_path / "cat" / "again.jpg")
    (tmp_path / "cat" / "Thumbs.db").write_text("x")
    (tmp_path / "cat" / "readme.txt").write_text("x")
    data = read(str(tmp_path))
    assert data.labels.names == ("cat", "dog")
    rows = {data.image_id(i): data.values[i].tolist() for i in range(len(data))}
    assert rows == {"_none/3.jpg": [0, 0], "cat/2.jpg": [1, 0], "cat/again.jpg": [1, 1]}
    assert data.rows_in_source == 4
    assert any(note.startswith("1 files are copies") for note in data.notes)
    assert any("no images by their suffix were left out: readme.txt" in note for note in data.notes)
    assert data.known.all()


def test_split_folders(tmp_path: Path, photo: Photo) -> None:
    first = photo(tmp_path / "train" / "dog" / "1.jpg", seed=1)
    photo(tmp_path / "validation" / "cat" / "2.jpg", seed=2)
    shutil.copy(first, tmp_path / "validation" / "cat" / "leak.jpg")
    data = read(f"folder:{tmp_path}")
    assert data.splits() == {"train": 1, "val": 2}
    assert any("none in train: cat" in note for note in data.notes)


def test_refusals(tmp_path: Path, photo: Photo) -> None:
    with pytest.raises(LabelwiseError, match="without images; expected"):
        read(f"folder:{tmp_path}")
    photo(tmp_path / "_none" / "1.jpg")
    with pytest.raises(LabelwiseError, match="with images of no label only"):
        read(f"folder:{tmp_path}")
    photo(tmp_path / "train" / "dog" / "1.jpg")
    with pytest.raises(LabelwiseError, match="folder '_none' beside the split folder 'train'"):
        read(f"folder:{tmp_path}")
    shutil.rmtree(tmp_path / "_none")
    photo(tmp_path / "train" / "loose.jpg")
    with pytest.raises(LabelwiseError, match=r"1 images outside a label folder in .*train: loose.jpg"):
        read(f"folder:{tmp_path}")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep file names as text")
def test_a_file_name_that_is_not_utf8_is_named(tmp_path: Path, photo: Photo) -> None:
    good = photo(tmp_path / "dog" / "1.jpg")
    os.rename(os.fsencode(good), os.fsencode(tmp_path) + b"/dog/caf\xe9.jpg")
    with pytest.raises(
        LabelwiseError, match=r"image name b'dog/caf\\xe9.jpg'; expected a file name in UTF-8"
    ):
        read(f"folder:{tmp_path}")


def test_a_lone_label_on_every_image_is_refused(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "images" / "1.jpg")
    (tmp_path / "annotations.txt").write_text("1.jpg dog\n")
    with pytest.raises(LabelwiseError, match="the label 'images' on every image"):
        read(f"folder:{tmp_path}")
    with pytest.raises(LabelwiseError, match=r"with its images in 'images', beside annotations.txt"):
        read(str(tmp_path))
    photo(tmp_path / "_none" / "2.jpg", seed=1)
    assert read(f"folder:{tmp_path}").labels.names == ("images",)


def test_a_folder_called_none_is_noted(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "dog" / "1.jpg")
    photo(tmp_path / "none" / "2.jpg", seed=1)
    assert any("call it _none" in note for note in read(f"folder:{tmp_path}").notes)


@pytest.mark.parametrize(
    "folders",
    [("training_set", "test_set"), ("train2017", "val2017"), ("seg_train/seg_train", "seg_test/seg_test")],
)
def test_split_folders_by_a_word_in_their_name(
    tmp_path: Path, photo: Photo, folders: tuple[str, str]
) -> None:
    photo(tmp_path / folders[0] / "cats" / "1.jpg", seed=1)
    photo(tmp_path / folders[0] / "dogs" / "2.jpg", seed=2)
    photo(tmp_path / folders[1] / "dogs" / "3.jpg", seed=3)
    data = read(f"folder:{tmp_path}")
    assert data.labels.names == ("cats", "dogs")
    assert list(data.splits().values()) == [2, 1]
    (note,) = (note for note in data.notes if note.startswith("Folders are splits by their names: "))
    assert f"{folders[0].split('/')[0]} is train" in note
    assert not any("deeper" in note for note in data.notes)


def test_labels_whose_names_hold_a_word_for_splits(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "test tube" / "1.jpg", seed=1)
    photo(tmp_path / "train station" / "2.jpg", seed=2)
    assert read(f"folder:{tmp_path}").labels.names == ("test tube", "train station")


def test_splits_inside_label_folders_are_refused(tmp_path: Path, photo: Photo) -> None:
    for label in ("dog", "cat"):
        photo(tmp_path / label / "train" / "1.jpg", seed=1)
        photo(tmp_path / label / "test" / "2.jpg", seed=2)
    with pytest.raises(LabelwiseError, match=r"splits inside label folders.*put the splits on top"):
        read(f"folder:{tmp_path}")
