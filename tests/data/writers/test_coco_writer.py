"""COCO files: loaded by pycocotools, read back by our own reader, with boxes, unknown labels and splits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from labelwise.data import Dataset, read
from labelwise.data.dataset import BOX_TYPE
from labelwise.data.writers import convert
from labelwise.errors import LabelwiseError
from labelwise.types import Group, LabelSet
from written_sets import STATES, dataset, matrices, same

names = st.sampled_from(["dog", "cat", "tall, cat", "ä é", 'a"b', "group"])
quick = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def states_of(files: list[Path], root: Path) -> Mapping[str, tuple[list[float], str]]:
    """Image -> state of each category, NaN for unknown, and its file, as loaded by pycocotools."""
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    states_by_image = {}
    for file in files:
        loaded = coco.COCO(str(file))
        categories = loaded.getCatIds()
        for number, image in loaded.imgs.items():
            present = {a["category_id"] for a in loaded.loadAnns(loaded.getAnnIds(imgIds=[number]))}
            absent = image.get("neg_category_ids", set(categories) - present)
            states = [1.0 if c in present else 0.0 if c in absent else np.nan for c in categories]
            states_by_image[str(root / image["file_name"])] = (states, file.stem)
    return states_by_image


def expected_states(data: Dataset) -> Mapping[str, list[float]]:
    rows = np.where(data.known, data.values.astype(float), np.nan)
    return {str(data.encoded(row)): rows[row].tolist() for row in range(len(data))}


@quick
@given(matrices(names, st.sampled_from(STATES), ("train", "val", "my split")))
def test_pycocotools_shows_the_matrix(
    photos: Path, tmp_path_factory: pytest.TempPathFactory, arguments: dict[str, Any]
) -> None:
    data = dataset(photos, **arguments)
    out = tmp_path_factory.mktemp("coco") / "out"
    written = convert(data, out, "coco")
    loaded = states_of([out / file for file in written.files], photos)
    expected = expected_states(data)
    assert loaded.keys() == expected.keys()
    np.testing.assert_array_equal(
        [loaded[image][0] for image in expected], [expected[image] for image in expected]
    )
    if data.split_of is not None:
        splits = [*data.split_names, "unassigned"]
        for row in range(len(data)):
            stem = loaded[str(data.encoded(row))][1]
            assert stem == f"instances_{splits[data.split_of[row]]}"
    assert all(path.name in ("annotations",) for path in out.iterdir())


@quick
@given(matrices(names, st.sampled_from([0.0, 1.0]), ("train", "val", "test")))
def test_known_labels_read_back_the_same(
    photos: Path, tmp_path_factory: pytest.TempPathFactory, arguments: dict[str, Any]
) -> None:
    _read_back(dataset(photos, **arguments), tmp_path_factory.mktemp("coco") / "out")


@quick
@given(matrices(names, st.sampled_from(STATES), ("train", "val", "test")))
def test_unknown_labels_read_back_the_same(
    photos: Path, tmp_path_factory: pytest.TempPathFactory, arguments: dict[str, Any]
) -> None:
    _read_back(dataset(photos, **arguments), tmp_path_factory.mktemp("coco") / "out")


def _read_back(data: Dataset, out: Path) -> None:
    codes = np.zeros(len(data)) if data.split_of is None else data.split_of
    assume((codes >= 0).all())
    assume(all(data.positive[codes == code].any() for code in np.unique(codes)))
    written = convert(replace(data, group=None), out, "coco")
    same(data, read(str(written.source)))


@pytest.fixture
def boxed(tmp_path: Path) -> Dataset:
    """Two photographs, one of them rotated by EXIF, with boxes of a dog and no box of a cat in the first."""
    turned = Image.Exif()
    turned[274] = 6
    (tmp_path / "in").mkdir()
    Image.new("RGB", (100, 60), "red").save(tmp_path / "in" / "0.jpg")
    Image.new("RGB", (100, 60), "blue").save(tmp_path / "in" / "1.jpg", exif=turned)
    side = {"x0": 0.25, "y0": 0.1, "x1": 0.75, "y1": 0.5}
    boxes = [
        [{"label": 0, **side}, {"label": 0, **{**side, "x1": 1.0}}],
        [{"label": 0, **side}, {"label": 1, **side}],
    ]
    data = dataset(tmp_path / "in", ["dog", "cat"], [[1, 1], [1, np.nan]], boxes=pa.array(boxes, BOX_TYPE))
    return replace(data, images=pa.array(["0.jpg", "1.jpg"]))


def test_boxes_are_pixels_of_the_upright_image(boxed: Dataset, tmp_path: Path) -> None:
    written = convert(boxed, tmp_path / "boxes.json", "coco")
    content = json.loads((tmp_path / "boxes.json").read_text())
    assert [(i["file_name"], i["width"], i["height"]) for i in content["images"]] == [
        ("0.jpg", 100, 60),
        ("1.jpg", 60, 100),
    ]
    assert [
        (a["image_id"], a["category_id"], a.get("bbox"), a.get("area")) for a in content["annotations"]
    ] == [
        (1, 1, [25, 6, 50, 24], 1200),
        (1, 1, [25, 6, 75, 24], 1800),
        (1, 2, None, None),
        (2, 1, [15, 10, 30, 40], 1200),
    ]
    assert [i["not_exhaustive_category_ids"] for i in content["images"]] == [[2], []]
    assert [i["neg_category_ids"] for i in content["images"]] == [[], []]
    assert "1 boxes of labels that are not present are left out." in written.notes
    assert any("neg_category_ids" in note for note in written.notes)
    again = read(str(written.source))
    for row, count in ((0, 2), (1, 1)):
        for box, expected in zip(again.boxes_of(row), boxed.boxes_of(row)[:count], strict=True):
            assert box == pytest.approx(expected, abs=1e-4)


def test_fields_of_lvis_are_written_only_for_unknown_labels(boxed: Dataset, tmp_path: Path) -> None:
    written = convert(boxed, tmp_path / "known.json", "coco", unknown="negative")
    content = json.loads((tmp_path / "known.json").read_text())
    assert [sorted(image) for image in content["images"]] == [["file_name", "height", "id", "width"]] * 2
    assert not any("LVIS" in note for note in written.notes)


def test_groups_of_labels_are_supercategories(boxed: Dataset, tmp_path: Path) -> None:
    labels = LabelSet(("dog", "cat"), {"animals": Group(("cat",))})
    convert(replace(boxed, labels=labels), tmp_path / "t.json", "coco")
    content = json.loads((tmp_path / "t.json").read_text())
    assert content["categories"] == [
        {"id": 1, "name": "dog", "supercategory": ""},
        {"id": 2, "name": "cat", "supercategory": "animals"},
    ]


def test_images_are_copied_next_to_the_annotations(small: Dataset, tmp_path: Path) -> None:
    known = small.with_known(np.ones_like(small.known))
    known = replace(known, known=np.ones_like(known.known), boxes=None)
    written = convert(known, tmp_path / "out", "coco", images="copy")
    assert sorted(
        str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()
    ) == [
        "annotations/instances_train.json",
        "annotations/instances_val.json",
        *(f"images/a/{i}.jpg" for i in range(4)),
    ]
    again = read(str(written.source))
    np.testing.assert_array_equal(again.values, known.values)
    assert again.splits() == known.splits()


def test_shares_and_splits_in_one_file_are_refused(small: Dataset, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match=r"a data set with splits for the single file"):
        convert(small, tmp_path / "t.json", "coco")
    soft = dataset(photos, ["dog"], [[0.5], [1]])
    with pytest.raises(LabelwiseError, match=r"1 labels that are shares .*--threshold"):
        convert(soft, tmp_path / "t.json", "coco")
    convert(soft, tmp_path / "t.json", "coco", threshold=0.4)
    assert len(json.loads((tmp_path / "t.json").read_text())["annotations"]) == 2


def test_an_image_that_cannot_be_read(small: Dataset, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for i in range(4):
        (tmp_path / "a" / f"{i}.jpg").write_bytes(b"" if i == 0 else (photos / "a" / f"{i}.jpg").read_bytes())
    data = replace(small, root=tmp_path)
    with pytest.raises(LabelwiseError, match=r"0\.jpg is empty"):
        convert(data, tmp_path / "out", "coco")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    written = convert(replace(data, boxes=None), tmp_path / "out", "coco")
    assert "1 images without width and height, as they cannot be read: a/0.jpg." in written.notes


def test_notes_on_files_and_names(small: Dataset, tmp_path: Path) -> None:
    data = replace(small, split_names=("train", "extra", "test"), known=np.ones_like(small.known), boxes=None)
    data = replace(data, values=np.array([[1, 0, 0], [0] * 3, [0] * 3, [0] * 3], np.uint8))
    written = convert(data, tmp_path / "out", "coco")
    assert written.source is None
    assert "Files without any annotation: extra." in written.notes
    assert "File names that do not imply train, val or test: extra." in written.notes
    assert "Splits without images are left out: test." in written.notes
    assert "Groups of rows are left out of the COCO files." in written.notes
    single = replace(data, split_of=None, split_names=())
    notes = convert(single, tmp_path / "my_train.json", "coco").notes
    assert "Readers infer the split train from the name my_train.json." in notes
