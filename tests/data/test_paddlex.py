"""PaddleX multi-label classification lists, and broken ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labelwise.data import read
from labelwise.data.readers import paddlex
from labelwise.data.source import WouldLose
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]


def save(folder: Path, labels: str, **lists: str) -> Path:
    (folder / "label.txt").write_text(labels, encoding="utf-8")
    for name, text in lists.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def test_marks_agree_with_a_slow_loop(tmp_path: Path, photo: Photo) -> None:
    marks = np.random.default_rng(0).integers(0, 2, (9, 3))
    lists: dict[str, str] = {"train": "\ufeff", "val": "\r\n", "test": ""}
    for i, row in enumerate(marks.tolist()):
        photo(tmp_path / "images" / f"a {i}.jpg", seed=i)
        lists[[*lists][i % 3]] += f"images/a {i}.jpg\t{','.join(map(str, row))}\r\n"
    save(tmp_path, "0 cat\n1 traffic light\n2 never", **lists)
    assert paddlex.recognises(tmp_path)
    data = read(f"paddlex:{tmp_path}")
    assert data.labels.names == ("cat", "traffic light", "never")
    assert data.splits() == {"train": 3, "val": 3, "test": 3}
    assert data.known.all()
    for i in range(9):
        number = int(data.image_id(i)[9:-4])
        assert data.values[i].tolist() == marks[number].tolist()
        assert data.split_names[data.split_of[i]] == [*lists][number % 3]  # type: ignore[index]


def test_images_elsewhere(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "there" / "1.jpg")
    (tmp_path / "set").mkdir()
    save(tmp_path / "set", "0 cat\n", train="1.jpg\t1\n2.jpg\t0\n")
    with pytest.raises(WouldLose, match="1 of 2 image files missing"):
        read(f"paddlex:{tmp_path / 'set'}?images={tmp_path / 'there'}")
    assert len(read(f"paddlex:{tmp_path / 'set'}?images={tmp_path / 'there'}&missing=skip")) == 1


@pytest.mark.parametrize(
    ("labels", "train", "message"),
    [
        ("0 cat\n1 dog", "1.jpg\t1\n", "train.txt, line 1: 1 marks; expected 2, one per label of label.txt"),
        (
            "0 cat\n1 dog",
            "1.jpg\t1,0\n\n1.jpg\t1,2\n",
            r"train.txt, line 3: .*; expected an image, a tab and 0,1",
        ),
        ("0 cat\n1 dog", "1.jpg 1,0\n", "train.txt, line 1"),
        ("0 cat\n2 dog", "1.jpg\t1,0\n", r"label.txt, line 2: '2 dog'; expected '1 NAME'"),
        ("cat\ndog", "1.jpg\t1,0\n", r"label.txt, line 1: 'cat'; expected '0 NAME'"),
        ("", "1.jpg\t1,0\n", "label.txt, an empty file"),
        ("0 cat\n1 cat", "1.jpg\t1,0\n", "label 'cat' twice"),
        ("0 cat\n1 dog", "", "without images"),
        ("0 cat\n1 dog", "1.jpg\t1,0\n1.jpg\t0,0\n", "contradict each other: 1.jpg .train.txt, line 1"),
    ],
)
def test_broken_lists(tmp_path: Path, photo: Photo, labels: str, train: str, message: str) -> None:
    photo(tmp_path / "1.jpg")
    with pytest.raises(LabelwiseError, match=message):
        read(f"paddlex:{save(tmp_path, labels, train=train)}")


def test_other_folders(tmp_path: Path) -> None:
    assert not paddlex.recognises(tmp_path)
    with pytest.raises(
        LabelwiseError, match=r"without label.txt, or any of train.txt, .*; expected a PaddleX"
    ):
        read(f"paddlex:{tmp_path}")
    for train in ("1.jpg 3\n", "a/1.jpg\n", "1.jpg\tcat\n", ""):
        assert not paddlex.recognises(save(tmp_path, "0 cat\n", train=train)), train
    (tmp_path / "label.txt").write_bytes(b"0 caf\xe9")
    with pytest.raises(LabelwiseError, match=r"label.txt, which is not UTF-8"):
        read(f"paddlex:{tmp_path}")
