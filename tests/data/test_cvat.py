"""CVAT for images 1.1: files of the real form, and broken ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest

from labelwise.data import Dataset, read
from labelwise.data.readers import cvat
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
BOX = '<box label="car" source="manual" occluded="0" xtl="10" ytl="5" xbr="30" ybr="25" z_order="0"></box>'


def labels_of(names: Sequence[str]) -> str:
    body = "".join(
        f"<label><name>{n}</name><color>#fff</color><type>any</type><attributes><attribute><name>a</name>"
        "<mutable>False</mutable><input_type>checkbox</input_type></attribute></attributes></label>"
        for n in names
    )
    return f"<labels>{body}</labels>"


def document(images: str, labels: Sequence[str] = ("cat", "dog", "car"), meta: str = "task") -> str:
    listed = f"<meta><{meta}><id>1</id>{labels_of(labels)}</{meta}><dumped>2026</dumped></meta>"
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>'
    return f"{head}{listed}{images}</annotations>"


def image(name: str, *parts: str, subset: str | None = None) -> str:
    of = f' subset="{subset}"' if subset else ""
    return f'<image id="0" name={quoteattr(name)}{of} width="40" height="50">{"".join(parts)}</image>'


def tag(name: str, inner: str = "") -> str:
    return f'<tag label={quoteattr(name)} source="manual">{inner}</tag>'


def save(folder: Path, text: str, name: str = "annotations.xml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def cells(data: Dataset) -> Mapping[str, list[int]]:
    return {data.image_id(i): data.values[i].tolist() for i in range(len(data))}


def test_tags_agree_with_a_slow_loop(tmp_path: Path, photo: Photo) -> None:
    rng = np.random.default_rng(3)
    listed = ["cat", "dog & bird", "never", "ü"]
    tags_of = {f"a/{i}.jpg": rng.permutation(listed[:2] + listed[3:])[: i % 4].tolist() for i in range(12)}
    for i, name in enumerate(tags_of):
        photo(tmp_path / "images" / name, seed=i)
    text = document(
        "".join(
            image(n, *(tag(t) for t in tags), tag(tags[0]) if tags else "") for n, tags in tags_of.items()
        ),
        [n.replace("&", "&amp;") for n in listed],
    )
    save(tmp_path, text)
    for path in (tmp_path, tmp_path / "annotations.xml"):
        assert cvat.recognises(path)
        data = read(f"cvat:{path}")
        assert data.labels.names == tuple(listed)
        assert cells(data) == {n: [int(t in tags) for t in listed] for n, tags in tags_of.items()}
        assert data.known.all()
        assert data.boxes is None
    assert any(note.startswith("3 images without a tag or shape have none") for note in data.notes)
    data = read(f"cvat:{tmp_path}?blank=unknown")
    assert data.known.all(1).tolist() == [bool(tags) for tags in tags_of.values()]


@pytest.mark.parametrize("meta", ["task", "project", "job"])
def test_subsets_of_a_project_are_splits(tmp_path: Path, photo: Photo, meta: str) -> None:
    for i, place in enumerate(["Train/1.jpg", "Validation/1.jpg", "2.jpg"]):
        photo(tmp_path / "images" / place, seed=i)
    images = [
        image("1.jpg", tag("cat"), subset="Train"),
        image("1.jpg", tag("dog"), subset="Validation"),
        image("2.jpg", subset="default"),
    ]
    data = read(f"cvat:{save(tmp_path, document(''.join(images), meta=meta))}")
    assert cells(data) == {"Train/1.jpg": [1, 0, 0], "Validation/1.jpg": [0, 1, 0], "2.jpg": [0, 0, 0]}
    assert data.splits() == {"train": 1, "val": 1}


def test_a_file_a_subset_as_other_tools_write_it(tmp_path: Path, photo: Photo) -> None:
    for i in (1, 2):
        photo(tmp_path / "images" / f"{i}.jpg", seed=i)
    save(tmp_path, document(image("1.jpg", tag("cat"))), "train.xml")
    save(tmp_path, document(image("2.jpg", tag("dog"))), "test.xml")
    save(tmp_path, "<annotation><folder>x</folder></annotation>", "a.xml")
    assert cvat.recognises(tmp_path)
    assert read(f"cvat:{tmp_path}").splits() == {"train": 1, "test": 1}


SHAPES = {
    BOX: (10, 5, 30, 25),
    BOX.replace('xbr="30"', 'xbr="20" rotation="90"'): (5, 10, 25, 20),
    BOX.replace('ytl="5" xbr="30"', 'ytl="5" xbr="30" rotation="45"'): (
        20 - 10 * 2**0.5,
        15 - 10 * 2**0.5,
        20 + 10 * 2**0.5,
        15 + 10 * 2**0.5,
    ),
    '<polygon label="car" points="1.5,2;30,4;7,40.5"></polygon>': (1.5, 2, 30, 40.5),
    '<ellipse label="car" cx="20" cy="20" rx="5" ry="10" rotation="90"></ellipse>': (10, 15, 30, 25),
    '<mask label="car" rle="1, 2" left="3" top="4" width="10" height="20"></mask>': (3, 4, 13, 24),
    '<points label="car" points="1,1"></points>': None,
    '<skeleton label="car"><points label="car" points="1,2"></points></skeleton>': None,
}


@pytest.mark.parametrize(("shape", "sides"), SHAPES.items())
def test_shapes_are_labels_and_boxes(
    tmp_path: Path, photo: Photo, shape: str, sides: tuple[float, ...] | None
) -> None:
    photo(tmp_path / "images" / "1.jpg")
    data = read(f"cvat:{save(tmp_path, document(image('1.jpg', tag('cat'), shape)))}")
    assert cells(data) == {"1.jpg": [1, 0, 1]}
    if sides is None:
        assert data.boxes is None
    else:
        (box,) = data.boxes_of(0)
        expected = [sides[0] / 40, sides[1] / 50, sides[2] / 40, sides[3] / 50]
        np.testing.assert_allclose(box, [2, *expected], atol=1e-6)


def test_boxes_follow_rows_that_are_merged_or_left_out(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "images" / "2.jpg")
    other = BOX.replace('xtl="10"', 'xtl="0"')
    images = [image("lost.jpg", BOX), image("2.jpg", BOX), image("2.jpg", other)]
    data = read(f"cvat:{save(tmp_path, document(''.join(images)))}?missing=skip")
    np.testing.assert_allclose(
        data.boxes_of(0), [(2, 0.25, 0.1, 0.75, 0.5), (2, 0, 0.1, 0.75, 0.5)], atol=1e-6
    )


def test_attributes_and_missing_lists_are_noted(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "1.jpg")
    inner = '<attribute name="blurred">true</attribute><attribute name="note"></attribute>'
    data = read(f"cvat:{save(tmp_path, document(image('1.jpg', tag('cat', inner)), labels=()))}")
    assert "The file lists no labels: the labels are those that occur." in data.notes
    assert "1 values of attributes were left out: blurred." in data.notes


def test_parts_of_a_skeleton_are_no_labels(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "1.jpg")
    text = document(image("1.jpg", tag("cat")))
    part = "<label><name>nose</name><type>points</type><parent>cat</parent></label>"
    save(tmp_path, text.replace("</labels>", f"{part}</labels>"))
    assert read(f"cvat:{tmp_path}").labels.names == ("cat", "dog", "car")


GOOD = document(image("1.jpg", tag("cat")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD[:-20], r"annotations.xml: .*; expected an XML annotation"),
        (GOOD.replace("<annotations>", "<!DOCTYPE a><annotations>"), "a document type"),
        (
            GOOD.replace("annotations>", "annotation>"),
            "with the root element <annotation>; expected an export as CVAT",
        ),
        (document('<track id="0" label="cat"></track>'), "with 1 tracks over the frames of a video; .*1.1"),
        (document(image("1.jpg", tag("cow"))), "image 1.jpg with the label 'cow'; expected one of the 3"),
        (document(image("1.jpg", "<tag/>")), "image 1.jpg: <tag> without a label"),
        (document(image("")), "image 0 without a name"),
        (document(""), "without images"),
        (document(image("1.jpg", BOX.replace("30", "x"))), "image 1.jpg: <box> .*expected numbers"),
        (
            document(image("1.jpg", BOX.replace("30", "nan"))),
            "image 1.jpg: a box of .*expected sides in pixels",
        ),
        (document(image("1.jpg", BOX).replace('width="40"', "")), "image 1.jpg: <box> .*expected numbers"),
        (document(image("1.jpg", '<polygon label="car"/>')), "image 1.jpg: <polygon>"),
        (document(image("2.jpg", tag("cat"))), "1 of 1 image files missing"),
        (document(image("1.jpg", tag("cat")) + image("1.jpg")), "contradict each other"),
    ],
)
def test_broken_files(tmp_path: Path, photo: Photo, text: str, message: str) -> None:
    photo(tmp_path / "images" / "1.jpg")
    save(tmp_path, text)
    with pytest.raises(LabelwiseError, match=message) as caught:
        read(f"cvat:{tmp_path / 'annotations.xml'}")
    assert "\n" not in str(caught.value)


def test_archives_are_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "job_1.zip").write_bytes(b"PK\x03\x04rest")
    with pytest.raises(LabelwiseError, match=r"without annotations.xml; .* 1.1; unpack job_1.zip there"):
        read(f"cvat:{tmp_path}")
    with pytest.raises(LabelwiseError, match="an archive"):
        read(f"cvat:{tmp_path / 'job_1.zip'}")


def test_files_of_others_are_not_recognised(tmp_path: Path) -> None:
    for text in ("<annotation><object/></annotation>", "<annotations><x/></annotations>", "{}", ""):
        save(tmp_path, text)
        assert not cvat.recognises(tmp_path / "annotations.xml"), text
        assert not cvat.recognises(tmp_path), text
