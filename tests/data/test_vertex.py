"""Import files of Vertex AI and AutoML."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.data import read
from labelwise.data.readers.vertex import recognises
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
ROWS = (
    "training,gs://bucket/set/0.jpg,cat,dog\nTEST,gs://bucket/set/1.jpg,cat\n"
    "Validation,gs://bucket/set/2.jpg\nUNASSIGNED,gs://bucket/set/3.jpg,traffic light,,\n"
)


@pytest.fixture
def write(tmp_path: Path, photo: Photo) -> Callable[[str], Path]:
    def file(text: str, name: str = "import.csv") -> Path:
        for number in range(4):
            photo(tmp_path / "photos" / f"{number}.jpg", seed=number)
        path = tmp_path / name
        path.write_text(text)
        return path

    return file


def test_rows_of_several_lengths(write: Callable[..., Path]) -> None:
    file = write(ROWS)
    assert recognises(file)
    data = read(f"vertex:{file}")
    assert data.labels.names == ("cat", "dog", "traffic light")
    assert data.values.tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert data.known.all(1).tolist() == [True, True, False, True]
    assert data.split_names == ("train", "val", "test")
    assert data.split_of is not None
    assert data.split_of.tolist() == [0, 2, 1, -1]
    assert data.images.to_pylist() == [f"photos/{i}.jpg" for i in range(4)]
    assert (
        "A row without a label is not annotated; blank=negative reads it as without any label." in data.notes
    )
    negative = read(f"vertex:{file}?blank=negative")
    assert negative.known.all()
    assert "1 rows without a label are all-negative." in negative.notes


def test_rows_without_a_use_and_local_paths(write: Callable[..., Path]) -> None:
    file = write("photos/0.jpg,cat\nphotos/1.jpg,test")
    data = read(f"vertex:{file}")
    assert data.labels.names == ("cat", "test")
    assert data.split_of is None
    assert data.values.tolist() == [[1, 0], [0, 1]]


def test_boxes_of_one_image(write: Callable[..., Path]) -> None:
    box = "0.1,0.1,,,0.9,0.9,,"
    file = write(f"TRAIN,gs://b/0.jpg,cat,{box}\nTRAIN,gs://b/0.jpg,dog,{box}\nTRAIN,gs://b/1.jpg,,,,,,,,,\n")
    data = read(f"vertex:{file}")
    assert data.labels.names == ("cat", "dog")
    assert data.values.tolist() == [[1, 1], [0, 0]]
    assert data.known.all(1).tolist() == [True, False]
    assert "Of boxes only the presence of their labels is read." in data.notes
    file = write(f"gs://b/0.jpg,cat,{box}\ngs://b/1.jpg,cat\n")
    with pytest.raises(LabelwiseError, match="line 2: labels of an image beside boxes"):
        read(f"vertex:{file}")


def json_lines(*lines: Any) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_json_lines(write: Callable[..., Path]) -> None:
    def use(split: str) -> dict[str, str]:
        return {"aiplatform.googleapis.com/ml_use": split}

    file = write(
        json_lines(
            {
                "imageGcsUri": "gs://b/0.jpg",
                "classificationAnnotations": [{"displayName": "cat"}, {"displayName": "dog"}],
                "dataItemResourceLabels": use("training"),
            },
            {
                "imageGcsUri": "gs://b/1.jpg",
                "classificationAnnotation": {"displayName": "cat", "annotationResourceLabels": {}},
                "dataItemResourceLabels": use("test"),
            },
            {"imageGcsUri": "gs://b/2.jpg", "classificationAnnotations": []},
            {"imageGcsUri": "gs://b/3.jpg", "dataItemResourceLabels": {}},
        ),
        "import.jsonl",
    )
    assert recognises(file)
    data = read(f"vertex:{file}")
    assert data.labels.names == ("cat", "dog")
    assert data.values.tolist() == [[1, 1], [1, 0], [0, 0], [0, 0]]
    assert data.known.all(1).tolist() == [True, True, True, False]
    assert data.split_of is not None
    assert data.split_of.tolist() == [0, 1, -1, -1]
    boxes = [{"displayName": "cat", "xMin": 0.1, "yMin": 0.1, "xMax": 0.3, "yMax": 0.3}] * 2
    file = write(json_lines({"imageGcsUri": "gs://b/0.jpg", "boundingBoxAnnotations": boxes}), "boxes.jsonl")
    assert read(f"vertex:{file}").values.tolist() == [[1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "without rows"),
        ("training,\n", "line 1: 'training,' without an image"),
        ("gs://b/0.jpg,cat\n,,cat\n", "line 2: ',,cat' without an image"),
        ("learning,gs://b/0.jpg,cat\n", "line 1: ml_use 'learning'"),
        ('gs://b/0.jpg,"cat\n', "unexpected end of data"),
        ("gs://b/0.jpg,cat\ngs://b/0.jpg,dog\n", "1 images with rows that contradict each other"),
        ("gs://b/0.jpg\n", "with 1 images and no label"),
        ("gs://b/0.jpg,cat\ngs://b/9.jpg,cat\n", "1 of 2 image files missing"),
        ('{"imageGcsUri": "gs://b/0.jpg", "classificationAnnotations": ["cat"]}', "line 1: annotation 'cat'"),
        ('{"imageGcsUri": "gs://b/0.jpg"}\n{"textContent": "x"}', "line 2 without imageGcsUri"),
        (
            '{"imageGcsUri": "gs://b/0.jpg", "dataItemResourceLabels": {"aiplatform.googleapis.com/ml_use": "x"}}',
            "ml_use 'x'",
        ),
        ('{"imageGcsUri": "gs://b/0.jpg"}\n{"imageGcs', "line 2, not JSON"),
    ],
)
def test_refusals(write: Callable[..., Path], text: str, message: str) -> None:
    file = write(text)
    with pytest.raises(LabelwiseError, match=message):
        read(f"vertex:{file}")


def test_a_file_in_another_encoding(write: Callable[..., Path]) -> None:
    file = write("")
    file.write_bytes("gs://b/0.jpg,Käse\n".encode("latin-1"))
    with pytest.raises(LabelwiseError, match="not in UTF-8"):
        read(f"vertex:{file}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "image,labels\ngs://b/1.jpg,cat\n",
        "a.jpg,cat\n",
        '{"image": "gs://b/1.jpg"}\n',
        "gs://b/words.txt,x\n",
    ],
)
def test_what_is_not_recognised(write: Callable[..., Path], text: str) -> None:
    assert not recognises(write(text))


NAMES = st.text(st.sampled_from("ab ,\"'é"), min_size=1, max_size=4).map(str.strip).filter(bool)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["train", "val", "test", ""]), st.sets(NAMES, min_size=1)), min_size=1)
)
def test_what_is_written_is_read(rows: list[tuple[str, set[str]]]) -> None:
    written = io.StringIO()
    for number, (split, labels) in enumerate(rows):
        csv.writer(written).writerow([split, f"gs://bucket/x/{number}.jpg", *sorted(labels)])
    with tempfile.TemporaryDirectory() as folder:
        for number in range(len(rows)):
            (Path(folder) / f"{number}.jpg").touch()
        file = Path(folder) / "import.csv"
        file.write_text(written.getvalue(), encoding="utf-8")
        data = read(f"vertex:{file}")
    assert data.labels.names == tuple(sorted(set().union(*(labels for _, labels in rows))))
    for row, (split, labels) in enumerate(rows):
        assert {name for name, value in zip(data.labels, data.values[row], strict=True) if value} == labels
        assert data.split_of is None or (data.split_of[row] < 0) == (not split)
        assert not split or data.split_names[data.split_of[row]] == split  # type: ignore[index]
