"""Datumaro's own formats: files of the package, files made here, and broken ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwise.data import Dataset, read
from labelwise.data.readers import cvat, datumaro
from labelwise.data.source import WouldLose
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
WRITTEN = Path(__file__).parent / "tools" / "datumaro-1.13.12"
LABELS = ("animal", "cat", "dog", "tree", "never")
ITEMS = {  # as write_datumaro.py makes them: split, labels of images, labels of boxes and shapes
    "a.jpg": ("train", {"cat", "dog"}, set()),
    "sub/b.jpg": ("train", {"tree"}, set()),
    "c d.jpg": ("train", {"cat"}, set()),
    "d.jpg": ("val", {"tree"}, {"dog"}),
    "e.jpg": ("val", set(), {"cat"}),
    "f.jpg": ("test", set(), set()),
}


def rows(data: Dataset) -> dict[str, tuple[str, set[str]]]:
    """By image, its split and the labels that are present; all must be known."""
    assert data.known.all()
    assert data.split_of is not None
    return {
        data.image_id(i): (
            data.split_names[data.split_of[i]],
            {name for j, name in enumerate(data.labels) if data.values[i, j]},
        )
        for i in range(len(data))
    }


@pytest.mark.parametrize("form", ["datumaro", "imagenet_txt", "cvat"])
def test_what_the_package_wrote(form: str) -> None:
    reader = cvat if form == "cvat" else datumaro
    assert [m.recognises(WRITTEN / form) for m in (datumaro, cvat)] == [form != "cvat", form == "cvat"]
    data = read(f"{reader.__name__.rpartition('.')[2]}:{WRITTEN / form}")
    assert data.labels.names == LABELS
    expected = {}
    for name, (split, labels, shapes) in ITEMS.items():
        # Its own format writes a folder of the item's name into the file's name, beside the subset's folder.
        place = f"{split}/{name.replace('/', '_')}" if form == "datumaro" else name
        expected[place] = (split, labels if form == "imagenet_txt" else labels | shapes)
    assert rows(data) == expected
    assert data[0].image.shape == (3, 8, 8)
    if form != "imagenet_txt":
        places = {Path(data.image_id(i)).name: i for i in range(len(data))}
        of_d, of_e = (data.boxes_of(places[name]) for name in ("d.jpg", "e.jpg"))
        np.testing.assert_allclose(of_d, [(2, 2 / 8, 1 / 8, 6 / 8, 7 / 8)])
        np.testing.assert_allclose(of_e, [(1, 1 / 8, 1 / 8, 5 / 8, 7 / 8)])


def test_groups_and_notes_of_a_tree_of_the_package() -> None:
    data = read(f"datumaro:{WRITTEN / 'datumaro'}")
    assert {name: group.exclusive for name, group in data.labels.groups.items()} == {
        "pet": False,
        "plant": True,
        "alive": False,
    }
    notes = "\n".join(data.notes)
    assert "The labels of 'pet' do not exclude each other" in notes
    assert "as animal of cat: a parent is present where it is annotated itself" in notes
    assert "1 annotations of type caption, 1 annotations of type bbox" in notes
    assert "1 images without annotations have none of the labels" in notes


def test_one_file_and_blank_items() -> None:
    data = read(f"datumaro:{WRITTEN / 'datumaro' / 'annotations' / 'test.json'}?blank=unknown")
    assert data.known.sum() == 0
    assert data.image_id(0) == "test/f.jpg"


def label(number: Any) -> dict[str, Any]:
    return {"id": 0, "type": "label", "attributes": {}, "group": 0, "label_id": number}


def item(name: str, *parts: dict[str, Any], **image: Any) -> dict[str, Any]:
    return {"id": name[:-4], "annotations": [*parts], "image": {"path": name, **image}}


def content(*items: Any, labels: tuple[str, ...] = ("cat", "dog")) -> dict[str, Any]:
    listed = [{"name": name, "parent": "", "attributes": []} for name in labels]
    return {"infos": {}, "categories": {"label": {"labels": listed, "attributes": []}}, "items": [*items]}


def save(folder: Path, text: Any, subset: str = "default") -> Path:
    file = folder / "annotations" / f"{subset}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8-sig")
    return folder


def test_listed_sizes_and_the_default_subset(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "images" / "default" / "1.jpg", size=(48, 32))
    photo(tmp_path / "images" / "2.jpg", size=(48, 32))
    box = {**label(1), "type": "bbox", "bbox": [0, 0, 8, 8]}
    save(tmp_path, content(item("1.jpg", box, size=[16, 32]), item("2.jpg", box), item("no.jpg", box)))
    data = read(f"datumaro:{tmp_path}?missing=skip")
    assert data.split_of is None
    assert [data.image_id(i) for i in range(2)] == ["default/1.jpg", "2.jpg"]
    np.testing.assert_allclose(data.boxes_of(0), [(1, 0, 0, 8 / 32, 8 / 16)])
    np.testing.assert_allclose(data.boxes_of(1), [(1, 0, 0, 8 / 48, 8 / 32)], rtol=1e-6)


GOOD = content(item("1.jpg", label(0)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps(GOOD)[:-9], "not JSON"),
        ({"categories": [], "items": []}, "without categories and items; expected a data set in Datumaro"),
        ({"categories": {"mask": {}}, "items": []}, "without a list of labels"),
        (content(), "without images"),
        (content(3), "default.json, item 1: 3; expected an object"),
        (content(item("1.jpg", label(2))), "item '1': label_id 2; expected a number from 0 to 1"),
        (content(item("1.jpg", label(-1))), "item '1': label_id -1"),
        (content(item("1.jpg", label(True))), "item '1': label_id True"),
        (
            content({"id": "1", "annotations": 3, "image": {"path": "1.jpg"}}),
            "annotations 3; expected a list",
        ),
        (content({"id": "1", "annotations": [], "point_cloud": {"path": "a"}}), "which is a point_cloud"),
        (content({"annotations": []}), "item 1 without an image"),
        (content(item("1.jpg", {**label(0), "type": "bbox", "bbox": [1]})), "bbox \\[1\\]; expected pairs"),
        (content(item("1.jpg", {**label(0), "type": "polygon"})), "polygon .*; expected pairs of numbers"),
        (content(item("1.jpg", {**label(0), "type": "bbox", "bbox": [1, 2, 3, 1e99]})), "a box of"),
    ],
)
def test_broken_files(tmp_path: Path, photo: Photo, text: Any, message: str) -> None:
    photo(tmp_path / "images" / "1.jpg")
    save(tmp_path, text)
    with pytest.raises(LabelwiseError, match=message) as caught:
        read(f"datumaro:{tmp_path / 'annotations' / 'default.json'}")
    assert "\n" not in str(caught.value)


def test_subsets_that_disagree(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "images" / "1.jpg")
    save(tmp_path, GOOD, "train")
    save(tmp_path, content(item("1.jpg", label(1))), "val")
    with pytest.raises(LabelwiseError, match="1 images in several splits"):
        read(f"datumaro:{tmp_path}")
    save(tmp_path, content(item("1.jpg"), labels=("dog", "cat")), "val")
    with pytest.raises(LabelwiseError, match=r"val.json with other labels than the file before"):
        read(f"datumaro:{tmp_path}")


def test_lists_with_faults(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "images" / "1.jpg")
    (tmp_path / "synsets.txt").write_text("tench, Tinca tinca\ncat\n")
    for line, message in (
        ("1.jpg 0 2\n", "train.txt, line 1: label 2; expected a number from 0 to 1"),
        ("1.jpg 1\nnothing here\n", "train.txt, line 2: 'nothing here'; expected an image and"),
        ("1.jpg 1\n1.jpg -1\n", "train.txt, line 2"),
    ):
        (tmp_path / "train.txt").write_text(line)
        with pytest.raises(LabelwiseError, match=message):
            read(f"datumaro:{tmp_path}")
    (tmp_path / "train.txt").write_text("1.jpg 0\n2.jpg \n")
    with pytest.raises(WouldLose, match="1 of 2 image files missing"):
        read(f"datumaro:{tmp_path}")
    assert read(f"datumaro:{tmp_path}?missing=skip").labels.names == ("tench, Tinca tinca", "cat")


def test_files_of_others_are_not_recognised(tmp_path: Path) -> None:
    for text in (
        '{"images": [], "annotations": [], "categories": []}',
        '{"classes": ["a"], "labels": {}}',
        '{"categories": {"a": 1}, "items": []}',
        "[]",
        "",
    ):
        save(tmp_path, text)
        assert not datumaro.recognises(tmp_path), text
        assert not datumaro.recognises(tmp_path / "annotations" / "default.json"), text
    (tmp_path / "synsets.txt").write_text("n01440764 tench\n")
    (tmp_path / "notes.txt").write_text("some words\n")
    assert not datumaro.recognises(tmp_path)
    with pytest.raises(LabelwiseError, match=r"without annotations/SUBSET.json or synsets.txt; expected a"):
        read(f"datumaro:{tmp_path}")
