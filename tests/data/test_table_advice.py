"""Advice on a table's cells works: the options are accepted, and have the stated effect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from labelwise.data import Dataset, read
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
Columns = dict[str, Sequence[object]]
Table = Callable[..., Dataset]
ROWS = 12


@pytest.fixture
def table(tmp_path: Path, photo: Photo) -> Table:
    for i in range(ROWS):
        photo(tmp_path / f"{i}.jpg", seed=i)

    def made(columns: Columns, options: str = "", name: str = "t.csv") -> Dataset:
        lines = [",".join(["image", *columns])]
        for i in range(ROWS):
            lines.append(",".join([f"{i}.jpg", *(str(cells[i % len(cells)]) for cells in columns.values())]))
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return read(f"csv:{tmp_path / name}{options}")

    return made


def refusal(table: Table, columns: Columns) -> str:
    with pytest.raises(LabelwiseError) as caught:
        table(columns)
    return caught.value.todo


def test_texts_for_unknown_in_several_cases_are_one_entry(table: Table) -> None:
    columns: Columns = {"labels": ["TODO", "todo", "?", "cat", "dog", "cow"]}
    assert any("add ?unknown=%3F,TODO." in note for note in table(columns).notes)
    for entries in ("%3F,TODO", "%3F,TODO,todo"):
        data = table(columns, f"?unknown={entries}")
        assert data.labels.names == ("cat", "cow", "dog")
        assert not data.known[0].any()
    states: Columns = {"cat": [1, 0, "TODO", "todo"]}
    assert not table(states, "?unknown=TODO,todo").known[2:4].any()
    with pytest.raises(LabelwiseError, match="unknown=tbd"):
        table(states, "?unknown=todo,tbd")


def test_a_column_for_not_labelled_is_to_be_left_out(table: Table) -> None:
    columns: Columns = {"Unlabeled": [0, 1], "cat": [1, 0]}
    assert any("add ?ignore=Unlabeled." in note for note in table(columns).notes)
    assert table(columns, "?ignore=Unlabeled").labels.names == ("cat",)


def test_columns_of_what_is_absent_are_no_label_names(table: Table) -> None:
    columns: Columns = {
        "positive_labels": ["cat;dog", "dog;cow", "cat"],
        "negative_labels": ["cow", "cat", "dog"],
    }
    assert "?ignore=negative_labels" in refusal(table, columns)
    with pytest.raises(LabelwiseError, match="labels=positive_labels"):
        table(columns, "?ignore=negative_labels")
    data = table(columns, "?labels=positive_labels&ignore=negative_labels")
    assert data.labels.names == ("cat", "cow", "dog")


def test_percentages_are_shares(table: Table) -> None:
    data = table({"dog": ["100%", "0%", "50 %"]})
    np.testing.assert_allclose(data.values[:3, 0], [1, 0, 0.5])
    assert any("Percentages are read as shares" in note for note in data.notes)
    with pytest.raises(LabelwiseError):
        table({"dog": ["100%", "0%", "120%"]})


@pytest.mark.parametrize("other", ["labels.csv", "classes.csv"])
def test_a_table_of_images_is_no_list_of_names(tmp_path: Path, table: Table, other: str) -> None:
    columns: Columns = {"labels": [2, 1, 0]}
    assert not any("?names=" in note for note in table(columns, name=other).notes)
    assert not any("?names=" in note for note in table(columns).notes)
    (tmp_path / other).write_text("image_id,labels\n0,1\n")
    assert not any("?names=" in note for note in table(columns).notes)
    (tmp_path / other).write_text("cat\ndog\ncow\n")
    assert any(f"?names={tmp_path / other} takes" in note for note in table(columns).notes)


@pytest.mark.parametrize("code", ["9", "-9", "99", "88", "-1"])
def test_a_number_for_not_answered_stays_with_its_label(table: Table, code: str) -> None:
    for columns in ({"hat": [1, 2, 1, code], "bag": [1, 2]}, {"hat": [1, 2, code]}):
        assert f"?absent=1&present=2&unknown={code} if" in refusal(table, columns)
        data = table(columns, f"?absent=1&present=2&unknown={code}")
        assert data.known.sum() == data.known.size - [c == code for c in columns["hat"]].count(True) * (
            ROWS // len(columns["hat"])
        )


def test_a_rare_number_stays_with_its_label(table: Table) -> None:
    columns: Columns = {"hat": [1, 2] * 5 + [1, 5], "bag": [1, 2]}
    assert "?absent=1&present=2&unknown=5 if" in refusal(table, columns)


def test_numbers_of_classes_beside_states(table: Table) -> None:
    for kinds in ([0, 1, 2], [0, 1, 2, 3], [1, 2, 3]):
        columns: Columns = {"kind": kinds, "cat": [0, 1], "dog": [1, 0]}
        message = refusal(table, columns)
        assert "?classes=kind" in message
        assert "absent=1" not in message
        names = ("cat", "dog", *(f"kind: {kind}" for kind in kinds))
        assert table(columns, "?classes=kind").labels.names == names


@pytest.mark.parametrize("column", ["class_id", "ClassID", "category_id"])
def test_numbers_of_classes_alone(table: Table, column: str) -> None:
    assert table({column: [0, 1, 2]}).labels.names == ("0", "1", "2")
    beside: Columns = {column: [0, 1, 2], "cat": [0, 1]}
    assert f"?classes={column} for both" in refusal(table, beside)
    assert len(table(beside, f"?classes={column}").labels) == 4


def test_a_mark_in_both_cases_is_one(table: Table) -> None:
    columns: Columns = {"cat": ["x", "X", ""], "dog": ["", "x", "X"]}
    assert "add ?present=x if" in refusal(table, columns)
    data = table(columns, "?present=x&blank=negative")
    assert data.values[:3].tolist() == [[1, 0], [1, 1], [0, 1]]


@pytest.mark.parametrize("column", ["patient_id", "PatientID", "subject_id", "person", "photographer"])
@pytest.mark.parametrize("of", ["p{}", "{}"])
def test_a_person_is_a_group(table: Table, column: str, of: str) -> None:
    columns: Columns = {
        column: [of.format(10 + i // 2) for i in range(ROWS)],
        "cat": [0, 1],
        "age": [30, 41, 52],
    }
    assert f"?group={column}&ignore=age" in refusal(table, columns)
    data = table(columns, f"?group={column}&ignore=age")
    assert data.group is not None
    assert len(set(data.group.tolist())) == ROWS // 2


def test_utf_16_without_its_mark_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("image,cat\na.jpg,1\n".encode("utf-16-le"))
    with pytest.raises(LabelwiseError, match="UTF-16 without a byte-order mark"):
        read(f"csv:{tmp_path / 't.csv'}")
