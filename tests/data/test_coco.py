"""COCO annotation files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labelwise.data import read
from labelwise.data.readers.split_names import split_in_name
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]


def content(first: int = 1) -> dict[str, Any]:
    return {
        "images": [
            {"id": first + i, "file_name": f"{first + i}.jpg", "width": 200, "height": 100} for i in range(3)
        ],
        "categories": [{"id": 7, "name": "zebra"}, {"id": 3, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": first, "category_id": 7, "bbox": [50, 25, 100, 50], "iscrowd": 0},
            {"id": 2, "image_id": first + 1, "category_id": 3, "bbox": [0, 0, 200, 100], "iscrowd": 1},
            {"id": 3, "image_id": first, "category_id": 7, "bbox": [0, 0, 20, 10], "iscrowd": 1},
        ],
    }


def write(folder: Path, photo: Photo, name: str, described: dict[str, Any]) -> Path:
    file = folder / "annotations" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(described))
    for image in described.get("images", []):
        photo(folder / "images" / image["file_name"], seed=image["id"])
    return file


def test_labels_in_id_order_crowds_and_empty_images(tmp_path: Path, photo: Photo) -> None:
    data = read(f"coco:{write(tmp_path, photo, 'all.json', content())}")
    assert data.labels.names == ("person", "zebra")
    assert data.values.tolist() == [[0, 1], [1, 0], [0, 0]]
    assert data.known.all()
    assert data.boxes_of(0) == [
        (1, 0.25, 0.25, 0.75, 0.75),
        (1, 0, 0, pytest.approx(0.1), pytest.approx(0.1)),
    ]
    assert data.boxes_of(1) == []
    assert data.split_of is None
    assert data.notes == ("1 images without annotations are all-negative.",)
    assert data[0].image.shape == (3, 32, 48)


@pytest.mark.parametrize("box", [None, [], [0, 0, 0, 0], [0.0, 0, 0, 0]])
def test_annotations_without_a_box_are_labels(tmp_path: Path, photo: Photo, box: list[float] | None) -> None:
    described = content()
    for item in described["annotations"]:
        if box is None:
            item.pop("bbox")
        else:
            item["bbox"] = box
    data = read(f"coco:{write(tmp_path, photo, 'all.json', described)}")
    assert data.values.tolist() == [[0, 1], [1, 0], [0, 0]]
    assert data.boxes is None


def test_a_label_without_annotations_is_kept_and_noted(tmp_path: Path, photo: Photo) -> None:
    described = content()
    described["categories"].append({"id": 0, "name": "kite"})
    data = read(f"coco:{write(tmp_path, photo, 'all.json', described)}")
    assert data.labels.names == ("kite", "person", "zebra")
    assert "1 categories have no annotation and stay as labels: kite." in data.notes


def test_several_files_give_splits(tmp_path: Path, photo: Photo) -> None:
    files = [
        write(tmp_path, photo, "instances_train2014.json", content(1)),
        write(tmp_path, photo, "instances_val2014.json", content(11)),
    ]
    images = tmp_path / "images"
    data = read(f"coco:{files[0]},{files[1]}?images={images},{images}")
    assert data.splits() == {"train": 3, "val": 3}
    assert data.split("val").images.to_pylist() == ["11.jpg", "12.jpg", "13.jpg"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("instances_train2017", "train"),
        ("training", "train"),
        ("validation", "val"),
        ("valid", "val"),
        ("my_dev_set", "val"),
        ("testing", "test"),
        ("image_info_test-dev2017", "test"),
        ("instancesTest", "test"),
        ("test_train", "train"),
        ("device", None),
        ("invalid", None),
        ("trainval", None),
        ("my-test", "test"),
        ("VAL", "val"),
        ("latest", None),
    ],
)
def test_split_in_name(name: str, split: str | None) -> None:
    assert split_in_name(name) == split


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["annotations"][1].update(image_id=99),
            "annotation 2 with image_id 99; expected an id listed",
        ),
        (lambda c: c["annotations"][1].update(category_id=9), "annotation 2 with category_id 9"),
        (lambda c: c["images"][1].update(id=1), "image id 1 twice"),
        (lambda c: c["images"][1].update(file_name="1.jpg"), r"1\.jpg twice in the COCO files"),
        (lambda c: c.pop("categories"), "without categories; expected lists images, annotations, categories"),
        (lambda c: c["images"][1].pop("file_name"), "entry 1 of images without file_name"),
        (lambda c: c["categories"][0].pop("id"), "entry 0 of categories without id"),
        (lambda c: c.update(annotations=[]), "all.json: 3 images and no annotation at all"),
        (lambda c: c.update(categories=[], annotations=[], images=[]), "a label set without labels"),
        (lambda c: c.pop("annotations"), "without annotations; .*; name the file that holds them"),
        (
            lambda c: c["annotations"][0].update(image_id="1"),
            "annotation 1 with image_id '1'; expected an id",
        ),
        (
            lambda c: c["annotations"][0].update(image_id=True),
            "image_id True; expected a whole number or text",
        ),
        (lambda c: c["annotations"][0].update(category_id="7"), "category_id '7'; expected a whole number"),
        (lambda c: c["categories"][0].update(id=True), "categories with id True; expected a whole number"),
        (lambda c: c["images"][0].update(file_name=None), "file_name None; expected text"),
        (lambda c: c["images"].append({"id": 9, "file_name": "9.jpg"}), "1 of 4 image files missing"),
    ],
)
def test_refusals(
    tmp_path: Path, photo: Photo, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    file = write(tmp_path, photo, "all.json", content())
    described = content()
    change(described)
    file.write_text(json.dumps(described))
    with pytest.raises(LabelwiseError, match=message):
        read(f"coco:{file}")


def test_files_that_disagree(tmp_path: Path, photo: Photo) -> None:
    first = write(tmp_path, photo, "a_train.json", content(1))
    other = content(11)
    other["categories"][0]["name"] = "horse"
    second = write(tmp_path, photo, "a_val.json", other)
    with pytest.raises(LabelwiseError, match=r"a_val.json with other categories than a_train.json"):
        read(f"coco:{first},{second}")
    third = write(tmp_path, photo, "more.json", content(21))
    with pytest.raises(LabelwiseError, match=r"^more.json beside files of named splits"):
        read(f"coco:{first},{third}")
    with pytest.raises(LabelwiseError, match=r"expected a COCO annotation file"):
        read("coco:,")
    third.write_text("{")
    with pytest.raises(LabelwiseError, match=r"more.json: not JSON"):
        read(f"coco:{third}")


def test_annotations_with_a_score_are_reported(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "a.jpg")
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.03},
            {"id": 2, "image_id": 1, "category_id": 2, "bbox": [1, 1, 5, 5]},
        ],
    }
    (tmp_path / "scored.json").write_text(json.dumps(content))
    notes = read(f"coco:{tmp_path}/scored.json?images={tmp_path}").notes
    assert "1 annotations hold a score, as predictions of a model do: each counts as present." in notes


def test_an_image_folder_with_a_comma(tmp_path: Path, photo: Photo) -> None:
    file = write(tmp_path, photo, "all.json", content())
    (tmp_path / "images").rename(tmp_path / "co,ma")
    assert len(read(f"coco:{file}?images={tmp_path / 'co,ma'}")) == 3
    assert len(read(f'coco:{file}?images="{tmp_path / "co,ma"}"')) == 3
    with pytest.raises(LabelwiseError, match="2 image folders for 1 files"):
        read(f"coco:{file}?images={tmp_path / 'co'},{tmp_path}")
