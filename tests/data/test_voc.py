"""VOC trees: small generated ones and the shared images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labelwise.data import Dataset, read
from labelwise.data.readers.voc_labels import VOC_NAMES
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
Tree = Callable[..., Path]


def annotation(objects: list[tuple[str, int, tuple[int, int, int, int]]], head: str = "") -> str:
    parts = [
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{a}</xmin><ymin>{b}</ymin>"
        f"<xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for name, difficult, (a, b, c, d) in objects
    ]
    size = "<size><width>200</width><height>100</height></size>"
    return f"<annotation>{head}{size}{''.join(parts)}</annotation>"


@pytest.fixture
def tree(tmp_path: Path, photo: Photo) -> Tree:
    objects = {
        "1": [("dog", 0, (1, 1, 100, 50)), ("dog", 1, (101, 51, 200, 100)), ("cat", 1, (1, 1, 20, 20))],
        "2": [("person", 0, (51, 1, 200, 100))],
        "3": [],
    }

    def make(**lists: str) -> Path:
        for name in ("Annotations", "ImageSets/Main"):
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
        for i, (name, items) in enumerate(objects.items()):
            photo(tmp_path / "JPEGImages" / f"{name}.jpg", seed=i)
            (tmp_path / "Annotations" / f"{name}.xml").write_text(annotation(items))
        for name, ids in lists.items():
            (tmp_path / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(ids.split()) + "\n")
        return tmp_path

    return make


def column(data: Dataset, name: str) -> tuple[list[int], list[bool]]:
    j = data.labels.index(name)
    return data.values[:, j].tolist(), data.known[:, j].tolist()


@pytest.mark.parametrize(
    ("policy", "cat"), [("ignore", (0, False)), ("negative", (0, True)), ("positive", (1, True))]
)
def test_a_cell_of_difficult_objects_only(tree: Tree, policy: str, cat: tuple[int, bool]) -> None:
    data = read(f"voc:{tree(train='1 2', test='3')}?difficult={policy}")
    values, known = column(data, "cat")
    assert (values[0], known[0]) == cat
    assert column(data, "dog") == ([1, 0, 0], [True] * 3)
    assert int((~data.known).sum()) == (policy == "ignore")
    fate = {"ignore": "unknown"}.get(policy, policy)
    assert f"1 cells with difficult objects only are {fate}." in data.notes


def test_labels_boxes_and_splits(tree: Tree) -> None:
    root = tree(train="2", val="1", trainval="1 2", test="3")
    data = read(str(root))
    assert data.source == f"voc:{root}"
    assert data.labels.names == ("cat", "dog", "person")
    assert any("no file states that this is VOC: only these 3 are labels" in note for note in data.notes)
    assert data.splits() == {"train": 1, "val": 1, "test": 1}
    assert [data.image_id(i) for i in range(3)] == [f"JPEGImages/{n}.jpg" for n in "123"]
    dog = data.labels.index("dog")
    assert data.boxes_of(0) == [(dog, 0, 0, 0.5, 0.5), (dog, 0.5, 0.5, 1, 1)]
    assert data.boxes_of(1) == [(data.labels.index("person"), 0.25, 0, 1, 1)]
    assert data.boxes_of(2) == []
    assert data.split("train+val").images.to_pylist() == ["JPEGImages/1.jpg", "JPEGImages/2.jpg"]
    assert data[0].image.shape == (3, 32, 48)
    with pytest.raises(
        LabelwiseError, match=r"split 'dev' of voc:.*expected a split that it has: train \(1\)"
    ):
        data.split("dev")


def test_trainval_alone_is_called_train(tree: Tree) -> None:
    data = read(f"voc:{tree(trainval='1 2', test='3')}")
    assert data.splits() == {"train": 2, "test": 1}
    assert any("trainval is called train" in note for note in data.notes)


def test_an_unlisted_image_is_counted(tree: Tree) -> None:
    data = read(f"voc:{tree(train='1', test='3')}")
    assert any(note.startswith("1 annotated images are in no list") for note in data.notes)


def test_refusals(tree: Tree, photo: Photo) -> None:
    root = tree()
    with pytest.raises(LabelwiseError, match=r"without image lists; expected train.txt, val.txt"):
        read(f"voc:{root}")
    tree(train="1 2", test="2 3")
    with pytest.raises(LabelwiseError, match=r"image '2' in train.txt and again in test.txt"):
        read(f"voc:{root}")
    tree(train="1 2", test="3", trainval="1 2 9")
    with pytest.raises(LabelwiseError, match=r"1 images in trainval.txt that train.txt and val.txt lack: 9"):
        read(f"voc:{root}")
    tree(train="1 9", test="3", trainval="")
    with pytest.raises(LabelwiseError, match=r"1 listed images without an annotation in .*: 9"):
        read(f"voc:{root}")
    tree(train="1 2", test="3")
    (root / "JPEGImages" / "2.jpg").unlink()
    with pytest.raises(LabelwiseError, match=r"1 of 3 image files missing under .*: JPEGImages/2.jpg"):
        read(f"voc:{root}")
    assert len(read(f"voc:{root}?missing=skip")) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>', r"a document type \(DTD\)"),
        ("<annotation>", "no element found"),
        ("", "no element found"),
        (annotation([("dog", 0, (1, 1, 2, 2))]).replace("<xmin>1", "<xmin>one"), "could not convert .*one"),
        (annotation([("", 0, (1, 1, 2, 2))]), "an object without a name"),
        ("<annotations><image/></annotations>", "with <annotations>; expected <annotation>, a VOC file"),
    ],
)
def test_broken_annotations_are_named(tree: Tree, text: str, message: str) -> None:
    root = tree(train="1 2", test="3")
    (root / "Annotations" / "1.xml").write_text(text)
    with pytest.raises(LabelwiseError, match=rf"1\.xml:? {message}"):
        read(f"voc:{root}")


def test_a_document_type_in_utf16_is_refused_too(tree: Tree) -> None:
    root = tree(train="1 2", test="3")
    bomb = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'
    (root / "Annotations" / "1.xml").write_bytes(bomb.encode("utf-16"))
    with pytest.raises(LabelwiseError, match="a document type"):
        read(f"voc:{root}")


def test_shared_photographs(shared: Path) -> None:
    data = read(f"voc:{shared / 'voc2007'}")
    assert data.splits() == {"train": 1976, "val": 500, "test": 2476}
    assert data.labels.names == VOC_NAMES
    assert int((data.values * data.known).sum()) == 7013
    assert int((~data.known).sum()) == 619
    counts = dict(zip(data.labels, data.positive.sum(0).tolist(), strict=True))
    assert (counts["person"], counts["sheep"], counts["tvmonitor"]) == (2007, 97, 229)
    trainval = (shared / "voc2007/ImageSets/Main/trainval.txt").read_text().split()
    names = data.split("train+val").images.to_pylist()
    assert names == [f"JPEGImages/{name}.jpg" for name in trainval]
    sides = np.array([b[1:] for i in range(0, len(data), 97) for b in data.boxes_of(i)])
    assert sides.min() >= 0
    assert sides.max() <= 1
