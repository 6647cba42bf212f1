"""JSON lines in their three forms."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelwise.data import read
from labelwise.data.readers.jsonl import recognises
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, photo: Photo) -> Callable[..., Path]:
    def lines(*rows: dict[str, Any], name: str = "labels.jsonl", end: str = "\n") -> Path:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n".join(json.dumps(row) for row in rows) + end)
        for number in range(4):
            photo(file.parent / f"{number}.jpg", seed=sum(name.encode()) + number)
        return file

    return lines


def states(file: Path | str, options: str = "") -> list[list[float | None]]:
    data = read(f"jsonl:{file}{options}")
    return [
        [float(v) if k else None for v, k in zip(values, known, strict=True)]
        for values, known in zip(data.values, data.known, strict=True)
    ]


def image(number: int, **others: Any) -> dict[str, Any]:
    return {"image": f"{number}.jpg", **others}


def test_names_in_lists(write: Callable[..., Path]) -> None:
    file = write(
        image(0, labels=["dog", "group"], width=640, split="train", group="a"),
        image(1, labels=[], split="valid", group="b"),
        image(2, labels=None, split="train", group="a"),
        image(3, split="test"),
    )
    data = read(f"jsonl:{file}")
    assert data.labels.names == ("dog", "group")
    assert states(file) == [[1, 1], [0, 0], [None, None], [None, None]]
    assert data.splits() == {"train": 2, "val": 1, "test": 1}
    assert data.group is not None
    assert data.group[0] == data.group[2] != data.group[1] != data.group[3]
    assert data.notes == (
        "Labels are names in 'labels', in lists; a label that is absent is negative.",
        "2 lines null, or without the key, are all-unknown.",
        "1 lines without a name are all-negative.",
        "Keys beside 'labels' that were left out: width.",
        "1 rows without a group are a group each.",
        "Splits renamed: valid is val.",
    )
    assert states(file, "?blank=unknown")[1] == [None, None]


def test_names_in_texts(write: Callable[..., Path]) -> None:
    file = write(
        image(0, tags="dog|traffic light"), image(1, tags=""), image(2, tags="cat"), image(3, tags=None)
    )
    assert read(f"jsonl:{file}").labels.names == ("cat", "dog", "traffic light")
    assert states(file) == [[0, 1, 1], [0, 0, 0], [1, 0, 0], [None] * 3]
    file = write(image(0, label="a#b"), image(1, label=["b", "c"]))
    assert read(f"jsonl:{file}?separator=").labels.names == ("a#b", "b", "c")
    assert states(file, "?separator=%23") == states(file) == [[1, 1, 0], [0, 1, 1]]
    file = write(image(0, category=7), image(1, category=12))
    assert read(f"jsonl:{file}").labels.names == ("12", "7")


def test_unknown_names(write: Callable[..., Path]) -> None:
    file = write(image(0, labels=["dog"]), image(1, labels=["todo", "dog"]), image(2, labels="todo"))
    assert states(file, "?unknown=todo") == [[1], [1], [None]]  # other names of the line stay present
    assert states(file, "?unknown=TODO") == [[1], [1], [None]]
    assert any("add ?unknown=todo." in note for note in read(f"jsonl:{file}").notes)
    with pytest.raises(LabelwiseError, match=r"unknown=later .*the text of no label cell"):
        read(f"jsonl:{file}?unknown=todo,later")
    with pytest.raises(LabelwiseError, match=r"blank=unknown .*no empty list or text"):
        read(f"jsonl:{file}?blank=unknown")


def test_a_name_for_no_label(write: Callable[..., Path]) -> None:
    file = write(image(0, labels="No Finding"), image(1, labels=["dog"]), image(2, labels=None))
    data = read(f"jsonl:{file}")
    assert data.labels.names == ("dog",)
    assert states(file) == [[0], [1], [None]]
    assert any("1 cells hold 'No Finding'" in note for note in data.notes)
    assert states(file, "?none=") == [[1, 0], [0, 1], [None, None]]


def test_separators_of_texts(write: Callable[..., Path]) -> None:
    for text, how in (("a\tb", r"separated by '\t'"), ('["a", "b"]', "from lists written as text")):
        file = write(image(0, tags=text), image(1, tags=""))
        data = read(f"jsonl:{file}")
        assert data.labels.names == ("a", "b")
        assert data.notes[0] == f"Labels are names in 'tags', {how}; a label that is absent is negative."


def test_objects_of_states(write: Callable[..., Path]) -> None:
    file = write(
        image(0, labels={"dog": 1, "image": 0, "car": None}, id=3),
        image(1, labels={"dog": False, "image": True}),
        image(2, labels=None),
        image(3, labels={"car": 0.25, "dog": -1}),
    )
    data = read(f"jsonl:{file}?unknown=-1")
    assert data.labels.names == ("dog", "image", "car")
    assert states(file, "?unknown=-1") == [[1, 0, None], [0, 1, None], [None] * 3, [None, None, 0.25]]
    with pytest.raises(LabelwiseError, match="line 4, label 'dog': -1; expected 1, 0, true, false"):
        read(f"jsonl:{file}")
    with pytest.raises(LabelwiseError, match=r"blank=.*changes nothing here; expected label names"):
        read(f"jsonl:{file}?blank=unknown&unknown=-1")
    file = write(image(0, labels={"dog": 1.0, "cat": "Todo", "car": 1}))
    assert states(file, "?unknown=1,todo") == [[None, None, None]]
    file = write(image(0, labels={"dog": 10**400}))
    with pytest.raises(LabelwiseError, match="label 'dog': 1000"):
        read(f"jsonl:{file}")
    file = write(image(0, labels={"dog": 1}))
    with pytest.raises(LabelwiseError, match="unknown=gone; expected texts that occur in 'labels'"):
        read(f"jsonl:{file}?unknown=gone")


def test_one_key_per_label(write: Callable[..., Path]) -> None:
    file = write(
        image(0, dog=1, cat=True, split="train"),
        image(1, dog=None, cat=0, split="test"),
        image(2, dog=0, split="train"),
    )
    data = read(f"jsonl:{file}")
    assert data.labels.names == ("dog", "cat")
    assert states(file) == [[1, 1], [None, 0], [0, None]]
    assert data.splits() == {"train": 2, "test": 1}
    file = write(image(0, dog=1, size=[640, 480], id=17), image(1, dog=0.5, size=[64, 48], id=18))
    with pytest.raises(LabelwiseError, match="ignore=") as caught:
        read(f"jsonl:{file}")
    assert "size" in str(caught.value)
    assert states(file, "?ignore=size,id") == [[1], [0.5]]
    assert states(file, "?ignore=size,id&absent=0.5") == [[1], [0]]
    with pytest.raises(
        LabelwiseError, match=r"absent=x in .*changes nothing here; expected one key per label"
    ):
        read(f"jsonl:{write(image(0, labels=['x']))}?absent=x")
    file = write(image(0, dog=1, size=[640, 480], id=17), image(1, dog=0.5, size=[64, 48], id=18))
    with pytest.raises(LabelwiseError, match="ignore=x; expected keys of"):
        read(f"jsonl:{file}?ignore=x")
    with pytest.raises(LabelwiseError, match=r"separator=x in .*changes nothing here"):
        read(f"jsonl:{file}?separator=x&ignore=size,id")


def test_keys_that_are_named(write: Callable[..., Path]) -> None:
    file = write(
        {"shot": "0.jpg", "seen": ["dog"], "labels": "x"}, {"shot": "1.jpg", "seen": [], "labels": "y"}
    )
    assert states(file, "?image=shot&labels=seen") == [[1], [0]]
    with pytest.raises(
        LabelwiseError, match=r"without a key for the image.*image=KEY; there are shot, seen, labels"
    ):
        read(f"jsonl:{file}")
    for options, message in (
        ("image=x", "image=x; expected one of the keys shot"),
        ("image=shot&labels=x", "labels=x"),
    ):
        with pytest.raises(LabelwiseError, match=message):
            read(f"jsonl:{file}?{options}")


def test_several_files_are_splits(write: Callable[..., Path]) -> None:
    train = write(image(0, labels=["dog"]), image(1, labels=["cat"]), name="train/labels.jsonl")
    test = write(image(0, labels=["dog"]), name="test/labels.jsonl")
    data = read(f"jsonl:{train},{test}")
    assert data.splits() == {"train": 2, "test": 1}
    assert data.images.to_pylist() == ["train/0.jpg", "train/1.jpg", "test/0.jpg"]
    assert states(f"{train},{test}") == [[0, 1], [1, 0], [0, 1]]
    assert data.known.all()
    write(image(0, labels=["dog"], split="val"), name="test/labels.jsonl")
    with pytest.raises(LabelwiseError, match="a key 'split' in several files"):
        read(f"jsonl:{train},{test}")
    assert read(f"jsonl:{train},{test}?ignore=split").splits() == {"train": 2, "test": 1}


def test_images_elsewhere(write: Callable[..., Path], tmp_path: Path, photo: Photo) -> None:
    file = write(
        {"url": "https://host/a/5.jpg?size=2", "labels": ["x"]}, {"url": "https://host/6.jpg", "labels": []}
    )
    for number in (5, 6):
        photo(tmp_path / "far" / f"{number}.jpg", seed=number)
    assert read(f"jsonl:{file}?images={tmp_path / 'far'}").images.to_pylist() == ["5.jpg", "6.jpg"]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"labels": ["x"]}, "line 2 without 'image'"),
        ({"image": 3.5, "labels": ["x"]}, "line 2: 'image' is 3.5; expected the name of an image file"),
        (image(1, labels=["x", None]), r"line 2: 'labels' is \['x', None\]"),
        (image(1, labels=[{"name": "x"}]), "line 2: 'labels' is"),
        (image(1, labels=True), "line 2: 'labels' is True"),
        (image(1, labels=[""]), "line 2: 'labels' is"),
        (image(0, labels=["y"]), "1 images with rows that contradict each other"),
        (image(9, labels=["y"]), "1 of 2 image files missing"),
        (image(1, labels=["x"], split=["train"]), "line 2: 'split' is"),
        (image(1, labels={"x": 1}), "line 1: 'labels' is .*expected an object of labels"),
    ],
)
def test_refusals(write: Callable[..., Path], second: dict[str, Any], message: str) -> None:
    file = write(image(0, labels=["x"]), second)
    with pytest.raises(LabelwiseError, match=message):
        read(f"jsonl:{file}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"image": "0.jpg", "labels": ["x"]}\n{"image": "1.jpg", "la', "line 2, not JSON"),
        (
            '{"image": "0.jpg", "labels": ["x"]}\n\n["1.jpg"]\n',
            "line 3: a list; expected a JSON object in each line",
        ),
        ('{"image": "0.jpg", "dog": 1, "dog": 0}\n', "key 'dog' twice"),
        ('{"image": "0.jpg", "labels": ["\\ud800"]}\n', "line 1, not in UTF-8"),
        ("[\n", "a list that is not JSON"),
        (" \n", "an empty file"),
        ('{"image": "0.jpg"}\n', "without labels"),
        ('{"image": "0.jpg", "labels": []}\n', "'labels' without any label"),
        (
            '{"image": "0.jpg", "labels": ["cat"]}\n{"image": "1.jpg", "labels": "[0, 1, 1]"}\n',
            "one form in every",
        ),
        ('{"image": "0.jpg", "labels": {"x": 1, "x ": 0}}\n', "with a label twice"),
    ],
)
def test_refused_files(write: Callable[..., Path], text: str, message: str) -> None:
    file = write()
    file.write_text(text)
    with pytest.raises(LabelwiseError, match=message):
        read(f"jsonl:{file}")


def test_files_of_other_encodings(write: Callable[..., Path]) -> None:
    file = write()
    text = '{"image": "0.jpg", "labels": ["Käse"]}\r\n'
    for encoding in ("utf-8-sig", "utf-16"):
        file.write_text(text, encoding=encoding)
        assert read(f"jsonl:{file}").labels.names == ("Käse",)
    file.write_text(text, encoding="latin-1")
    with pytest.raises(LabelwiseError, match="line 1, not in UTF-8"):
        read(f"jsonl:{file}")


@pytest.mark.parametrize(
    ("row", "right"),
    [
        (image(0, labels=["x"], width=3), True),
        (image(0, dog=1, cat=None), True),
        (image(0, labels={"x": 1}), True),
        ({"file_name": "a/0.PNG", "label": "x", "text": "a dog"}, True),
        ({"file_name": "0.jpg", "text": "a photograph of a dog"}, False),
        ({"image": "0.jpg", "conversations": [{"from": "human"}]}, False),
        ({"source-ref": "s3://b/0.jpg", "image": "0.jpg", "labels": ["x"]}, False),
        ({"imageGcsUri": "gs://b/0.jpg", "url": "0.jpg", "labels": ["x"]}, False),
        ({"images": [{"id": 1, "file_name": "0.jpg"}], "annotations": [], "categories": []}, False),
        ({"image": "text", "labels": ["x"]}, False),
        ({"image": "0.jpg"}, False),
    ],
)
def test_recognition(write: Callable[..., Path], row: dict[str, Any], right: bool) -> None:
    assert recognises(write(row)) == right


CELLS = st.sampled_from([None, 0, 1, True, False, 0.5, "1"])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(["dog", "a b", "split", "é"]), CELLS, min_size=1), min_size=1)
)
def test_objects_keep_every_state(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number in range(len(rows)):
            (Path(folder) / f"{number}.jpg").touch()
        file = Path(folder) / "labels.jsonl"
        file.write_text("".join(json.dumps(image(n, labels=row)) + "\n" for n, row in enumerate(rows)))
        data = read(f"jsonl:{file}")
    assert set(data.labels) == {name for row in rows for name in row}
    for number, row in enumerate(rows):
        for j, name in enumerate(data.labels):
            cell = row.get(name)
            assert data.known[number, j] == (cell is not None)
            assert cell is None or np.isclose(data.values[number, j], float(cell))


def test_labels_that_are_named_by_the_option(write: Callable[..., Path]) -> None:
    file = write(
        image(0, dog=1, cat=0, wet=1), image(1, dog=0, cat=1, wet=0), image(2, dog=1, cat=None, wet=0)
    )
    data = read(f"jsonl:{file}?labels=dog,cat")
    assert data.labels.names == ("dog", "cat")
    assert states(file, "?labels=dog,cat") == [[1, 0], [0, 1], [1, None]]
    assert read(f"jsonl:{file}?labels=wet").labels.names == ("wet",)
    with pytest.raises(LabelwiseError, match="labels=owl; expected one of the keys dog, cat, wet"):
        read(f"jsonl:{file}?labels=dog,owl")


@pytest.mark.parametrize("key", ["imagePath", "File Name", "Image-ID", "photo"])
def test_usual_keys_in_any_spelling(tmp_path: Path, key: str) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "a.jsonl").write_text(json.dumps({key: "a.png", "Label-Names": ["x"]}))
    for source in (f"jsonl:{tmp_path / 'a.jsonl'}", str(tmp_path / "a.jsonl")):
        assert read(source).labels.names == ("x",)


def test_a_number_too_large_for_a_float_is_not_a_state(write: Callable[..., Path]) -> None:
    file = write(image(0, dog=1, size=10**400), image(1, dog=0.5, size=2))
    with pytest.raises(LabelwiseError, match=r"not label states: size \('1000"):
        read(f"jsonl:{file}")


def test_a_name_that_looks_like_a_number_is_a_name(write: Callable[..., Path]) -> None:
    file = write(image(0, labels=["²"]), image(1, labels=["1"]))
    with pytest.raises(LabelwiseError, match="expected labels that are numbers"):
        read(f"jsonl:{file}?names=x,y,z")
