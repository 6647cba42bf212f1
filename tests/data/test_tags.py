"""Texts of tags beside images, and texts with other content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labelwise.data import Dataset, read
from labelwise.data.readers import tags
from labelwise.data.source import WouldLose
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]


@pytest.fixture
def beside(tmp_path: Path, photo: Photo) -> Callable[..., None]:
    """Writes an image and, unless it is `None`, the text beside it."""

    def write(name: str, text: str | None, suffix: str = ".txt", encoding: str = "utf-8") -> None:
        image = photo(tmp_path / name, seed=sum(map(ord, name)))
        if text is not None:
            image.with_suffix(suffix).write_text(text, encoding=encoding)

    return write


def rows(data: Dataset) -> dict[str, set[str] | None]:
    """The present tags by image, `None` if all are unknown."""
    return {
        data.image_id(i): {t for j, t in enumerate(data.labels) if data.values[i, j]}
        if data.known[i].all()
        else None
        for i in range(len(data))
    }


def test_tags_agree_with_a_slow_loop(tmp_path: Path, beside: Callable[..., None]) -> None:
    rng = np.random.default_rng(2)
    names = ["1girl", "smile (happy)", "long hair", "ö", "a.b", "x:1"]
    expected: dict[str, set[str] | None] = {}
    for i in range(24):
        image = f"{('10_scene/', '', '1_x/deep/')[i % 3]}v1.{i}.jpg"
        picked = rng.permutation(names)[: i % 5].tolist()
        written = [tag.replace("(", r"\(").replace(")", r"\)") if i % 2 else tag for tag in picked]
        text = (", ", ",", " ,\n", "\r\n")[i % 4].join(written) + (",", "\n", "")[i % 3]
        expected[image] = None if i == 7 else set(picked)
        beside(image, None if i == 7 else text, encoding="utf-8-sig" if i == 8 else "utf-8")
    assert tags.recognises(tmp_path)
    for blank in ("negative", "unknown"):
        data = read(f"tags:{tmp_path}?blank={blank}")
        assert data.labels.names == tuple(sorted(names))
        assert rows(data) == {k: v if v or blank == "negative" else None for k, v in expected.items()}
    assert any(note.startswith("6 images that nobody annotated") for note in data.notes)
    assert data.split_of is None


def test_suffix_separator_and_splits(tmp_path: Path, beside: Callable[..., None]) -> None:
    beside("train/1.jpg", "a, b; c", ".CAPTION")
    beside("valid/2.jpg", "c", ".CAPTION")
    with pytest.raises(LabelwiseError, match=r"2 images and no .txt beside them; .*; add suffix=.caption"):
        read(f"tags:{tmp_path}")
    data = read(f"tags:{tmp_path}?suffix=caption&separator=;")
    assert rows(data) == {"train/1.jpg": {"a, b", "c"}, "valid/2.jpg": {"c"}}
    assert data.splits() == {"train": 1, "val": 1}
    with pytest.raises(LabelwiseError, match="an empty option"):
        read(f"tags:{tmp_path}?separator=")


def test_whole_names_before_the_suffix(tmp_path: Path, photo: Photo) -> None:
    for name in ("a.jpg", "a.png"):
        photo(tmp_path / name)
        (tmp_path / f"{name}.txt").write_text(name[2:])
    assert rows(read(f"tags:{tmp_path}")) == {"a.jpg": {"jpg"}, "a.png": {"png"}}


def test_texts_without_an_image(tmp_path: Path, beside: Callable[..., None]) -> None:
    beside("1.jpg", "a")
    beside("2.jpg", "a, b")
    (tmp_path / "readme.txt").write_text("about these")
    with pytest.raises(WouldLose, match=r"1 texts without an image: readme.txt; .*missing=skip"):
        read(f"tags:{tmp_path}")
    data = read(f"tags:{tmp_path}?missing=skip")
    assert rows(data) == {"1.jpg": {"a"}, "2.jpg": {"a", "b"}}
    assert "1 texts without an image were left out: readme.txt." in data.notes
    assert "Tags of every image, of which nothing can be learned: a." in data.notes


def test_hidden_files_are_skipped(tmp_path: Path, beside: Callable[..., None]) -> None:
    beside("1.jpg", "a")
    for name in (
        "._1.jpg",
        "._1.txt",
        "__MACOSX/1.jpg",
        ".git/2.jpg",
        "Thumbs.db",
        ".ipynb_checkpoints/1.jpg",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert rows(read(f"tags:{tmp_path}")) == {"1.jpg": {"a"}}


@pytest.mark.parametrize(
    "line",
    [
        "0 0.5 0.5 0.1 0.2",
        "1 0.1 .2 3e-1 0.4 0.5 0.6",
        "377,117,463,117,465,130,378,130,Genaxis Theatre",
        "Car 0.00 0 -1.57 614.24 181.78 727.31 284.77",
    ],
)
def test_lines_of_numbers_are_boxes(tmp_path: Path, beside: Callable[..., None], line: str) -> None:
    beside("images/1.jpg", "")
    beside("images/2.jpg", f"{line}\n{line}\n")
    assert not tags.recognises(tmp_path)
    with pytest.raises(
        LabelwiseError, match=r"2.txt with lines of numbers, .*boxes as YOLO writes them; expected tags"
    ):
        read(f"tags:{tmp_path}")
    (tmp_path / "labels").mkdir()
    (tmp_path / "images" / "2.txt").rename(tmp_path / "labels" / "2.txt")
    with pytest.raises(LabelwiseError, match=r"labels/2.txt with lines of numbers"):
        read(f"tags:{tmp_path}")


def test_tags_with_numbers_are_tags(tmp_path: Path, beside: Callable[..., None]) -> None:
    beside("1.jpg", "1girl, 2, 3, 2020s, 4:3, solo, dress")
    beside("2.jpg", "1, 2")
    assert tags.recognises(tmp_path)
    assert len(read(f"tags:{tmp_path}").labels) == 7 + 1


def test_sentences_are_no_tags(tmp_path: Path, beside: Callable[..., None]) -> None:
    for i, animal in enumerate(("dog", "cat", "horse", "cow")):
        beside(
            f"{i}.jpg",
            f"A photograph of a {animal} number {i}, which stands in the grass beside a red {animal}.",
        )
    assert not tags.recognises(tmp_path)
    with pytest.raises(LabelwiseError, match=r"with texts of sentences, as 'A photograph of a dog"):
        read(f"tags:{tmp_path}")


def test_tags_that_occur_once_are_noted(tmp_path: Path, beside: Callable[..., None]) -> None:
    for i in range(12):
        beside(f"{i}.jpg", f"tree, one{i}, two{i}" if i else "sky")
    data = read(f"tags:{tmp_path}")
    assert any(note.startswith("23 of 24 labels occur on one image alone: ") for note in data.notes)


def test_other_refusals(tmp_path: Path, beside: Callable[..., None], photo: Photo) -> None:
    with pytest.raises(LabelwiseError, match=r"with 0 images and no .txt"):
        read(f"tags:{tmp_path}")
    assert not tags.recognises(tmp_path)
    beside("1.jpg", "")
    assert not tags.recognises(tmp_path)
    with pytest.raises(LabelwiseError, match="1 images and no label"):
        read(f"tags:{tmp_path}")
    (tmp_path / "1.txt").write_bytes(b"caf\xe9")
    with pytest.raises(LabelwiseError, match=r"1.txt, which is not UTF-8"):
        read(f"tags:{tmp_path}")
    (tmp_path / "1.txt").write_text("a")
    photo(tmp_path / "1.png")
    with pytest.raises(
        LabelwiseError, match=r"1.jpg and 1.png, which share 1.txt; expected one text per image"
    ):
        read(f"tags:{tmp_path}")
    with pytest.raises(LabelwiseError, match="is a file; expected a folder"):
        read(f"tags:{tmp_path / '1.txt'}")


def test_few_texts_are_not_recognised(tmp_path: Path, beside: Callable[..., None]) -> None:
    beside("cat/1.jpg", "a")
    beside("cat/2.jpg", None)
    assert not tags.recognises(tmp_path)
    assert not tags.recognises(tmp_path / "cat" / "1.txt")
