"""CSV files in many encodings, delimiters and forms of labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labelwise.data import Dataset, read
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, photo: Photo) -> Path:
    for i, name in enumerate(("a.jpg", "b.jpg", "c d.jpg", "é.jpg")):
        photo(tmp_path / name, seed=i)
    return tmp_path


def read_text(folder: Path, text: str | bytes, options: str = "") -> Dataset:
    raw = text if isinstance(text, bytes) else text.encode()
    (folder / "t.csv").write_bytes(raw)
    return read(f"csv:{folder / 't.csv'}{options}")


def test_columns_with_blanks_splits_and_groups(folder: Path) -> None:
    data = read_text(
        folder,
        'image,split,group,cat,"dog, small"\na.jpg,train,x,1,\nb.jpg,valid,y,0,1\n"c d.jpg",,x,nan,0\n',
    )
    assert data.labels.names == ("cat", "dog, small")
    assert data.known.tolist() == [[True, False], [True, True], [False, True]]
    assert data.values.tolist() == [[1, 0], [0, 1], [0, 0]]
    assert data.values.dtype == np.uint8
    assert data.splits() == {"train": 1, "val": 1}
    assert data.split_of is not None
    assert data.split_of.tolist() == [0, 1, -1]
    assert data.group is not None
    assert data.group[0] == data.group[2] != data.group[1]
    assert data.encoded(2) == folder / "c d.jpg"
    assert "Splits renamed: valid is val." in data.notes
    assert "1 rows are in no split." in data.notes


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_delimiters_and_line_ends(
    folder: Path, newline: str, delimiter: str, encoding: str
) -> None:
    rows = [["path", "café", "dog"], ["é.jpg", "1", "0"], ["", "", ""], ["a.jpg", "0", ""]]
    text = newline.join(delimiter.join(row) for row in (*rows[:2], *rows[3:])) + newline * 2
    data = read_text(folder, text.encode(encoding))
    assert data.labels.names == ("café", "dog")
    assert [data.image_id(i) for i in range(2)] == ["é.jpg", "a.jpg"]
    assert data.known.tolist() == [[True, True], [True, False]]
    assert any("not UTF-8" in note for note in data.notes) == (encoding == "cp1252")


def test_a_quoted_name_does_not_decide_the_delimiter(folder: Path) -> None:
    data = read_text(folder, 'image,"red; green; blue"\na.jpg,1\n')
    assert data.labels.names == ("red; green; blue",)


def test_soft_values_are_kept(folder: Path) -> None:
    data = read_text(folder, "image,cat,dog\na.jpg,0.25,1\nb.jpg,1.0,\n")
    assert data.values.dtype == np.float32
    assert data.values.tolist() == [[0.25, 1], [1, 0]]


@pytest.mark.parametrize("cell", ["-2", "2", "1.5", "maybe", "1,5", "inf"])
def test_an_odd_cell_is_named_by_row_column_and_value(folder: Path, cell: str) -> None:
    with pytest.raises(LabelwiseError, match=rf"row 4, column 'dog': '{cell}'; expected 1, 0, blank"):
        read_text(folder, f'image,cat,dog\na.jpg,1,0\n\nb.jpg,0,"{cell}"\n')


def test_other_texts_for_unknown_by_an_option(folder: Path) -> None:
    data = read_text(folder, "image,cat\na.jpg,1\nb.jpg,-1\n", "?unknown=-1")
    assert data.known.tolist() == [[True], [False]]


def test_a_text_column_is_named_with_a_sample(folder: Path) -> None:
    text = "image,cat,remark\na.jpg,1,\nb.jpg,0,a nice one\n"
    with pytest.raises(LabelwiseError, match=r"remark \('a nice one' from row 3 on\).*\?ignore=remark"):
        read_text(folder, text)
    assert read_text(folder, text, "?ignore=remark").labels.names == ("cat",)
    with pytest.raises(LabelwiseError, match=r"ignore=remarks; expected columns of .*: image, cat, remark"):
        read_text(folder, text, "?ignore=remarks")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file"),
        ("\n \n", "an empty file"),
        ("image,cat\n", "without rows; expected a header and one row per image"),
        ("image\na.jpg\n", "without label columns; its columns are image"),
        ("image,split\na.jpg,train\n", "without label columns"),
        ("image,cat,cat\na.jpg,1,1\n", "column 'cat' twice"),
        ("image,,cat\na.jpg,1,1\n", "column 2 without a name"),
        ("image,cat\na.jpg,1\nb.jpg\n", "1 rows of another length, the first with 1 cells"),
        ("cat,dog\n1,0\n0,1\n", "without an image column; its columns are cat, dog"),
        ("image,cat\n,1\n", "row 2 without an image"),
        (
            "image,labels,cat\na.jpg,dog,1\nb.jpg,cow,0\n",
            r"label states in cat beside label names in 'labels'.*\?labels=labels .*\?ignore=labels",
        ),
        (b"image,cat\na\x00.jpg,1\n", "zero bytes"),
    ],
)
def test_refusals(folder: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(LabelwiseError, match=message) as caught:
        read_text(folder, text)
    assert "\n" not in str(caught.value)


def test_a_counting_first_column_is_left_out_with_a_note(folder: Path) -> None:
    data = read_text(folder, ",image,cat\n0,a.jpg,1\n1,b.jpg,0\n")
    assert data.labels.names == ("cat",)
    assert any("only counts the rows" in note for note in data.notes)


ROWS = [("a.jpg", "1", "0"), ("b.jpg", "0", "1"), ("c d.jpg", "1", "")]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize(
    ("form", "note"),
    [
        ("{row}{mark}", "Every row ends with a delimiter that the header lacks."),
        ("{n}{mark}{row}", "The first cell of each row is its name, without a column in the header."),
        ('"{n}"{mark}{row}', "The first cell of each row is its name, without a column in the header."),
    ],
)
def test_rows_one_cell_longer_than_the_header(folder: Path, mark: str, form: str, note: str) -> None:
    rows = [form.format(row=mark.join(row), mark=mark, n=n) for n, row in enumerate(ROWS, 1)]
    data = read_text(folder, "\n".join([mark.join(("image", "cat", "dog")), *rows]) + "\n")
    assert note in data.notes
    assert data.labels.names == ("cat", "dog")
    assert data.images.to_pylist() == [row[0] for row in ROWS]
    assert data.values.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert data.known.tolist() == [[True, True], [True, True], [True, False]]


def test_row_names_that_are_the_images(folder: Path) -> None:
    """As R writes a data frame with file names as row names."""
    data = read_text(folder, '"cat","dog"\n' + "".join(f'"{name}",{a},{b}\n' for name, a, b in ROWS))
    assert data.labels.names == ("cat", "dog")
    assert data.images.to_pylist() == [row[0] for row in ROWS]


@pytest.mark.parametrize(
    "rows",
    [
        "a.jpg,1,0,\nb.jpg,0,1\nc d.jpg,1,1\n",  # only one row
        "a.jpg,1,0,\nb.jpg,0,1,1\nc d.jpg,1,1,\n",  # a state in the extra cell
        "a.jpg,1,0,0,1\nb.jpg,0,1,1,1\nc d.jpg,1,1,0,1\n",
        "7,a.jpg,1,0\n3,b.jpg,0,1\n4,c d.jpg,1,0\n",  # numbers that do not count the rows
        "1,a.jpg,1,0\n2,b.jpg,0,1\nc d.jpg,1,0\n",
    ],
)
def test_rows_of_another_length_are_refused(folder: Path, rows: str) -> None:
    with pytest.raises(LabelwiseError, match="rows of another length"):
        read_text(folder, "image,cat,dog\n" + rows)


@pytest.mark.parametrize("mark", [";", "|", ","])
def test_names_with_a_separator(folder: Path, mark: str) -> None:
    cells = [f"dog{mark} traffic light", "", f"cat{mark}dog{mark}"]
    rows = "".join(
        f'{name},"{cell}"\n' for name, cell in zip(("a.jpg", "b.jpg", "c d.jpg"), cells, strict=True)
    )
    data = read_text(folder, "filename,tags\n" + rows)
    assert data.labels.names == ("cat", "dog", "traffic light")
    assert data.values.tolist() == [[0, 1, 1], [0, 0, 0], [1, 1, 0]]
    assert data.known.all()
    assert any(repr(mark) in note and "absent is negative" in note for note in data.notes)
    assert "1 blank cells are all-negative." in data.notes
    unknown = read_text(folder, "filename,tags\n" + rows, "?blank=unknown")
    assert unknown.known.tolist() == [[True] * 3, [False] * 3, [True] * 3]


def test_names_without_a_separator_keep_their_blanks(folder: Path) -> None:
    data = read_text(folder, "image,labels\na.jpg,traffic light\nb.jpg,dog\n")
    assert data.labels.names == ("dog", "traffic light")
    spaced = read_text(folder, "image,labels\na.jpg,traffic light\nb.jpg,dog\n", "?separator= ")
    assert spaced.labels.names == ("dog", "light", "traffic")


def test_repeated_rows(folder: Path) -> None:
    same = read_text(folder, "image,cat,dog\na.jpg,1,\nb.jpg,0,0\na.jpg,1,0\n")
    assert [same.image_id(i) for i in range(len(same))] == ["a.jpg", "b.jpg"]
    assert same.known.all()
    assert same.rows_in_source == 3
    assert "1 repeated rows were merged into the first of their image." in same.notes

    text = "image,cat,dog\na.jpg,1,0\nb.jpg,0,0\na.jpg,1,1\n"
    with pytest.raises(LabelwiseError, match=r"1 images with rows that .*a.jpg \(row 2, row 4\) on dog;.*"):
        read_text(folder, text)
    masked = read_text(folder, text, "?duplicates=unknown")
    assert masked.known.tolist() == [[True, False], [True, True]]
    union = read_text(folder, "image,label\na.jpg,dog\nb.jpg,dog\na.jpg,cat\n", "?duplicates=union")
    assert union.values.tolist() == [[1, 1], [0, 1]]


def test_one_image_in_two_splits_is_refused(folder: Path) -> None:
    with pytest.raises(LabelwiseError, match=r"1 images in several splits; a.jpg \(row 2, row 3\)"):
        read_text(folder, "image,split,cat\na.jpg,train,1\na.jpg,test,1\n")


def test_missing_images(folder: Path) -> None:
    text = "image,cat\na.jpg,1\n" + "".join(f"x{i}.jpg,0\n" for i in range(7))
    with pytest.raises(
        LabelwiseError, match=r"7 of 8 image files missing under .*: x0.jpg.*x4.jpg, \.\.\.;.*skip"
    ):
        read_text(folder, text)
    data = read_text(folder, text, "?missing=skip")
    assert (len(data), data.rows_in_source) == (1, 8)
    assert any(note.startswith("7 rows whose image file is missing") for note in data.notes)
    with pytest.raises(LabelwiseError, match=r"image folder .*nowhere.*correct images=DIR"):
        read_text(folder, text, f"?images={folder}/nowhere")


def test_images_beside_the_table_are_located_with_a_note(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "images" / "a.jpg")
    data = read_text(tmp_path, "image,cat\na.jpg,1\n")
    assert data[0].image.shape == (3, 32, 48)
    assert any("`images` beside the table" in note for note in data.notes)


def test_labels_unseen_in_training_are_noted(folder: Path) -> None:
    data = read_text(folder, "image,split,cat,dog\na.jpg,train,1,0\nb.jpg,test,0,1\n")
    assert any("1 labels have positives outside train but none in train: dog." in note for note in data.notes)


def test_shared_scenes(shared: Path) -> None:
    data = read(str(shared / "miml-scenes"))
    assert dict(zip(data.labels, data.positive.sum(0).tolist(), strict=True)) == {
        "desert": 409,
        "mountains": 458,
        "sea": 580,
        "sunset": 465,
        "trees": 560,
    }
