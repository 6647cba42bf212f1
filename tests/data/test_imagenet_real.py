"""ImageNet ReaL: class numbers of each image, unknown images, and files of another form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from labelwise.data.readers import read, resolve
from labelwise.errors import LabelwiseError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "real.json").write_text(json.dumps([[3, 10], [], [10]]))
    for i in (1, 2, 3):
        Image.new("RGB", (16, 16), (i, 9, 9)).save(tmp_path / f"ILSVRC2012_val_{i:08}.JPEG", "JPEG")
    return tmp_path


def test_numbers_are_labels_and_an_empty_list_is_unknown(folder: Path) -> None:
    data = read(f"imagenet_real:{folder}")
    assert data.labels.names == ("3", "10")
    assert data.splits() == {"test": 3}
    assert data.positive.tolist() == [[True, True], [False, False], [False, True]]
    assert data.known.tolist() == [[True, True], [False, False], [True, True]]
    assert any("1 images that nobody annotated" in note for note in data.notes)


def test_a_folder_is_recognised(folder: Path) -> None:
    assert resolve(str(folder)).kind == "imagenet_real"


def test_a_missing_image_is_named_or_left_out(folder: Path) -> None:
    (folder / "ILSVRC2012_val_00000003.JPEG").unlink()
    with pytest.raises(LabelwiseError, match=r"ILSVRC2012_val_00000003\.JPEG"):
        read(f"imagenet_real:{folder}")
    assert len(read(f"imagenet_real:{folder}?missing=skip")) == 2


@pytest.mark.parametrize("text", ["{}", "[[1000]]", "[1]", '[["3"]]', "[[true]]", "[", ""])
def test_a_file_of_another_form_is_refused(folder: Path, text: str) -> None:
    (folder / "real.json").write_text(text)
    with pytest.raises(LabelwiseError, match=r"real\.json of another form; expected a list of class numbers"):
        read(f"imagenet_real:{folder}")


def test_a_folder_without_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match=r"real\.json: No such file"):
        read(f"imagenet_real:{tmp_path}")
