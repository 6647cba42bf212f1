"""Tables and exports as tools write them: read correctly, or refused with advice."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from labelwise.data import Dataset, read
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
LABELS = ("cat", "dog", "bird")
HOT = [[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 0, 1], [0, 1, 0], [0, 1, 1]]
IMAGES = [f"p{i}.jpg" for i in range(8)]


@pytest.fixture
def folder(tmp_path: Path, photo: Photo) -> Path:
    for i, name in enumerate(IMAGES):
        photo(tmp_path / name, seed=i)
    return tmp_path


def table(
    folder: Path, columns: dict[str, Sequence[Any]], options: str = "", mark: str = ",", first: str = "image"
) -> Dataset:
    rows = [mark.join([first, *columns])]
    rows += [mark.join([n, *(str(c[i]) for c in columns.values())]) for i, n in enumerate(IMAGES)]
    return text(folder, "\n".join(rows) + "\n", options)


def text(folder: Path, content: str, options: str = "", name: str = "t.csv", kind: str = "csv:") -> Dataset:
    (folder / name).write_text(content, encoding="utf-8")
    return read(f"{kind}{folder / name}{options}")


def states(*cells: str) -> dict[str, list[str]]:
    return {label: [cells[row[j]] for row in HOT] for j, label in enumerate(LABELS)}


def lines(folder: Path, rows: Sequence[dict[str, Any]], options: str = "", kind: str = "jsonl:") -> Dataset:
    content = "".join(json.dumps(row) + "\n" for row in rows)
    return text(folder, content, options, "t.jsonl", kind)


@pytest.mark.parametrize(
    "pair",
    [
        "nein ja",
        "non oui",
        "no si",
        "FALSCH WAHR",
        "FAUX VRAI",
        "FALSO VERDADERO",
        "нет да",
        "否 是",
        "off on",
    ],
)
def test_yes_and_no_in_other_languages(folder: Path, pair: str) -> None:
    data = table(folder, states(*pair.split()))
    assert data.values.tolist() == HOT
    absent, present = pair.casefold().split()
    assert [n for n in data.notes if "read as" in n] == [
        f"{present!r} is read as present and {absent!r} as absent."
    ]


def test_marks_are_offered_once_for_all_columns(folder: Path) -> None:
    with pytest.raises(
        LabelwiseError, match=r"cat, dog, bird: add \?present=x if .*&blank=negative"
    ) as caught:
        table(folder, states("", "x"))
    assert caught.value.todo.count("present=") == 1
    assert table(folder, states("", "x"), "?present=x&blank=negative").values.tolist() == HOT


def test_one_and_two_beside_a_question_mark(folder: Path) -> None:
    columns = states("1", "2")
    columns["cat"][3] = "?"
    with pytest.raises(LabelwiseError, match=r"add \?absent=1&present=2&unknown=%3F") as caught:
        table(folder, columns)
    data = table(folder, columns, caught.value.todo.split()[1])
    assert not data.known[3, 0]
    assert data.values.tolist() == HOT


def test_counts_are_offered_as_present(folder: Path) -> None:
    columns = {"cat": [0, 1, 2, 3, 0, 5, 0, 0], "dog": [0, 0, 0, 1, 1, 4, 4, 0]}
    with pytest.raises(LabelwiseError, match=r"\?present=1,2,3,4,5") as caught:
        table(folder, columns)
    option = next(part for part in caught.value.todo.split() if part.startswith("?present")).rstrip(",")
    assert table(folder, columns, option).values[:, 0].tolist() == [0, 1, 1, 1, 0, 1, 0, 0]


def test_a_column_for_each_name(folder: Path) -> None:
    columns = {
        "first": ["cat", "dog", "cat", "bird", "dog", "cat", "dog", "bird"],
        "second": ["dog", *[""] * 6, "cat"],
    }
    with pytest.raises(LabelwiseError, match=r"add \?labels=first,second"):
        table(folder, columns)
    data = table(folder, columns, "?labels=first,second")
    assert data.values[0].tolist() == [0, 1, 1]


def test_a_column_of_names_with_a_name_of_its_own(folder: Path) -> None:
    cells = ["100", "101|102", "103|101", "100|103", "102", "100", "101", "103"]
    with pytest.raises(
        LabelwiseError, match=r"if what_is_seen holds names of labels, add \?labels=what_is_seen"
    ):
        table(folder, {"what_is_seen": cells})
    assert table(folder, {"attribute_ids": cells}).labels.names == ("100", "101", "102", "103")


@pytest.mark.parametrize(
    "name", ["row_id", "image_id", "cat_conf", "num_labels", "is_training_image", "is_labeled"]
)
def test_columns_that_are_no_labels_by_their_name_are_noted(folder: Path, name: str) -> None:
    data = table(folder, {name: [0, 1] * 4, **states("0", "1")})
    assert any(f"Read as labels by their cells: {name}" in note for note in data.notes)


def test_shares_beside_states_are_noted(folder: Path) -> None:
    data = table(folder, {"sharpness": [0.1 * i for i in range(8)], **states("0", "1")})
    assert any("beside labels of 0 and 1: sharpness" in note for note in data.notes)


@pytest.mark.parametrize("name", ["confidence", "value", "Present"])
def test_rows_of_an_image_a_name_and_its_state(folder: Path, name: str) -> None:
    content = f"image,label,{name}\n" + "".join(
        f"p{i // 2}.jpg,{'cd'[i % 2]},{int(i > 2)}\n" for i in range(8)
    )
    with pytest.raises(LabelwiseError, match="openimages:FILE"):
        text(folder, content)
    content = content.replace(f"image,label,{name}", "ImageID,LabelName,Confidence")
    data = text(folder, content, kind="openimages:")
    assert data.values.tolist() == [[0, 0], [0, 1], [1, 1], [1, 1]]


def test_an_index_of_pandas(folder: Path) -> None:
    pd = pytest.importorskip("pandas", reason="the package pandas is not installed")
    frame = pd.DataFrame(HOT, columns=LABELS)
    frame.set_index(pd.Index(IMAGES)).to_csv(folder / "t.csv")  # names of images in a column without a name
    assert read(f"csv:{folder / 't.csv'}").values.tolist() == HOT
    frame.insert(0, "image", IMAGES)
    some = frame.sample(frac=0.5, random_state=0)  # its index no longer counts
    for write, name in ((some.to_csv, "t.csv"), (some.to_parquet, "t.parquet")):
        write(folder / name)
        data = read(str(folder / name))
        assert data.labels.names == LABELS
        assert [IMAGES.index(data.image_id(i)) for i in range(4)] == some.index.tolist()
    some.reset_index().rename(columns={"index": "Unnamed: 0"}).to_csv(
        folder / "t.csv"
    )  # read and written again
    assert read(f"csv:{folder / 't.csv'}").labels.names == LABELS


def test_rows_that_a_spreadsheet_leaves_below(folder: Path) -> None:
    rows = "".join(f"{n};{';'.join(map(str, row))}\n" for n, row in zip(IMAGES, HOT, strict=True))
    data = text(folder, "image;cat;dog;bird\n" + rows + ";;;\n;;;\n")
    assert data.values.tolist() == HOT
    assert "2 blank rows at the end were left out." in data.notes
    with pytest.raises(LabelwiseError, match="row 2 without an image"):
        text(folder, "image;cat;dog;bird\n;;;\n" + rows)


@pytest.mark.parametrize("head", ["# made by a tool\n", "# one\n# two, with a comma\n"])
def test_comments_above_a_table(folder: Path, head: str) -> None:
    rows = "".join(f"{n},{','.join(map(str, row))}\n" for n, row in zip(IMAGES, HOT, strict=True))
    data = text(folder, head + "image,cat,dog,bird\n" + rows)
    assert data.values.tolist() == HOT
    assert any("with # were left out" in note for note in data.notes)
    assert text(folder, "#image,cat,dog,bird\n" + rows).values.tolist() == HOT
    with pytest.raises(LabelwiseError, match=f"row {head.count('#') + 3}, column 'cat'"):
        text(folder, head + "image,cat,dog,bird\n" + rows.replace("p1.jpg,0", "p1.jpg,7"))
    with pytest.raises(LabelwiseError, match="which is a title"):
        text(folder, "My labels,,,\nimage,cat,dog,bird\n" + rows)


def test_columns_separated_by_blanks(folder: Path) -> None:
    assert table(folder, states("0", "1"), mark=" ").values.tolist() == HOT


@pytest.mark.parametrize("name", ["set", "phase", "Usage"])
def test_a_column_of_splits_under_another_name(folder: Path, name: str) -> None:
    splits = ["Training"] * 5 + ["val", "test", ""]
    for labels in (states("0", "1"), {"labels": ["cat", "dog"] * 4}):
        data = table(folder, {name: splits, **labels})
        assert data.splits() == {"train": 5, "val": 1, "test": 1}
        assert any(f"{name!r} holds names of splits" in note for note in data.notes)
    rows = [{"image": n, "labels": ["cat"], name: w} for n, w in zip(IMAGES, splits, strict=True)]
    assert lines(folder, rows).splits() == {"train": 5, "val": 1, "test": 1}


def test_splits_called_by_numbers_are_noted(folder: Path) -> None:
    data = table(folder, {"split": [0, 1] * 4, **states("0", "1")})
    assert data.splits() == {"train": 4, "val": 4}
    assert any("0 is train" in note and "1 is val" in note for note in data.notes)
    data = table(folder, {"split": [5, 7] * 4, **states("0", "1")})
    assert any("No split is called train" in note for note in data.notes)


def test_numbers_that_lost_their_zeros(tmp_path: Path, photo: Photo) -> None:
    for i in range(1, 4):
        photo(tmp_path / f"{i:012d}.jpg", seed=i)
    data = text(tmp_path, "image_id,cat\n1,1\n2,0\n3,1\n")
    assert data.image_id(2) == "000000000003.jpg"
    rows = [{"image_id": i, "labels": ["cat"]} for i in range(1, 4)]
    assert lines(tmp_path, rows).image_id(0) == "000000000001.jpg"
    photo(tmp_path / "01.jpg", seed=9)
    with pytest.raises(LabelwiseError, match="1 of 3 image files missing"):
        text(tmp_path, "image_id,cat\n1,1\n2,0\n3,1\n")


def test_numbers_of_labels_beside_their_names(folder: Path) -> None:
    (folder / "classes.txt").write_text("cat\ndog\n")
    data = table(folder, {"labels": ["0", "1", "0;1", "1"] * 2})
    assert any(f"?names={folder / 'classes.txt'} takes their names" in note for note in data.notes)


@pytest.mark.parametrize("kind", ["csv:", "jsonl:", ""])
def test_compressed_files_and_workbooks(tmp_path: Path, kind: str) -> None:
    content = b"image,cat\np.jpg,1\n"
    for name, raw, todo in (
        ("t.csv.gz", gzip.compress(content), "unpack it"),
        ("t.csv.zst", pa.compress(content, "zstd", asbytes=True), "unpack it"),
        ("t.xlsx", b"PK\x03\x04...", "save its sheet as CSV"),
    ):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(LabelwiseError, match=todo):
            read(f"{kind}{tmp_path / name}")


def test_answers_of_prodigy(folder: Path) -> None:
    rows = [{"image": n, "label": "cat", "answer": "accept"} for n in IMAGES]
    assert lines(folder, rows).values.all()
    rows[2]["answer"] = "reject"
    with pytest.raises(
        LabelwiseError, match=r"1 lines whose answer is reject or ignore, the first in line 3"
    ):
        lines(folder, rows)
    assert lines(folder, rows, "?ignore=answer").values.all()
    rows = [{"image": n, "accept": ["cat"], "answer": "accept"} for n in IMAGES]
    assert lines(folder, rows).labels.names == ("cat",)


def test_names_of_absent_labels_beside_the_present_ones(folder: Path) -> None:
    rows = [{"image": n, "labels": ["cat"], "negative_labels": ["dog"]} for n in IMAGES]
    with pytest.raises(LabelwiseError, match=r"negative_labels beside label names.*\?ignore=negative_labels"):
        lines(folder, rows)
    with pytest.raises(LabelwiseError, match="neg_labels beside label names"):
        table(folder, {"labels": ["cat", "dog"] * 4, "neg_labels": ["dog", "cat"] * 4})


def test_json_lines_with_categories_are_no_coco(folder: Path) -> None:
    rows = [{"id": i, "filename": n, "categories": ["cat"]} for i, n in enumerate(IMAGES)]
    assert lines(folder, rows, kind="").labels.names == ("cat",)


def test_states_without_a_header_are_no_names(folder: Path) -> None:
    rows = "".join(f"{n},{','.join(map(str, row))}\n" for n, row in zip(IMAGES, HOT, strict=True))
    with pytest.raises(LabelwiseError, match=r"a 0 or 1 for each label.*add a first line"):
        text(folder, rows, kind="vertex:")
    data = text(folder, "p0.jpg,cat dog\np1.jpg,cat\np2.jpg,dog\n", kind="vertex:")
    assert any("'cat dog' is read as one label" in note for note in data.notes)


@pytest.mark.parametrize("cells", ["1 0 0", "0", "0\n2"])
def test_texts_of_numbers_are_no_tags(folder: Path, cells: str) -> None:
    for i, name in enumerate(IMAGES):
        (folder / name).with_suffix(".txt").write_text(cells if i else "0 1 0")
    with pytest.raises(LabelwiseError, match=r"texts of numbers|a 0 or 1 for each label"):
        read(str(folder))


def test_a_project_of_folders_with_images_and_annotations(tmp_path: Path, photo: Photo) -> None:
    for part in ("street", "park"):
        photo(tmp_path / part / "img" / "1.jpg", seed=len(part))
        (tmp_path / part / "ann").mkdir()
        (tmp_path / part / "ann" / "1.jpg.json").write_text('{"tags": [{"name": "cat"}]}')
    with pytest.raises(LabelwiseError, match="of no known kind"):
        read(str(tmp_path))


def test_tables_of_splits_in_one_folder(folder: Path) -> None:
    for name in ("train", "val"):
        image = "p0.jpg" if name == "train" else "p1.jpg"
        (folder / f"{name}.csv").write_text(f"image,cat\n{image},1\n")
    assert read(str(folder)).splits() == {"train": 1, "val": 1}
    (folder / "val.csv").rename(folder / "other.csv")
    with pytest.raises(LabelwiseError, match=r"name the table, for example csv:\S+train.csv|other.csv$"):
        read(str(folder))


def test_a_code_for_unknown_is_no_count(folder: Path) -> None:
    columns = {"cat": [0, 1, 9, 0, 1, 9, 0, 1], "dog": [0, 1, 1, 9, 0, 1, 1, 9]}
    with pytest.raises(LabelwiseError, match=r"cat, dog: add \?unknown=9 if that means unknown") as caught:
        table(folder, columns)
    assert "present=" not in caught.value.todo
    assert table(folder, columns, "?unknown=9").known.tolist()[2] == [False, True]


def test_grades_are_no_names(folder: Path) -> None:
    columns = {"cat": [i - 3.5 for i in range(8)], "dog": [3.0 - i * 1.2 for i in range(8)]}
    with pytest.raises(LabelwiseError, match="write a share between 0 and 1"):
        table(folder, columns)


def test_names_beside_their_numbers(folder: Path) -> None:
    data = table(folder, {"label": [0, 1, 2, 0] * 2, "label_name": ["cat", "dog", "bird", "cat"] * 2})
    assert data.labels.names == ("bird", "cat", "dog")
