"""Corrected tables: changed and unchanged cells, refusals, and reading them back."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labelwise.data import read
from labelwise.data.complete import (
    AUDIT_COLUMNS,
    Correction,
    apply_corrections,
    read_corrections,
    write_corrected,
)
from labelwise.data.dataset import Dataset
from labelwise.data.table import write_table
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
UNKNOWN = math.nan


@pytest.fixture
def table(tmp_path: Path, photo: Photo) -> Dataset:
    """Four images, three labels: an unknown, a share, splits and groups."""
    for i in range(4):
        photo(tmp_path / "in" / f"{i}.jpg", seed=i)
    file = tmp_path / "in" / "labels.csv"
    file.write_text(
        'image,split,group,dog,"tall, cat",person\n'
        "0.jpg,train,7,1,0,\n1.jpg,train,7,0,1,1\n2.jpg,val,8,0.75,0,0\n3.jpg,,9,,0,1\n"
    )
    return read(f"csv:{file}")


def change(image: str, label: str, before: float, after: float, score: float = 0.9) -> Correction:
    return Correction(image, label, before, after, "audit: missing", score)


def audit_table(path: Path, *rows: tuple[object, ...]) -> Path:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([AUDIT_COLUMNS, *rows])
    return path


def test_only_the_named_cells_change(table: Dataset) -> None:
    given = [
        change("0.jpg", "person", UNKNOWN, 1),
        change("1.jpg", "dog", 0, 1),
        change("3.jpg", "person", 1, 0),
    ]
    corrected, changes = apply_corrections(table, given)
    assert [(c.image, c.label, c.after) for c in changes] == [(c.image, c.label, c.after) for c in given]
    same = np.ones_like(table.known)
    same[0, 2] = same[1, 0] = same[3, 2] = False
    np.testing.assert_array_equal(corrected.values[same], table.values[same])
    np.testing.assert_array_equal(corrected.known[same], table.known[same])
    assert corrected.known[0, 2]
    assert (corrected.values[0, 2], corrected.values[1, 0], corrected.values[3, 2]) == (1, 1, 0)
    assert corrected.notes[-1] == "3 cells were changed by a review of the labels."
    assert table.values[1, 0] == 0, "the table given stays as it was"


def test_a_cell_may_become_unknown_and_the_last_decision_holds(table: Dataset) -> None:
    done, changes = apply_corrections(
        table, [change("0.jpg", "dog", 1, 0), change("0.jpg", "dog", 1, UNKNOWN)]
    )
    assert len(changes) == 1
    assert not done.known[0, 0]
    assert done.values[0, 0] == 0


def test_a_cell_that_is_as_decided_is_no_change(table: Dataset) -> None:
    same, changes = apply_corrections(table, [change("0.jpg", "dog", 0, 1), change("2.jpg", "dog", 0, 1)])
    assert changes == []
    assert same is table


def test_shares_count_by_their_half_and_stand_in_the_provenance(table: Dataset) -> None:
    done, (changed,) = apply_corrections(table, [change("2.jpg", "dog", 1, 0)])
    assert changed.before == 0.75
    assert done.values[2, 0] == 0


@pytest.mark.parametrize(
    ("correction", "message"),
    [
        (change("9.jpg", "dog", 0, 1), "image '9.jpg'; expected an image of the table"),
        (change("0.jpg", "bird", 0, 1), "label 'bird'"),
        (change("3.jpg", "dog", 0, 1), "dog of 3.jpg is unknown, judged as 0"),
        (change("1.jpg", "person", 0, UNKNOWN), "person of 1.jpg is 1, judged as 0"),
    ],
)
def test_decisions_on_another_table_are_refused(table: Dataset, correction: Correction, message: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        apply_corrections(table, [correction])
    assert message in str(error.value)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("folder", ["in", "elsewhere"])
def test_tables_read_back_with_provenance(table: Dataset, tmp_path: Path, suffix: str, folder: str) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    done, changes = apply_corrections(
        table, [change("0.jpg", "person", UNKNOWN, 1, 0.97), change("2.jpg", "dog", 1, UNKNOWN)]
    )
    out = tmp_path / folder / f"done.{suffix}"
    changes_file = write_corrected(done, changes, out)
    back = read(f"{suffix}:{out}")
    assert back.labels.names == table.labels.names
    np.testing.assert_array_equal(back.known, done.known)
    np.testing.assert_array_equal(back.values, done.values)
    assert back.splits() == table.splits()
    assert [back.split_of[i] < 0 for i in range(4)] == [False, False, False, True]
    assert len(set(back.group.tolist())) == 3
    for row in range(4):
        assert Path(back.encoded(row)).resolve() == Path(table.encoded(row)).resolve()
    assert changes_file == tmp_path / folder / "done.changes.csv"
    with open(changes_file, newline="") as file:
        lines = [list(row.values()) for row in csv.DictReader(file)]
    assert lines == [
        ["0.jpg", "person", "", "1", "audit: missing", "0.9700"],
        ["2.jpg", "dog", "0.75", "", "audit: missing", "0.9000"],
    ]


def test_boxes_of_a_label_that_is_taken_away_go_with_it(tmp_path: Path) -> None:
    from labelwise.data import digits

    data = digits.make_scenes(train=6, val=1, test=1, size=64)
    row = 0
    label = int(np.flatnonzero(data.positive[row])[0])
    name, image = data.labels.names[label], data.image_id(row)
    done, _ = apply_corrections(data, [change(image, name, 1, 0)])
    assert label in {box[0] for box in data.boxes_of(row)}
    assert [box for box in data.boxes_of(row) if box[0] != label] == done.boxes_of(row)
    assert all(data.boxes_of(i) == done.boxes_of(i) for i in range(1, len(data)))


def test_what_a_csv_cannot_hold_is_refused(table: Dataset, tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match=r"\.csv or \.parquet"):
        write_corrected(table, [], tmp_path / "done.txt")
    with pytest.raises(LabelwiseError, match="does not exist"):
        write_corrected(table, [], tmp_path / "none" / "done.csv")
    write_table(table, tmp_path / "whole.parquet", embed_images=True)
    with pytest.raises(LabelwiseError, match="inside the table"):
        write_corrected(read(f"parquet:{tmp_path / 'whole.parquet'}"), [], tmp_path / "done.csv")
    assert not (tmp_path / "done.csv").exists()


def test_an_audit_table_is_read_by_kind_and_score(tmp_path: Path) -> None:
    file = audit_table(
        tmp_path / "audit.csv",
        (1, "a.jpg", "dog", 0, 1, "missing", 0.99, 0.99, "r", ""),
        (2, "b.jpg", "dog", "", 1, "missing", 0.8, 0.8, "r", ""),
        (3, "c.jpg", "dog", 1, 0, "wrong", 0.95, 0.05, "r", ""),
        (4, "d.jpg", "dog", 1, "", "duplicate", 0.99, 0.05, "r", ""),
    )
    assert [c.image for c in read_corrections(file)] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert [c.image for c in read_corrections(file, ["missing", "wrong"], 0.9)] == ["a.jpg", "c.jpg"]
    unknown = read_corrections(file, ["missing"])[1]
    assert math.isnan(unknown.before)
    assert (unknown.after, unknown.source, unknown.score) == (1, "audit: missing", 0.8)


def test_a_damaged_audit_table_is_named_by_line(tmp_path: Path) -> None:
    bad = audit_table(
        tmp_path / "audit.csv",
        (1, "a.jpg", "dog", 0, 1, "missing", 0.99, 0.99, "r", ""),
        (2, "b.jpg", "dog", 0, "maybe", "missing", 0.8, 0.8, "r", ""),
    )
    with pytest.raises(LabelwiseError, match=r"line 3: 0, maybe, 0\.8"):
        read_corrections(bad)
    (tmp_path / "other.csv").write_text("image,dog\na.jpg,1\n")
    with pytest.raises(LabelwiseError, match="without the column 'label'"):
        read_corrections(tmp_path / "other.csv")
    with pytest.raises(LabelwiseError, match=r"none\.csv"):
        read_corrections(tmp_path / "none.csv")
