"""Tables of many rows: columns in place of Python objects, with the answers of the plain readers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

import tiny_runs
from labelwise.data import Dataset, read
from labelwise.data.readers import csv as csv_reader
from labelwise.data.readers import files
from labelwise.data.readers.files import files_there
from labelwise.data.table import hard_cells
from labelwise.errors import LabelwiseError
from labelwise.inference.shared import _PathArray

CELL = st.sampled_from(["0", "1", "", "0", "1"])
ODD = st.sampled_from(["0.5", "2", "nan", "x", " 1", '"1"', "-1", '""', "a,b", "01"])
NAME = st.sampled_from(["a.jpg", "é.png", '"b c.jpg"', '"d,e.jpg"', '"f""g.jpg"', "", "1", "0"])
SPLIT = st.sampled_from(["train", "test", "", "1", "0"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_plain_csv_reads_as_the_general_reader_reads_it(tmp_path: Path, draw: st.DataObject) -> None:
    rows, width = draw.draw(st.integers(0, 12)), draw.draw(st.integers(0, 3))
    cell = draw.draw(st.sampled_from([CELL, CELL, st.one_of(CELL, CELL, CELL, ODD)]))
    mark = draw.draw(st.sampled_from([",", ";"]))
    lines = [mark.join(["image", "split", *(f"l{j}" for j in range(width))])]
    for _ in range(rows):
        cells = [draw.draw(NAME), draw.draw(SPLIT), *(draw.draw(cell) for _ in range(width))]
        lines.append(mark.join(cells[: draw.draw(st.sampled_from([None, None, None, None, 2]))]))
    end = draw.draw(st.sampled_from(["\n", "\n", "\r\n", "\n\n"]))
    file = tmp_path / "t.csv"
    file.write_bytes(end.join(lines).encode() + draw.draw(st.sampled_from([b"\n", b""])))
    quick = csv_reader._plain_table(file)
    if quick is None:
        return
    text = csv_reader.decode_text(file)[0]
    slow, _ = csv_reader._table(file, text, csv_reader._delimiter(text))
    assert quick.column_names == slow.column_names
    for name in slow.column_names:
        column = quick[name]
        texts = ["" if c is None else str(c) for c in column.to_pylist()]
        assert texts == slow[name].to_pylist()


def test_the_plain_form_is_recognised_by_its_first_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_reader, "_FIRST_BYTES", 64)
    lines = [f"{i}.jpg,{i % 2},{'' if i % 3 else 1}" for i in range(500)]
    (tmp_path / "t.csv").write_text("image,a,b\n" + "\n".join(lines))
    table = csv_reader._plain_table(tmp_path / "t.csv")
    assert table is not None
    assert table["a"].to_pylist() == [i % 2 for i in range(500)]
    assert table["b"].to_pylist() == [None if i % 3 else 1 for i in range(500)]
    assert table["image"].to_pylist() == [f"{i}.jpg" for i in range(500)]
    (tmp_path / "t.csv").write_text("image,a,b\n" + "\n".join([*lines, "500.jpg,0.5,1"]))
    assert csv_reader._plain_table(tmp_path / "t.csv") is None


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_hard_cells_are_the_cells(draw: st.DataObject) -> None:
    kind = draw.draw(st.sampled_from([pa.uint8(), pa.int8(), pa.int64(), pa.bool_(), pa.uint16()]))
    high = draw.draw(st.sampled_from([1, 1, 1, 2, 100]))
    cells = draw.draw(
        st.lists(st.lists(st.none() | st.integers(0, high), min_size=3, max_size=3), max_size=30)
    )
    if pa.types.is_boolean(kind):
        cells = [[None if c is None else bool(c) for c in row] for row in cells]
    if pa.types.is_int64(kind) and cells and draw.draw(st.booleans()):
        cells[0][0] = draw.draw(st.sampled_from([-1, 256, 257, 1 << 40]))
    columns = [pa.array([row[j] for row in cells], kind) for j in range(3)]
    skip = draw.draw(st.integers(0, len(cells)))
    found = hard_cells(pa.table(columns, list("abc")).slice(skip))
    kept = cells[skip:]
    if any(c not in (None, 0, 1) for row in kept for c in row):
        assert found is None
        return
    assert found is not None
    assert found[0].tolist() == [[int(c or 0) for c in row] for row in kept]
    assert found[1].tolist() == [[c is not None for c in row] for row in kept]


def test_a_column_of_another_kind_has_no_hard_cells() -> None:
    assert hard_cells(pa.table({"a": [1, 0], "b": ["1", "0"]})) is None
    assert hard_cells(pa.table({"a": [1.0, 0.5]})) is None


def test_files_are_found_as_the_system_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LISTED", 2)
    for name in ("a.jpg", "b.jpg", "d/a.jpg", "d/é.jpg", "d/e/x.jpg", "d/dir.jpg/y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    os.symlink(tmp_path / "a.jpg", tmp_path / "d/link.jpg")
    os.symlink(tmp_path / "gone", tmp_path / "d/broken.jpg")
    (tmp_path / os.fsdecode(b"d/caf\xe9.jpg")).write_bytes(b"")
    names = [
        "a.jpg",
        "c.jpg",
        "b.jpg",
        "d/a.jpg",
        "d/é.jpg",
        "d/dir.jpg",
        "d/e/x.jpg",
        "d//a.jpg",
        "d/../a.jpg",
    ]
    names += [
        "./a.jpg",
        "./b.jpg",
        "d/link.jpg",
        "d/broken.jpg",
        "d/",
        "no/a.jpg",
        "no/b.jpg",
        "d",
        "",
        "/a.jpg",
    ]
    names += [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg"), str(tmp_path / "x.jpg")]
    expected = [os.path.isfile(os.path.join(tmp_path, name)) for name in names]
    assert files_there(pa.array(names), str(tmp_path)).tolist() == expected
    chunked = pa.chunked_array([names[:7], names[7:]])
    assert files_there(chunked, str(tmp_path)).tolist() == expected
    monkeypatch.chdir(tmp_path)
    assert files_there(pa.array(["a.jpg", "c.jpg", "b.jpg"]), "").tolist() == [True, False, True]


def test_a_listed_folder_is_not_asked_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(300):
        (tmp_path / f"{i}.jpg").write_bytes(b"")
    names = pa.array([f"{i}.jpg" for i in range(300)])
    monkeypatch.setattr(os.path, "isfile", None)
    assert files_there(names, str(tmp_path)).all()


def test_wide_whole_numbers_of_a_plain_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "b.jpg").write_bytes(b"")
    file = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"image": ["a.jpg", "b.jpg"], "group": [7, 300], "dog": [1, None]}), file)
    data = read(str(file))
    assert data.values.tolist() == [[1], [0]]
    assert data.known.tolist() == [[True], [False]]
    assert data.group is not None
    assert data.group.tolist() == [0, 1]
    parquet.write_table(pa.table({"image": ["a.jpg", "b.jpg"], "dog": [1, 2]}), file)
    with pytest.raises(LabelwiseError, match=r"dog \('2' from row 2 on\); expected 1, 0 or blank"):
        read(str(file))


def test_paths_of_a_prediction_are_one_array() -> None:
    names = ["a.jpg", os.fsdecode(b"caf\xe9.jpg"), "é/b.jpg"]
    paths = _PathArray(names)
    assert [paths[i] for i in range(len(paths))] == names


GROWTH = """
import os, sys, torch, pyarrow.parquet, pyarrow.csv
import labelwise.data.loading, labelwise.data.transforms, labelwise.data.readers, torchvision
from labelwise.data import read
def resident(kind="VmRSS"):
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(kind)) / 1024
read(sys.argv[1] + "/few.csv")  # what the libraries take when first called is not the table's
before = resident()
data = read(sys.argv[1] + "/t.csv")
print(resident() - before, resident("VmHWM") - before, len(data), data.values.nbytes + data.known.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
def test_memory_is_that_of_the_arrays(tmp_path: Path) -> None:
    """200,000 rows of 20 labels: 8 MB of cells and 2.4 MB of names; as Python objects they would be 300 MB."""
    rows = 200_000
    for i in range(20):
        (tmp_path / f"{i}").mkdir()
        (tmp_path / f"{i}" / "own.jpg").write_bytes(b"")
        for j in range(50):
            os.link(tmp_path / f"{i}" / "own.jpg", tmp_path / f"{i}" / f"{j}.jpg")
    for i in range(200):
        os.symlink(tmp_path / f"{i % 20}", tmp_path / f"d{i:03}")
    names = [f"d{i % 200:03}/{i // 200 % 50}.jpg" for i in range(10_000)]
    cells = ",".join(["0", "1", "", "0"] * 5)
    header = "image," + ",".join(f"l{j}" for j in range(20))
    # Every picture stands in several rows under another spelling of its path, as making 200,000 files takes long.
    lines = [f"{'./' * (i // 10_000)}{names[i % 10_000]},{cells}" for i in range(rows)]
    (tmp_path / "t.csv").write_text("\n".join([header, *lines]) + "\n")
    (tmp_path / "few.csv").write_text("\n".join([header, *lines[:1000]]) + "\n")
    figures = tiny_runs.forked(tmp_path, script=GROWTH).out.split()
    grown, peak, found, arrays = (float(part) for part in figures)
    assert (found, arrays) == (rows, 2 * 20 * rows)
    assert grown < 60
    assert peak < 130


def test_positive_of_whole_and_soft_labels() -> None:
    from labelwise.types import LabelSet

    known = np.array([[True, False], [True, True]])
    hard = Dataset(
        LabelSet(("a", "b")), pa.array(["x", "y"]), None, np.array([[1, 0], [0, 1]], np.uint8), known
    )
    soft = Dataset(LabelSet(("a", "b")), hard.images, None, np.array([[0.5, 0], [0.4, 1]], np.float32), known)
    assert hard.positive.tolist() == soft.positive.tolist() == [[True, False], [False, True]]
