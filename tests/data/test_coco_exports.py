"""COCO as tools export it: folders of splits, Roboflow's root, LVIS, several tasks, paths of another machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwise.data import Dataset, read
from labelwise.data.readers.coco_layout import is_coco_file, is_coco_folder
from labelwise.data.source import WouldLose
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
NAMES = ("cat", "dog", "bus")


def described(
    names: Sequence[str], rows: Sequence[Sequence[int]], first_id: int = 1, categories: Sequence[str] = NAMES
) -> dict[str, Any]:
    """A COCO file in which image `names[i]` has the categories `rows[i]`, counted from 1."""
    images = [
        {"id": i, "file_name": name, "width": 48, "height": 32} for i, name in enumerate(names, first_id)
    ]
    pairs = [(i, category) for i, row in enumerate(rows, first_id) for category in row]
    return {
        "info": {"description": 'a "quoted [" text'},
        "licenses": [],
        "categories": [{"id": j, "name": name, "supercategory": ""} for j, name in enumerate(categories, 1)],
        "images": images,
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": [1, 1, 20, 10], "iscrowd": 0}
            for n, (i, c) in enumerate(pairs, 1)
        ],
    }


def write(file: Path, content: dict[str, Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def positives(data: Dataset) -> dict[str, set[str]]:
    """The names of the labels of each image, by the image's path."""
    rows = [np.flatnonzero(row).tolist() for row in data.positive]
    return {data.image_id(i): {data.labels.names[j] for j in row} for i, row in enumerate(rows)}


def split_of(data: Dataset) -> dict[str, str]:
    assert data.split_of is not None
    return {data.image_id(i): data.split_names[code] for i, code in enumerate(data.split_of.tolist())}


@pytest.fixture
def roboflow(tmp_path: Path, photo: Photo) -> Path:
    """Three folders of images, each with its file; category 0 is the project."""
    for seed, folder in enumerate(("train", "valid", "test")):
        names = [f"{folder}{i}_jpg.rf.0a1b.jpg" for i in range(2)]
        content = described(names, [[1, 2], [seed + 1]])
        content["categories"] = [
            {"id": 0, "name": "dog", "supercategory": "none"},
            *({"id": j, "name": name, "supercategory": "dog"} for j, name in enumerate(NAMES, 1)),
        ]
        write(tmp_path / folder / "_annotations.coco.json", content)
        for i, name in enumerate(names):
            photo(tmp_path / folder / name, seed=10 * seed + i)
    return tmp_path


@pytest.mark.parametrize("by_files", [True, False])
def test_folders_of_splits(roboflow: Path, by_files: bool) -> None:
    files = [roboflow / name / "_annotations.coco.json" for name in ("train", "valid", "test")]
    data = read("coco:" + ",".join(map(str, files)) if by_files else f"coco:{roboflow}")
    assert data.splits() == {"train": 2, "val": 2, "test": 2}
    assert split_of(data) == {
        f"{folder}/{folder}{i}_jpg.rf.0a1b.jpg": split
        for folder, split in (("train", "train"), ("valid", "val"), ("test", "test"))
        for i in range(2)
    }
    assert positives(data)["valid/valid1_jpg.rf.0a1b.jpg"] == {"dog"}
    assert data.labels.names == NAMES
    assert "Category 0, 'dog', is a group of the others, not a label: it is left out." in data.notes
    assert "Split val, by its name: valid/_annotations.coco.json." in data.notes


@pytest.mark.parametrize("change", ["used", "other id", "not of all"])
def test_a_category_other_than_the_root_is_kept(roboflow: Path, change: str) -> None:
    file = roboflow / "train" / "_annotations.coco.json"
    content = json.loads(file.read_text())
    content["categories"][0]["name"] = "all"
    for item in content["categories"][1:]:
        item["supercategory"] = "all"
    if change == "used":
        content["annotations"][0]["category_id"] = 0
    elif change == "other id":
        content["categories"][0]["id"] = 9
    else:
        content["categories"][1]["supercategory"] = "animal"
    assert "all" in read(f"coco:{write(file, content)}").labels.names


def test_names_of_splits_and_files_of_one_split(tmp_path: Path, photo: Photo) -> None:
    files = []
    for i, stem in enumerate(("training", "more_train", "validation")):
        files.append(write(tmp_path / f"{stem}.json", described([f"{stem}.jpg"], [[i + 1]])))
        photo(tmp_path / f"{stem}.jpg", seed=i)
    data = read("coco:" + ",".join(map(str, files)))
    assert split_of(data) == {"training.jpg": "train", "more_train.jpg": "train", "validation.jpg": "val"}
    assert "Split train, by its name: training.json, more_train.json." in data.notes
    assert read(f"coco:{tmp_path}").splits() == data.splits()


def test_files_without_a_split_in_their_names_are_noted(tmp_path: Path, photo: Photo) -> None:
    for i, stem in enumerate(("a", "b")):
        write(tmp_path / stem / "labels.json", described([f"{stem}.jpg"], [[i + 1]]))
        photo(tmp_path / stem / f"{stem}.jpg", seed=i)
    data = read(f"coco:{tmp_path}")
    assert data.split_of is None
    assert any("No name of 2 files names a split" in note and "a/labels.json" in note for note in data.notes)
    (tmp_path / "b").rename(tmp_path / "test")
    with pytest.raises(LabelwiseError, match=r"^a/labels.json beside files of named splits"):
        read(f"coco:{tmp_path}")


def test_a_folder_above_all_files_is_no_split(tmp_path: Path, photo: Photo) -> None:
    file = write(tmp_path / "test" / "labels.json", described(["a.jpg"], [[1]]))
    photo(tmp_path / "test" / "a.jpg")
    assert read(f"coco:{file}").split_of is None


def lvis(images: int, rng: np.random.Generator) -> tuple[dict[str, Any], np.ndarray]:
    """A file in the form of LVIS and the state of each label: 1, 0, or -1 if not verified."""
    state = rng.integers(-1, 2, (images, 3))
    partly = rng.integers(0, 2, (images, 3))
    content = described([""] * images, [(np.flatnonzero(row == 1) + 1).tolist() for row in state])
    for i, image in enumerate(content["images"]):
        del image["file_name"]
        image["coco_url"] = f"http://images.cocodataset.org/{'train' if i % 2 else 'val'}2017/{i:012d}.jpg"
        image["neg_category_ids"] = [j + 1 for j in range(3) if state[i, j] == 0]
        image["not_exhaustive_category_ids"] = [j + 1 for j in range(3) if partly[i, j] and state[i, j]]
    return content, state


@pytest.mark.parametrize(
    "place", ["lvis_v1.json", "annotations/lvis_v1.json", "annotations/deep/lvis_v1.json"]
)
def test_only_verified_labels_of_lvis_are_known(tmp_path: Path, photo: Photo, place: str) -> None:
    content, state = lvis(12, np.random.default_rng(3))
    for i in range(12):
        photo(tmp_path / f"{'train' if i % 2 else 'val'}2017" / f"{i:012d}.jpg", seed=i)
    file = write(tmp_path / place, content)
    data = read(f"coco:{file}" + (f"?images={tmp_path}" if "deep" in place else ""))
    for i in range(12):
        for j in range(3):
            assert data.known[i, j] == (state[i, j] != -1)
            assert data.values[i, j] == (state[i, j] == 1)
    assert data.image_id(3) == "train2017/000000000003.jpg"
    assert any("unknown where it is not listed" in note for note in data.notes)


def test_lvis_in_the_folder_of_its_images(tmp_path: Path, photo: Photo) -> None:
    content, _ = lvis(4, np.random.default_rng(0))
    for i in range(4):
        photo(tmp_path / "flat" / f"{i:012d}.jpg", seed=i)
    data = read(f"coco:{write(tmp_path / 'lvis.json', content)}?images={tmp_path / 'flat'}")
    assert data.image_id(3) == "000000000003.jpg"
    assert any("images are matched by the end of their names" in note for note in data.notes)


def test_not_exhaustive_alone_and_contradictions(tmp_path: Path, photo: Photo) -> None:
    content = described(["a.jpg", "b.jpg"], [[1], [2]])
    photo(tmp_path / "a.jpg"), photo(tmp_path / "b.jpg", seed=1)
    content["images"][0]["not_exhaustive_category_ids"] = [1, 2]
    file = write(tmp_path / "all.json", content)
    data = read(f"coco:{file}")
    assert data.known.tolist() == [[True, False, True], [True] * 3]
    assert data.values.tolist() == [[1, 0, 0], [0, 1, 0]]
    content["images"][0]["neg_category_ids"] = [1, 3]
    data = read(f"coco:{write(file, content)}")
    assert data.known.tolist() == [[True, False, True], [False, True, False]]
    assert data.values.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert any("1 annotated labels are in neg_category_ids too" in note for note in data.notes)
    for wrong in ([9], ["1"], [True], 1, None):
        content["images"][0]["neg_category_ids"] = wrong
        with pytest.raises(LabelwiseError, match=r"image 1 with neg_category_ids"):
            read(f"coco:{write(file, content)}")


@pytest.mark.parametrize(
    ("written", "lies"),
    [
        ("images/a.jpg", "a.jpg"),
        ("images/a.jpg", "images/a.jpg"),
        ("../../label-studio/data/media/upload/1/a.jpg", "images/a.jpg"),
        ("images\\a.jpg", "images/a.jpg"),
        ("C:\\photos\\sub\\a.jpg", "images/sub/a.jpg"),
        ("/somewhere/else/a.jpg", "data/a.jpg"),
        ("https://example.org/bucket/my%20photos/a.jpg?key=1", "images/my photos/a.jpg"),
        ("a.jpg", "annotations/../images/train/a.jpg"),
    ],
)
def test_names_of_another_machine(tmp_path: Path, photo: Photo, written: str, lies: str) -> None:
    file = write(tmp_path / "annotations" / "instances_train.json", described([written], [[1]]))
    data = read(f"coco:{file}") if photo(tmp_path / lies) else None
    assert data is not None
    assert data.encoded(0).samefile(tmp_path / lies)  # type: ignore[union-attr]


def test_images_are_not_mixed_up(tmp_path: Path, photo: Photo) -> None:
    file = write(tmp_path / "all.json", described(["a/1.jpg", "b/1.jpg", "b/2.jpg"], [[1], [2], [3]]))
    photo(tmp_path / "1.jpg"), photo(tmp_path / "2.jpg", seed=1)
    with pytest.raises(LabelwiseError, match=r"1.jpg twice in the COCO files \(a/1.jpg and b/1.jpg\)"):
        read(f"coco:{file}")
    photo(tmp_path / "a" / "1.jpg"), photo(tmp_path / "b" / "2.jpg", seed=1)
    (tmp_path / "2.jpg").unlink()
    with pytest.raises(WouldLose, match=r"1 of 3 image files missing under .*: b/1.jpg"):
        read(f"coco:{file}")


def test_coco_of_2017(tmp_path: Path, photo: Photo) -> None:
    for split in ("train", "val"):
        names = [f"{i:012d}.jpg" for i in range(2)]
        write(tmp_path / "annotations" / f"instances_{split}2017.json", described(names, [[1], [2]]))
        write(tmp_path / "annotations" / f"captions_{split}2017.json", {"images": [], "annotations": []})
        for i, name in enumerate(names):
            photo(tmp_path / f"{split}2017" / name, seed=10 * i + len(split))
    data = read(f"coco:{tmp_path}")
    assert split_of(data)["val2017/000000000001.jpg"] == "test"
    assert data.splits() == {"train": 2, "test": 2}
    assert "val2017 is called test, as the field uses it." in data.notes
    assert "train has 2 images, published are 118,287." in data.notes
    (tmp_path / "annotations" / "instances_train2017.json").unlink()
    alone = read(f"coco:{tmp_path}")
    assert alone.splits() == {"test": 2}
    assert any("instances_train2017.json is not there" in note for note in alone.notes)


def test_own_data_under_the_names_of_2017(tmp_path: Path, photo: Photo) -> None:
    for i, split in enumerate(("train", "val", "test")):
        write(
            tmp_path / "annotations" / f"instances_{split}2017.json", described([f"{split}.jpg"], [[i + 1]])
        )
        photo(tmp_path / "images" / f"{split}.jpg", seed=i)
    assert split_of(read(f"coco:{tmp_path}")) == {f"{name}.jpg": name for name in ("train", "val", "test")}


def test_files_of_several_tasks(tmp_path: Path, photo: Photo) -> None:
    notes = tmp_path / "annotations"
    for task, rows in (("instances", [[1], [2], []]), ("labels", [[3], [], []]), ("stuff", [[2], [2], [2]])):
        write(notes / f"{task}_train.json", described(["a.jpg", "b.jpg", "c.jpg"], rows))
    write(notes / "image_info_test.json", {"images": [], "annotations": [], "categories": []})
    write(notes / "instances_val.json", described(["d.jpg"], [[2]]))
    write(notes / "image_info_val.json", described(["d.jpg", "unlabelled.jpg"], [[], []]))
    photo(tmp_path / "images" / "val" / "d.jpg", seed=9)
    for i, name in enumerate("abc"):
        photo(tmp_path / "images" / "train" / f"{name}.jpg", seed=i)
    data = read(f"coco:{tmp_path}")
    assert positives(data) == {
        "train/a.jpg": {"cat", "bus"},
        "train/b.jpg": {"dog"},
        "train/c.jpg": set(),
        "val/d.jpg": {"dog"},
    }
    assert "annotations/labels_train.json: read together with instances_train.json." in data.notes
    assert any(
        "image_info_test.json, annotations/image_info_val.json, annotations/stuff_" in note
        for note in data.notes
    )
    write(notes / "labels_train.json", described(["b.jpg"], [[3]]))
    with pytest.raises(LabelwiseError, match=r"image 1 is b.jpg, in instances_train.json a.jpg"):
        read(f"coco:{tmp_path}")
    write(notes / "labels_train.json", described(["a.jpg"], [[3]], categories=("cat", "dog", "car")))
    with pytest.raises(LabelwiseError, match=r"labels_train.json with other categories than instances_train"):
        read(f"coco:{tmp_path}")


def test_a_file_without_any_annotation_is_refused(roboflow: Path) -> None:
    file = roboflow / "test" / "_annotations.coco.json"
    content = json.loads(file.read_text())
    content["annotations"] = []
    write(file, content)
    with pytest.raises(LabelwiseError, match=r"2 images and no annotation at all; .*leave the file out"):
        read(f"coco:{roboflow}")
    content["images"][0]["neg_category_ids"] = [1]
    write(file, content)
    assert read(f"coco:{roboflow}").known[-2:].tolist() == [[True, False, False], [False] * 3]


def test_what_is_recognised_as_coco(roboflow: Path, tmp_path: Path) -> None:
    assert is_coco_folder(roboflow)
    assert is_coco_folder(roboflow / "train")
    for name in ("valid", "test"):
        shutil.rmtree(roboflow / name)
    (roboflow / "train").rename(roboflow / "cat")
    assert not is_coco_folder(roboflow)  # a quick check does not enter label folders
    (roboflow / "cat").rename(roboflow / "train")
    assert is_coco_file(roboflow / "train" / "_annotations.coco.json")
    other = tmp_path / "other"
    for name, text in {
        "tasks.json": '[{"images": []}]',
        "native.json": '{"info": {}, "categories": {"label": []}, "items": [{"annotations": []}]}',
        "lines.json": '{"source-ref": "a", "classes": [1]}\n{"source-ref": "b"}',
        "half.json": '{"images": "none", "note": "\\"annotations\\": [',
        "._x.json": '{"images": []}',
    }.items():
        (other / "annotations").mkdir(parents=True, exist_ok=True)
        (other / "annotations" / name).write_text(text)
    assert not is_coco_folder(other)
    assert not is_coco_folder(tmp_path / "nowhere")
    with pytest.raises(
        LabelwiseError, match=r"without a COCO annotation file; expected JSON files with images"
    ):
        read(f"coco:{other}")


def test_a_coco_file_of_label_studio_has_boxes_but_no_choices() -> None:
    """Written by label-studio-sdk 2.1.2: choices and taxonomies are categories without annotations."""
    file = Path(__file__).parent / "tools" / "label-studio-sdk-2.1.2" / "COCO.json"
    data = read(f"coco:{file}")
    assert len(data) == 3
    assert data.image_id(0).endswith("upload/1/0a1b2c31-p1.jpg")
    assert data.values.sum(0).tolist() == [float(name == "face") for name in data.labels.names]
    assert any("8 categories have no annotation" in note for note in data.notes)
