"""Splits by numbers, by other names, or by one column per split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from labelwise.data import Dataset, read
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
Table = Callable[..., Dataset]


@pytest.fixture
def table(tmp_path: Path, photo: Photo) -> Table:
    for i in range(6):
        photo(tmp_path / f"{i}.jpg", seed=i)

    def made(column: str, cells: Sequence[object], options: str = "") -> Dataset:
        rows = "".join(f"{i}.jpg,{cells[i % len(cells)]},{i % 2}\n" for i in range(6))
        (tmp_path / "t.csv").write_text(f"image,{column},cat\n{rows}")
        return read(f"csv:{tmp_path / 't.csv'}{options}")

    return made


@pytest.mark.parametrize("column", ["split", "subset", "partition"])
def test_numbers_of_splits(table: Table, column: str) -> None:
    for options in ("", f"?split={column}"):
        data = table(column, [0, 1, 2], options)
        assert data.splits() == {"train": 2, "val": 2, "test": 2}
        assert data.labels.names == ("cat",)
        assert any("0 is train, 1 is val, 2 is test." in note for note in data.notes)
    two = table(column, [0, 0, 1])
    assert two.splits() == {"train": 4, "val": 2}
    assert any("add val_as=test" in note for note in two.notes)
    assert table(column, [0, 0, 1], "?val_as=test").splits() == {"train": 4, "test": 2}


def test_other_numbers_are_no_splits_and_labels_stay_labels(table: Table) -> None:
    assert set(table("split", [0, 1, 4]).splits()) == {"0", "1", "4"}
    assert table("partition", [0, 1], "?labels=partition,cat").labels.names == ("partition", "cat")


def test_a_column_that_may_hold_splits_is_offered(table: Table) -> None:
    for column, cells in (("set", [1, 2, 3]), ("partition", ["trainval", "test", "extra"])):
        with pytest.raises(LabelwiseError) as caught:
            table(column, cells)
        assert f"?split={column}" in caught.value.todo
        assert "absent=" not in caught.value.todo
    assert table("set", [1, 2, 3], "?split=set").splits() == {"train": 2, "val": 2, "test": 2}


@pytest.mark.parametrize(
    "names",
    [
        ("train", "eval", "test"),
        ("trn", "vld", "tst"),
        ("Train set", "Val set", "Test set"),
        ("trainset", "valset", "testset"),
        ("training", "tuning", "testing"),
        ("Training", "PublicTest", "PrivateTest"),
    ],
)
@pytest.mark.parametrize("column", ["split", "use"])
def test_names_of_three_splits(table: Table, names: Sequence[str], column: str) -> None:
    data = table(column, names)
    assert data.splits() == {"train": 2, "val": 2, "test": 2}
    assert any("Splits renamed" in note for note in data.notes)


def test_eval_beside_val_and_test_is_merged_with_neither(table: Table) -> None:
    data = table("split", ["train", "val", "eval", "test", "train", "train"])
    assert data.splits() == {"train": 3, "val": 1, "test": 1, "eval": 1}
    assert any("Splits of their own, which training does not use: eval." in note for note in data.notes)


def test_files_of_three_splits(tmp_path: Path, table: Table) -> None:
    table("split", ["train"])
    for i, name in enumerate(("train", "eval", "test")):
        (tmp_path / f"{name}.csv").write_text(f"image,cat\n{2 * i}.jpg,1\n{2 * i + 1}.jpg,0\n")
    files = [str(tmp_path / f"{name}.csv") for name in ("train", "eval", "test")]
    assert read("csv:" + ",".join(files)).splits() == {"train": 2, "val": 2, "test": 2}
    assert read("csv:" + ",".join(files[:2])).splits() == {"train": 2, "test": 2}


@pytest.mark.parametrize("odd", ["trainval", "val1", "test_A"])
def test_a_split_of_another_name_is_noted(table: Table, odd: str) -> None:
    data = table("split", ["train", "test", odd])
    assert any(f"which training does not use: {odd}." in note for note in data.notes)


def test_one_column_per_split(table: Table) -> None:
    data = table("train,val,test", ["1,0,0", "0,1,0", "0,0,1"])
    assert data.splits() == {"train": 2, "val": 2, "test": 2}
    assert data.labels.names == ("cat",)
    assert any("they are read as the split" in note for note in data.notes)
    assert len(table("train,val,test", ["1,0,0", "0,1,0", "0,0,1"], "?split=").labels) == 4
    assert len(table("train,val,test", ["1,1,0", "0,1,0", "0,0,1"]).labels) == 4


def test_lists_of_names_are_not_categories(table: Table) -> None:
    with pytest.raises(LabelwiseError) as caught:
        table("found", ["cat;dog", "dog;cow"])
    assert "?labels=found" in caught.value.todo
    assert "absent=" not in caught.value.todo
