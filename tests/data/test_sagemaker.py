"""Augmented manifests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labelwise.data import read
from labelwise.data.readers.sagemaker import recognises
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
MULTI = "groundtruth/image-classification-multilabel"
SINGLE = "groundtruth/image-classification"
BOXES = "groundtruth/object-detection"


def line(image: int, **jobs: Any) -> dict[str, Any]:
    """A line of a manifest; `job=(value, metadata)` or a bare value."""
    content: dict[str, Any] = {"source-ref": f"s3://bucket/photos/{image}.jpg"}
    for name, job in jobs.items():
        value, metadata = job if isinstance(job, tuple) else (job, None)
        if value is not None:
            content[name] = value
        if metadata is not None:
            content[f"{name}-metadata"] = {"creation-date": "2024-05-01T10:00:00", **metadata}
    return content


def several(ids: list[int], names: dict[str, str]) -> tuple[list[int], dict[str, Any]]:
    return ids, {"class-map": names, "confidence-map": dict.fromkeys(names, 0.9), "type": MULTI}


def single(value: int, name: str) -> tuple[int, dict[str, Any]]:
    return value, {"class-name": name, "confidence": 0.9, "type": SINGLE}


@pytest.fixture
def write(tmp_path: Path, photo: Photo) -> Callable[..., Path]:
    def manifest(*lines: dict[str, Any], name: str = "output.manifest", end: str = "\n") -> Path:
        file = tmp_path / name
        file.write_text("\n".join(json.dumps(content) for content in lines) + end)
        for content in lines:
            image = str(content.get("source-ref", "x/0.jpg")).rpartition("/")[2]
            photo(tmp_path / "photos" / image, seed=int(image[:-4]))
        return file

    return manifest


def states(file: Path, options: str = "") -> list[list[int | None]]:
    data = read(f"sagemaker:{file}{options}")
    return [
        [int(v) if k else None for v, k in zip(values, known, strict=True)]
        for values, known in zip(data.values, data.known, strict=True)
    ]


def test_several_labels_failures_and_lines_that_wait(write: Callable[..., Path]) -> None:
    file = write(
        line(0, scene=several([2, 0], {"2": "dog", "0": "person"})),
        line(1, scene=several([], {})),
        line(2, scene=(None, {"failure-reason": "ClientError: no such key", "type": MULTI})),
        line(3),
        line(4, scene=several([10], {"10": "bus"})),
    )
    data = read(f"sagemaker:{file}")
    assert data.labels.names == ("person", "dog", "bus")
    assert states(file) == [[1, 1, 0], [0, 0, 0], [None] * 3, [None] * 3, [0, 0, 1]]
    assert data.images.to_pylist() == [f"photos/{i}.jpg" for i in range(5)]
    assert data.split_of is None
    assert data.notes[:2] == (
        "A label that a job did not choose is absent.",
        "2 images that nobody annotated are all-unknown.",
    )


def test_single_labels_and_boxes(write: Callable[..., Path]) -> None:
    file = write(line(0, kind=single(1, "cat")), line(1, kind=single(0, "dog")))
    assert read(f"sagemaker:{file}").labels.names == ("cat", "dog")
    assert states(file) == [[1, 0], [0, 1]]
    sizes = [{"width": 48, "height": 32, "depth": 3}]
    box = {"class_id": 1, "left": 1, "top": 1, "width": 9, "height": 9}
    boxes = (
        {"image_size": sizes, "annotations": [box, box]},
        {"class-map": {"1": "cat", "0": "dog"}, "type": BOXES},
    )
    none = ({"image_size": sizes, "annotations": []}, {"class-map": {}, "type": BOXES})
    file = write(line(0, boxes=boxes), line(1, boxes=none))
    assert read(f"sagemaker:{file}").labels.names == ("dog", "cat")
    assert states(file) == [[0, 1], [0, 0]]


def test_several_jobs_are_named_or_chosen(write: Callable[..., Path]) -> None:
    file = write(
        line(0, scene=several([0], {"0": "street"}), animal=single(0, "cat")),
        line(1, scene=several([], {}), animal=single(1, "dog")),
        line(2, scene=several([0], {"0": "street"})),
    )
    with pytest.raises(LabelwiseError, match=r"with the jobs scene, animal; .* choose with job=scene"):
        read(f"sagemaker:{file}")
    assert states(file, "?job=scene") == [[1], [0], [1]]
    assert states(file, "?job=animal") == [[1, 0], [0, 1], [None, None]]
    joined = read(f"sagemaker:{file}?job=scene,animal")
    assert joined.labels.names == ("street", "cat", "dog")
    assert states(file, "?job=scene,animal") == [[1, 1, 0], [0, 0, 1], [1, None, None]]
    with pytest.raises(LabelwiseError, match="job=x; expected one of scene, animal"):
        read(f"sagemaker:{file}?job=x")


def test_an_attribute_for_each_label(write: Callable[..., Path]) -> None:
    """Rekognition writes each label of an image as its own job, with a value of no meaning."""
    file = write(
        line(0, set_Sunrise=single(1, "Sunrise"), set_Sea=single(1, "Sea")),
        line(1, set_Sea=single(0, "Sea")),
        line(2),
    )
    data = read(f"sagemaker:{file}")
    assert data.labels.names == ("Sunrise", "Sea")
    assert states(file) == [[1, 1], [0, 1], [0, 0]]
    assert "2 jobs of one label each: a label is absent where a line lacks its job." in data.notes


def test_manifests_for_training_without_metadata(write: Callable[..., Path]) -> None:
    file = write(line(0, **{"class": "[2, 10]"}), line(1, **{"class": [2]}), line(2, **{"class": []}))
    assert read(f"sagemaker:{file}").labels.names == ("2", "10")
    assert states(file) == [[1, 1], [1, 0], [0, 0]]
    file = write(line(0, **{"class": "0"}), line(1, **{"class": "1"}))
    assert states(file) == [[1, 0], [0, 1]]
    file = write(line(0, **{"class": "[1, 0, 1]"}), line(1, **{"class": "[0, 0, 1]"}))
    assert read(f"sagemaker:{file}").labels.names == ("0", "1", "2")
    assert states(file) == [[1, 0, 1], [0, 0, 1]]


def test_files_are_splits(write: Callable[..., Path]) -> None:
    train = write(line(0, s=several([0], {"0": "cat"})), name="train.manifest")
    val = write(line(1, s=several([1], {"1": "dog"})), name="validation.manifest")
    data = read(f"sagemaker:{train},{val}")
    assert data.splits() == {"train": 1, "val": 1}
    assert data.labels.names == ("cat", "dog")
    other = write(line(2, s=several([1], {"1": "dog"})), name="more.manifest")
    with pytest.raises(LabelwiseError, match=r"more\.manifest, one of several files, without a split"):
        read(f"sagemaker:{train},{other}")
    with pytest.raises(LabelwiseError, match=r"none\.manifest', which does not exist"):
        read(f"sagemaker:{train},{train.parent / 'none.manifest'}")


def test_other_attributes_are_noted(write: Callable[..., Path]) -> None:
    check = ("1", {"class-name": "bad", "type": "groundtruth/label-verification"})
    file = write(line(0, s=several([0], {"0": "cat"}), id="x", check=check))
    notes = read(f"sagemaker:{file}").notes
    assert "Left out, as they are not labels of images: check (groundtruth/label-verification)." in notes
    assert "Left out, as they have no metadata of a labelling job: id." in notes


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"source": "text"}, "line 2 without source-ref"),
        (line(1, s=several([0], {"0": "dog"})), "line 2: id 0 of 's' is 'dog', and 'cat' in an earlier line"),
        (line(1, s=single(0, "cat")), "line 2: 's' of another type than in earlier lines"),
        (line(1, s=([1.5], {"class-map": {}, "type": MULTI})), r"line 2: 's' holds \[1\.5\]"),
        (line(1, s=([0], {"class-map": ["cat"], "type": MULTI})), "line 2: class-map of 's'"),
        (line(1, s=([0], {"class-map": {"0": ""}, "type": MULTI})), "line 2: class-map of 's' is ''"),
        (line(0, s=several([], {})), "1 images with rows that contradict each other"),
    ],
)
def test_refusals(write: Callable[..., Path], second: dict[str, Any], message: str) -> None:
    file = write(line(0, s=several([0], {"0": "cat"})), second)
    with pytest.raises(LabelwiseError, match=message):
        read(f"sagemaker:{file}")


def test_files_that_are_cut_off_or_hold_no_labels(write: Callable[..., Path], tmp_path: Path) -> None:
    file = write(line(0, s=several([0], {"0": "cat"})), end='\n{"source-ref": "s3://b')
    with pytest.raises(
        LabelwiseError, match=r"output\.manifest, line 2, not JSON .* ends with '{\"source-ref\": \"s3://b'"
    ):
        read(f"sagemaker:{file}")
    file = write(line(0, s=(None, {"failure-reason": "x"})))
    with pytest.raises(LabelwiseError, match="without labels of images"):
        read(f"sagemaker:{file}")
    file = write(line(0, s=([], {"class-map": {}, "type": MULTI})))
    with pytest.raises(LabelwiseError, match="with 1 images and no label"):
        read(f"sagemaker:{file}")
    file.write_text("")
    with pytest.raises(LabelwiseError, match="an empty file"):
        read(f"sagemaker:{file}")
    with pytest.raises(LabelwiseError, match="is a folder"):
        read(f"sagemaker:{tmp_path}")


def test_what_is_recognised(write: Callable[..., Path]) -> None:
    assert recognises(write(line(0, s=several([0], {"0": "cat"}))))
    assert not recognises(write(line(0)))
    assert not recognises(write({"image": "a.jpg", "labels": ["cat"], "source-ref": "0.jpg"}))
    file = write({"imageGcsUri": "gs://b/0.jpg"})
    assert not recognises(file)
    assert not recognises(file.parent)
