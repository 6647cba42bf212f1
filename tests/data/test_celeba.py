"""CelebA's lists of attributes, parts and identities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labelwise.data import read
from labelwise.data.readers.celeba import recognises
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
TEXT = "3\nBald Eye_glasses Young \n000001.jpg -1  1 -1\n000002.jpg  1  1 -1\n000003.jpg -1 -1  1\n"
TABLE = "image_id,Bald,Eye_glasses,Young\n000001.jpg,-1,1,-1\n000002.jpg,1,1,-1\n000003.jpg,-1,-1,1\n"
VALUES = [[0, 1, 0], [1, 1, 0], [0, 0, 1]]
PARTS = "000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n"


@pytest.fixture
def folder(tmp_path: Path, photo: Photo) -> Path:
    (tmp_path / "list_attr_celeba.txt").write_text(TEXT)
    (tmp_path / "list_eval_partition.txt").write_text(PARTS)
    for number in (1, 2, 3):
        photo(tmp_path / "img_align_celeba" / f"{number:06d}.jpg", seed=number)
    return tmp_path


def test_text_lists(folder: Path) -> None:
    (folder / "identity_CelebA.txt").write_text("000001.jpg 7\n000002.jpg 9\n000003.jpg 7\n")
    data = read(f"celeba:{folder}")
    assert data.labels.names == ("Bald", "Eye_glasses", "Young")
    assert data.values.tolist() == VALUES
    assert data.known.all()
    assert data.splits() == {"train": 1, "val": 1, "test": 1}
    assert data.group is not None
    assert data.group[0] == data.group[2] != data.group[1]
    assert data.image_id(0) == "000001.jpg"
    assert data.notes[:2] == (
        "-1 is read as absent.",
        "Images of one person by identity_CelebA.txt are a group.",
    )
    assert data[1].image.shape == (3, 32, 48)


def test_tables_of_csv_and_nested_images(tmp_path: Path, photo: Photo) -> None:
    file = tmp_path / "list_attr_celeba.csv"
    file.write_text(TABLE)
    (tmp_path / "list_eval_partition.csv").write_text(
        "image_id,partition\n" + "".join(f"{line.replace(' ', ',')}\n" for line in PARTS.splitlines())
    )
    for number in (1, 2, 3):
        photo(tmp_path / "img_align_celeba" / "img_align_celeba" / f"{number:06d}.jpg", seed=number)
    for source in (f"celeba:{tmp_path}", f"celeba:{file}"):
        data = read(source)
        assert data.values.tolist() == VALUES
        assert data.splits() == {"train": 1, "val": 1, "test": 1}
    file.write_text(TABLE.replace("-1", "0"))
    zero = read(f"celeba:{file}")
    assert zero.values.tolist() == VALUES
    assert zero.notes[0] == "0 is read as absent."


def test_the_folders_of_the_download(tmp_path: Path, photo: Photo) -> None:
    for place, name, text in (
        ("Anno", "list_attr_celeba.txt", TEXT),
        ("Anno", "list_attr_celeba.csv", TABLE),
        ("Eval", "list_eval_partition.txt", PARTS),
    ):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / name).write_text(text)
    for number in (1, 2, 3):
        photo(tmp_path / "Img" / "img_align_celeba_png" / f"{number:06d}.png", seed=number)
    data = read(f"celeba:{tmp_path}")
    assert data.splits() == {"train": 1, "val": 1, "test": 1}
    assert data.images.to_pylist() == ["000001.png", "000002.png", "000003.png"]
    assert data.notes[0] == "list_attr_celeba.csv beside list_attr_celeba.txt is not read."


def test_a_partition_with_missing_and_other_images(folder: Path) -> None:
    (folder / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 1\n000009.jpg 2\n")
    data = read(f"celeba:{folder}")
    assert data.split_of is not None
    assert data.split_of.tolist() == [0, 1, -1]
    assert "1 images of list_eval_partition.txt have no attributes and were left out." in data.notes
    assert "1 rows are in no split." in data.notes
    (folder / "list_eval_partition.txt").unlink()
    assert read(f"celeba:{folder}").split_of is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT.replace("3\n", "5\n", 1), "with 3 rows, though its first line says 5"),
        (
            TEXT.replace("2.jpg  1  1 -1", "2.jpg 1  2 -1"),
            r"line 4: Eye_glasses '2'; expected 1 \(present\) or -1 \(absent\)",
        ),
        (TEXT.replace("2.jpg  1  1 -1", "2.jpg 1  0 -1"), "line 4: Eye_glasses '0'"),
        (TEXT.replace("2.jpg  1  1 -1", "2.jpg 1 -1"), "line 4 with 3 values"),
        (TEXT.replace("Young", "Very Young"), "line 3 with 4 values"),
        (TEXT[2:], "begins with 'Bald Eye_glasses Young'"),
        ("0\na b\n", "without images"),
        (TEXT.replace("3.jpg -1", "2.jpg -1"), "rows that contradict each other"),
        (TEXT.replace("000003", "000004"), "1 of 3 image files missing"),
        (TEXT.replace("Young", "Bald"), "label 'Bald' twice"),
        ("", "begins with ''"),
    ],
)
def test_refused_lists(folder: Path, text: str, message: str) -> None:
    (folder / "list_attr_celeba.txt").write_text(text)
    with pytest.raises(LabelwiseError, match=message):
        read(f"celeba:{folder}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PARTS.replace(" 2", " 3"), r"line 3: '3'; expected 0 \(train\), 1 \(val\) or 2 \(test\)"),
        (PARTS.replace(" 2", ""), "line 3 with 1 values"),
        (PARTS.replace("000003", "000001"), "image '000001.jpg' twice"),
    ],
)
def test_refused_partitions(folder: Path, text: str, message: str) -> None:
    (folder / "list_eval_partition.txt").write_text(text)
    with pytest.raises(LabelwiseError, match=message):
        read(f"celeba:{folder}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE.replace(",1,1,-1", ",1,1"), "line 3 with 3 cells; expected 4"),
        (TABLE.replace(",1,1,-1", ",1,,-1"), "line 3: Eye_glasses ''"),
        ("image_id,a\n", "without rows"),
    ],
)
def test_refused_tables(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list_attr_celeba.csv").write_text(text)
    with pytest.raises(LabelwiseError, match=message):
        read(f"celeba:{tmp_path}")


def test_what_is_recognised(folder: Path) -> None:
    assert recognises(folder)
    assert recognises(folder / "list_attr_celeba.txt")
    other = folder / "other.txt"
    for text in (
        "",
        "3\na b\n1.jpg 0 1\n",
        "a b\n1.jpg 1 -1\n2.jpg 1 1\n",
        PARTS,
        "cat, dog",
        "3\na b\n1.jpg 1\n",
    ):
        other.write_text(text)
        assert not recognises(other)
    (folder / "table.csv").write_text(TABLE)
    assert not recognises(folder / "table.csv")
    assert not recognises(folder / "img_align_celeba")


def test_every_cell_of_a_long_list(tmp_path: Path) -> None:
    cells = np.random.default_rng(0).integers(0, 2, (500, 40))
    names = [f"{i:06d}.jpg" for i in range(500)]
    (tmp_path / "img_align_celeba").mkdir()
    for name in names:
        (tmp_path / "img_align_celeba" / name).touch()
    rows = (
        f"{name} {' '.join(f'{2 * cell - 1:2d}' for cell in row)}"
        for name, row in zip(names, cells, strict=True)
    )
    header = " ".join(f"a{j}" for j in range(40))
    (tmp_path / "list_attr_celeba.txt").write_text(f"500\n{header} \n" + "\n".join(rows))
    data = read(f"celeba:{tmp_path}")
    np.testing.assert_array_equal(data.values, cells)
    assert data.notes[-1] == "list_eval_partition.txt is not there: the data set has no splits."
