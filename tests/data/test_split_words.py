"""A name of a split has the same meaning for every reader, and a blank one is no split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from labelwise.data import Dataset, read
from labelwise.data.readers.shards import by_split, split_of_name
from labelwise.data.readers.split_names import SPLIT_OF_WORD, are_splits, canonical, split_in_name

Photo = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, photo: Photo) -> Path:
    for i in range(6):
        photo(tmp_path / f"{i}.jpg", seed=i)
    return tmp_path


def table(folder: Path, column: str, cells: list[str]) -> Dataset:
    rows = "".join(f"{i}.jpg,{cell},{i % 2}\n" for i, cell in enumerate(cells))
    (folder / "t.csv").write_text(f"image,{column},cat\n{rows}")
    return read(f"csv:{folder / 't.csv'}")


@pytest.mark.parametrize("name", sorted(SPLIT_OF_WORD))
def test_a_name_is_the_same_split_everywhere(folder: Path, name: str) -> None:
    split, other = canonical(name), "test" if canonical(name) == "train" else "train"
    assert split_in_name(f"labels_{name}") == split
    assert canonical(split_of_name(f"{name}-0001.tar")) == split
    assert are_splits([name, other])
    for column in ("split", "part"):  # recognised by its name, and by its cells
        assert table(folder, column, [name, other] * 3).splits() == {split: 3, other: 3}


def test_a_name_is_the_split_of_a_folder_of_labels(tmp_path: Path, photo: Photo) -> None:
    for i, name in enumerate(("train", "validate", "eval")):
        for label in ("cat", "dog"):
            photo(tmp_path / name / label / "a.jpg", seed=2 * i + (label == "dog"))
    for source in (str(tmp_path), f"folder:{tmp_path}"):
        assert read(source).splits() == {"train": 2, "val": 2, "test": 2}


def test_shards_of_every_name_are_in_order() -> None:
    assert list(by_split(["eval-0.tar", "validate-0.tar", "train-0.tar"], "")) == [
        "train",
        "validate",
        "eval",
    ]


@pytest.mark.parametrize("blank", ["NA", "None", "N/A", "nan", ""])
@pytest.mark.parametrize("column", ["split", "subset", "part"])
def test_blank_splits_are_none(folder: Path, column: str, blank: str) -> None:
    data = table(folder, column, ["train", blank, "test"] * 2)
    assert data.splits() == {"train": 2, "test": 2}
    assert data.labels.names == ("cat",)
    assert "2 rows are in no split." in data.notes


@pytest.mark.parametrize("blank", ["NA", "None", "N/A", "nan", ""])
def test_blank_groups_stand_for_themselves(folder: Path, blank: str) -> None:
    data = table(folder, "group", ["a", blank, "a", blank, "b", blank])
    assert data.group is not None
    assert data.group[0] == data.group[2]
    assert len(set(data.group.tolist())) == 5
    assert "3 rows without a group are a group each." in data.notes
