"""VOC trees as tools export them: lists of labels, names with suffixes, no lists at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelwise.data import Dataset, read
from labelwise.data.readers.voc_labels import VOC_NAMES
from labelwise.data.readers.voc_layout import is_voc_folder
from labelwise.data.source import WouldLose
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
BOX = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"


def xml(file: Path, names: str, head: str = "", size: str = "48 32", difficult: str = "") -> None:
    """An annotation with an object of each name."""
    objects = "".join(
        f"<object><name>{name}</name><difficult>{int(name in difficult.split())}</difficult>{BOX}</object>"
        for name in names.split()
    )
    width, height = size.split() if size else ("", "")
    sides = f"<size><width>{width}</width><height>{height}</height></size>" if size else ""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"<annotation>{head}{sides}{objects}</annotation>")


def lists(root: Path, **files: str) -> Path:
    """Lists of `ImageSets/Main`; lines are separated by commas."""
    folder = root / "ImageSets" / "Main"
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in files.items():
        (folder / f"{name}.txt").write_text("".join(f"{line.strip()}\n" for line in lines.split(",")))
    return root


def table(data: Dataset) -> dict[str, dict[str, int | None]]:
    """The state of each label by image: 1, 0, or `None` if unknown."""
    return {
        data.image_id(i): {
            name: int(data.values[i, j]) if data.known[i, j] else None for j, name in enumerate(data.labels)
        }
        for i in range(len(data))
    }


def split_of(data: Dataset) -> dict[str, str]:
    assert data.split_of is not None
    return {data.image_id(i): data.split_names[code] for i, code in enumerate(data.split_of.tolist())}


HEADS = {
    "<source><database>The VOC2007 Database</database></source>": True,
    "<source><database>Unknown</database><annotation>PASCAL VOC2012</annotation></source>": True,
    "<folder>VOC2012</folder>": True,
    "<folder>photos</folder><source><database>Unknown</database></source>": False,
    "<source><database>MyDatabase</database><annotation>COCO2017</annotation></source>": False,
}


@pytest.mark.parametrize(("head", "of_voc"), HEADS.items())
def test_the_20_labels_are_those_of_voc_alone(tmp_path: Path, photo: Photo, head: str, of_voc: bool) -> None:
    for i, names in enumerate(("person dog", "dog")):
        photo(tmp_path / "JPEGImages" / f"{i}.jpg", seed=i)
        xml(tmp_path / "Annotations" / f"{i}.xml", names, head)
    data = read(f"voc:{lists(tmp_path, train='0', test='1')}")
    assert data.labels.names == (VOC_NAMES if of_voc else ("dog", "person"))
    assert any("no file states that this is VOC" in note for note in data.notes) is not of_voc
    xml(tmp_path / "Annotations" / "1.xml", "dog")  # a file that does not state it
    assert read(f"voc:{tmp_path}").labels.names == ("dog", "person")


def test_lists_of_the_20_labels_mean_voc(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "JPEGImages" / "0.jpg")
    xml(tmp_path / "Annotations" / "0.xml", "dog")
    lists(tmp_path, train="0", **{f"{name}_train": f"0 {2 * (name == 'dog') - 1}" for name in VOC_NAMES})
    data = read(f"voc:{tmp_path}")
    assert data.labels.names == VOC_NAMES
    assert data.notes == ()


def test_only_images_count_as_images(tmp_path: Path, photo: Photo) -> None:
    folder = tmp_path / "JPEGImages"
    for i, name in enumerate(("a.png", "a.jpg", "b.PNG", "c.webp", "c.jpeg", "d.jpg", "d.png", "sub/e.jpg")):
        photo(folder / name, seed=i)
    for sidecar in ("a.txt", "b.txt", "c.json", "d.xml", "._b.jpg"):
        (folder / sidecar).write_text("x")
    for name in "abcd":
        xml(tmp_path / "Annotations" / f"{name}.xml", "cat")
    xml(tmp_path / "Annotations" / "e.xml", "cat")
    data = read(f"voc:{lists(tmp_path, train='a, b, c, d.png, e')}")
    wanted = ("a.jpg", "b.PNG", "c.jpeg", "d.png", "sub/e.jpg")
    assert data.images.to_pylist() == [f"JPEGImages/{name}" for name in wanted]
    photo(folder / "other" / "e.jpg", seed=11)
    with pytest.raises(WouldLose, match=r"1 of 5 image files missing under .*: JPEGImages/e.jpg"):
        read(f"voc:{tmp_path}")


def test_boxes_of_an_image_without_a_stated_size(tmp_path: Path) -> None:
    (tmp_path / "JPEGImages" / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png"):
        Image.new("RGB", (40, 20), "red").save(tmp_path / "JPEGImages" / name)
        xml(tmp_path / "Annotations" / Path(name).with_suffix(".xml"), "cat", size="")
    xml(tmp_path / "Annotations" / "c.xml", "cat", size="")
    data = read(f"voc:{lists(tmp_path, train='a, sub/b, c')}?missing=skip")
    assert data.images.to_pylist() == ["JPEGImages/a.png", "JPEGImages/sub/b.png"]
    for row in (0, 1):
        assert data.boxes_of(row) == [(0, pytest.approx(1 / 40), pytest.approx(1 / 20), 0.5, 1.0)]


def test_the_listed_name_precedes_the_one_in_the_file(tmp_path: Path, photo: Photo) -> None:
    for i, name in enumerate("ab"):
        photo(tmp_path / "JPEGImages" / f"{name}.jpg", seed=i)
    xml(tmp_path / "Annotations" / "a.xml", "cat", "<filename>b.jpg</filename>")
    assert read(f"voc:{lists(tmp_path, train='a')}").images.to_pylist() == ["JPEGImages/a.jpg"]


def vott(root: Path, photo: Photo, rows: Mapping[str, str], labels: str, splits: str) -> Path:
    """A tree as VoTT writes it: lists of labels with one line per object, names with suffixes, no list of images."""
    for i, (name, objects) in enumerate(rows.items()):
        photo(root / "JPEGImages" / name, seed=i)
        if objects:
            xml(root / "Annotations" / f"{Path(name).stem}.xml", objects)
    for split, names in (part.split("=") for part in splits.split(",")):
        for label in labels.split():
            lines = [
                f"{name} {1 if thing == label else -1}"
                for name in names.split()
                for thing in rows[name].split() or [""]
            ]
            lists(root, **{f"{label}_{split}": ",".join(lines)})
    return root


def test_lists_of_labels_without_lists_of_images(tmp_path: Path, photo: Photo) -> None:
    rows = {"a.jpg": "cat traffic_light", "b.jpg": "cat cat", "c.jpg": ""}
    root = vott(tmp_path, photo, rows, "cat traffic_light bird", "train=a.jpg b.jpg,val=c.jpg")
    data = read(f"voc:{root}")
    assert split_of(data) == {
        "JPEGImages/a.jpg": "train",
        "JPEGImages/b.jpg": "train",
        "JPEGImages/c.jpg": "val",
    }
    assert table(data) == {
        f"JPEGImages/{name}": {label: int(label in things.split()) for label in data.labels}
        for name, things in rows.items()
    }
    assert data.labels.names == ("bird", "cat", "traffic_light")
    assert "There is no train.txt, val.txt: its images are those in the lists of labels." in data.notes
    assert "2 labels of images have several states in their lists: the highest is used." in data.notes
    shutil.rmtree(root / "Annotations")
    assert table(read(f"voc:{root}")) == table(data)


def datumaro(root: Path, photo: Photo, rows: Mapping[str, str | None], labels: str, subset: str) -> Path:
    """A tree as Datumaro writes `voc_classification`: an image without labels is in no list of a label."""
    lines = ["# label:color_rgb:parts:actions", "background:::", *(f"{label}:::" for label in labels.split())]
    (root / "labelmap.txt").write_text("\n".join(lines) + "\n")
    for i, name in enumerate(rows):
        photo(root / "JPEGImages" / f"{name}.jpg", seed=i)
    lists(root, **{subset: ",".join(rows)})
    for label in ("background", *labels.split()):
        states = {name: 1 if label in things.split() else -1 for name, things in rows.items() if things}
        lists(root, **{f"{label}_{subset}": ",".join(f"{name} {state: d}" for name, state in states.items())})
    return root


@pytest.mark.parametrize(("subset", "split"), [("train", "train"), ("valid", "val"), ("default", None)])
def test_labels_from_lists_alone(tmp_path: Path, photo: Photo, subset: str, split: str | None) -> None:
    rows = {"a": "zebra cat", "my photo 1": "cat", "sub/c": ""}
    root = datumaro(tmp_path, photo, rows, "zebra cat", subset)
    data = read(f"voc:{root}")
    assert data.labels.names == ("zebra", "cat")
    assert table(data) == {
        "JPEGImages/a.jpg": {"zebra": 1, "cat": 1},
        "JPEGImages/my photo 1.jpg": {"zebra": 0, "cat": 1},
        "JPEGImages/sub/c.jpg": {"zebra": 0, "cat": 0},
    }
    assert data.splits() == ({split: 3} if split else {})
    assert data.boxes is None
    assert "background is not a label: it is left out, as no image has it." in data.notes
    assert any("1 listed images have neither" in note and "(sub/c)" in note for note in data.notes)
    if not split:
        assert any("No list names a split (default.txt)" in note for note in data.notes)


def test_names_of_labels_and_of_lists_with_several_parts(tmp_path: Path, photo: Photo) -> None:
    for i, name in enumerate("ab"):
        photo(tmp_path / "JPEGImages" / f"{name}.jpg", seed=i)
    lists(
        tmp_path,
        my_set="a",
        set="b",
        big_cat_my_set="a 1",
        big_cat_set="b -1",
        cat_my_set="a -1",
        cat_set="b 1",
    )
    assert table(read(f"voc:{tmp_path}")) == {
        "JPEGImages/a.jpg": {"big_cat": 1, "cat": 0},
        "JPEGImages/b.jpg": {"big_cat": 0, "cat": 1},
    }


def test_an_image_that_some_lists_of_labels_lack(tmp_path: Path, photo: Photo) -> None:
    for i, name in enumerate("abc"):
        photo(tmp_path / "JPEGImages" / f"{name}.jpg", seed=i)
    lists(tmp_path, train="a, b, c", cat_train="a 1, b -1, c 0", dog_train="a -1, c 1")
    data = read(f"voc:{tmp_path}")
    assert table(data) == {
        "JPEGImages/a.jpg": {"cat": 1, "dog": 0},
        "JPEGImages/b.jpg": {"cat": 0, "dog": None},
        "JPEGImages/c.jpg": {"cat": None, "dog": 1},
    }
    assert "1 labels of them are unknown, as their lists lack the image." in data.notes
    assert table(read(f"voc:{tmp_path}?difficult=positive"))["JPEGImages/c.jpg"]["cat"] == 1


def test_lists_add_to_annotations_and_never_take_away(tmp_path: Path, photo: Photo) -> None:
    for i, (name, things, hard) in enumerate((("a", "bus", ""), ("b", "cat", "cat"), ("c", "dog", ""))):
        photo(tmp_path / "JPEGImages" / f"{name}.jpg", seed=i)
        xml(tmp_path / "Annotations" / f"{name}.xml", things, difficult=hard)
    lists(tmp_path, train="a, b, c", bus_train="a -1, b -1", cat_train="a 1, b 0")
    data = read(f"voc:{tmp_path}")
    assert table(data) == {
        "JPEGImages/a.jpg": {"bus": 1, "cat": 1, "dog": 0},
        "JPEGImages/b.jpg": {"bus": 0, "cat": None, "dog": 0},
        "JPEGImages/c.jpg": {"bus": 0, "cat": 0, "dog": 1},
    }
    assert "1 labels are 1 in their lists alone, without an object; they are present." in data.notes


def test_a_lost_annotation_is_refused_where_no_tool_leaves_it_out(tmp_path: Path, photo: Photo) -> None:
    for i, name in enumerate("ab"):
        photo(tmp_path / "JPEGImages" / f"{name}.jpg", seed=i)
    xml(tmp_path / "Annotations" / "a.xml", "bus")
    lists(tmp_path, train="a, b", bus_train="a 1")
    with pytest.raises(LabelwiseError, match=r"1 listed images without an annotation in .*: b"):
        read(f"voc:{tmp_path}")
    (tmp_path / "labelmap.txt").write_text("bus:::\n")
    assert table(read(f"voc:{tmp_path}"))["JPEGImages/b.jpg"] == {"bus": 0}


def test_names_of_lists(tmp_path: Path, photo: Photo) -> None:
    for i, name in enumerate("abcd"):
        photo(tmp_path / "JPEGImages" / f"{name}.jpg", seed=i)
        xml(tmp_path / "Annotations" / f"{name}.xml", "cat dog")
    data = read(f"voc:{lists(tmp_path, train='a', valid='b', testing='c', train_small='a', other='a, d')}")
    assert split_of(data) == {
        "JPEGImages/a.jpg": "train",
        "JPEGImages/b.jpg": "val",
        "JPEGImages/c.jpg": "test",
    }
    assert "Splits by the names of lists: valid.txt is val, testing.txt is test." in data.notes
    note = "Lists beside those of the splits were not read: other.txt, train_small.txt; "
    assert note + "1 images are in them alone and were left out." in data.notes
    lists(tmp_path, train="a, a")
    with pytest.raises(LabelwiseError, match=r"image 'a' in train.txt and a second time"):
        read(f"voc:{tmp_path}")


def test_a_tree_without_lists(tmp_path: Path, photo: Photo) -> None:
    for i, name in enumerate(("a", "b", "spare")):
        photo(tmp_path / "images" / f"{name}.jpg", seed=i)
    for name in ("a", "b"):
        xml(tmp_path / "Annotations" / f"{name}.xml", "cat dog" if name == "a" else "dog")
    assert is_voc_folder(tmp_path)
    data = read(f"voc:{tmp_path}")
    assert table(data) == {"images/a.jpg": {"cat": 1, "dog": 1}, "images/b.jpg": {"cat": 0, "dog": 1}}
    assert data.split_of is None
    assert "1 images without an annotation were left out." in data.notes


def test_annotations_beside_their_images(tmp_path: Path, photo: Photo) -> None:
    for i, folder in enumerate(("train", "valid", "test")):
        photo(tmp_path / folder / "a_jpg.rf.0a1b.jpg", seed=i)
        xml(tmp_path / folder / "a_jpg.rf.0a1b.xml", "cat dog" if i else "dog")
    photo(tmp_path / "test" / "spare.jpg", seed=7)
    assert is_voc_folder(tmp_path)
    data = read(f"voc:{tmp_path}")
    assert split_of(data) == {
        f"{folder}/a_jpg.rf.0a1b.jpg": split
        for folder, split in (("train", "train"), ("valid", "val"), ("test", "test"))
    }
    assert "1 images without an annotation were left out." in data.notes
    assert read(f"voc:{tmp_path / 'test'}").split_of is None
    (tmp_path / "valid").rename(tmp_path / "more")
    with pytest.raises(LabelwiseError, match=r"annotations in more beside folders of named splits"):
        read(f"voc:{tmp_path}")


def test_other_folders(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "images" / "a.jpg")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text("<annotations><image/></annotations>")
    (tmp_path / "annotations.xml").write_text("<annotations><image/></annotations>")
    assert not is_voc_folder(tmp_path)
    assert not is_voc_folder(tmp_path / "images")


def test_random_lists_as_a_loop_reads_them(tmp_path: Path, photo: Photo) -> None:
    rng = np.random.default_rng(5)
    state = rng.integers(-2, 2, (12, 3))  # -2: the list lacks the image
    state[:, 2] = np.maximum(state[:, 2], -1)
    for i in range(12):
        photo(tmp_path / "JPEGImages" / f"{i}.jpg", seed=i)
    names = ("cat", "dog", "kite")
    for j, label in enumerate(names):
        lines = [f"{i}.jpg {state[i, j]}" for i in rng.permutation(12).tolist() if state[i, j] > -2]
        lists(tmp_path, **{f"{label}_trainval": ",".join(lines)})
    data = read(f"voc:{lists(tmp_path, trainval=','.join(map(str, range(12))))}")
    meaning = {-2: None, -1: 0, 0: None, 1: 1}
    for i in range(12):
        states = table(data)[f"JPEGImages/{i}.jpg"]
        assert states == {name: meaning[int(state[i, j])] for j, name in enumerate(names)}
