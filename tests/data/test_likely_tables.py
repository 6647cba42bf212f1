"""Bare folders with several tables: the proposed one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from labelwise.data import read
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
ENTRIES = "Image Index,Finding Labels,Patient Age\n0.png,Mass|Nodule,058Y\n1.png,Mass,040Y\n"
TABLES: Mapping[str, Mapping[str, str]] = {
    "Data_Entry_2017.csv": {
        "BBox_List_2017.csv": "Image Index,Finding Label,Bbox [x,y,w,h],,,\n0.png,Mass,1,2,3,4,,,\n",
        "Data_Entry_2017.csv": ENTRIES,
    },
    "train_labels.csv": {
        "sample_submission.csv": "image,tags\n9.jpg,cat dog\n",
        "train_labels.csv": "image,tags\n0.jpg,cat dog\n1.jpg,dog\n2.jpg,cat\n",
        "test_list.csv": "image\n9.jpg\n",
    },
    "states.csv": {
        "class-descriptions.csv": "/m/011k07,Tortoise\n/m/011q46,Container\n",
        "states.csv": "image;cat;dog\n0.jpg;1;0\n1.jpg;0;\n",
    },
}


@pytest.mark.parametrize("wanted", TABLES)
def test_the_table_that_can_be_read_is_proposed(tmp_path: Path, wanted: str) -> None:
    for name, text in TABLES[wanted].items():
        (tmp_path / name).write_text(text)
    with pytest.raises(LabelwiseError) as caught:
        read(str(tmp_path))
    assert caught.value.todo == f"name the table, csv:{tmp_path / wanted}"
    assert all(name in caught.value.given for name in TABLES[wanted])


def test_no_table_or_several_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a_submission.csv").write_text(ENTRIES)
    (tmp_path / "descriptions.csv").write_text("id,text\n1,Tortoise\n")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(LabelwiseError, match="name the table of the labels, as KIND:FILE"):
        read(str(tmp_path))
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text(ENTRIES)
    with pytest.raises(LabelwiseError, match=r"for example csv:.*one\.csv"):
        read(str(tmp_path))


def test_a_table_in_each_folder_of_a_split(tmp_path: Path, photo: Photo) -> None:
    for seed, split in enumerate(("train", "val")):
        photo(tmp_path / split / "images" / f"{split}.jpg", seed=seed)
        (tmp_path / split / "labels.csv").write_text(f"image,cat\nimages/{split}.jpg,{seed}\n")
        (tmp_path / split / "._labels.csv").write_bytes(b"\0\5\x16\7")
    source = f"csv:{tmp_path / 'train' / 'labels.csv'},{tmp_path / 'val' / 'labels.csv'}"
    with pytest.raises(LabelwiseError) as caught:
        read(str(tmp_path))
    assert caught.value.todo == f"name them: {source}"
    assert read(source).splits() == {"train": 1, "val": 1}
    (tmp_path / "val" / "labels.csv").unlink()
    with pytest.raises(LabelwiseError, match="of no known kind"):
        read(str(tmp_path))
