"""Folders below a data set: what systems leave behind is never read, and one that cannot be listed is told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labelwise.data import Dataset, read
from labelwise.data.imagefiles import walk
from labelwise.data.readers.coco_layout import is_coco_folder
from labelwise.data.readers.voc_layout import is_voc_folder
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
XML = "<annotation><object><name>{}</name></object></annotation>"
OF_LABELS = "ImageID,LabelName,Confidence\n"


def coco(image: str, name: str) -> str:
    lists = {
        "images": [{"id": 1, "file_name": image}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1}],
        "categories": [{"id": 1, "name": name}],
    }
    return json.dumps(lists)


def files_of(kind: str, label: str) -> dict[str, str | None]:
    """The files of a small data set, below folders, and their content; `None` for a photograph."""
    return {
        "voc": {
            f"Annotations/x/{label}.xml": XML.format(label),
            f"JPEGImages/x/{label}.jpg": None,
        },
        "voc-lists": {
            "ImageSets/Main/train.txt": "a\n",
            "Annotations/x/a.xml": XML.format(label),
            "JPEGImages/x/a.jpg": None,
        },
        "voc-beside": {f"train/{label}.xml": XML.format(label), f"train/{label}.jpg": None},
        "coco": {"train/_annotations.coco.json": coco("1.jpg", label), "train/1.jpg": None},
        "roboflow": {"train/_classes.csv": f"filename,{label}\n1.jpg,1\n", "train/1.jpg": None},
        "tags": {"x/1.txt": f"{label}, also", "x/1.jpg": None},
        "hf": {
            "train/metadata.csv": f"file_name,{label}\n1.jpg,1\n2.jpg,0\n",
            "train/1.jpg": None,
            "train/2.jpg": None,
        },
        "openimages": {"x/train.csv": OF_LABELS + f"1,{label},1\n", "x/1.jpg": None},
        "fiftyone": {
            "labels.json": json.dumps({"classes": [label], "labels": {"x/1": 0}}),
            "data/x/1.jpg": None,
        },
        "csv": {"t.csv": f"image,{label}\n1,1\n", "x/1.jpg": None},
    }[kind]


KINDS = ["voc", "voc-lists", "voc-beside", "coco", "roboflow", "tags", "hf", "openimages", "fiftyone", "csv"]
INNER = {"voc": "JPEGImages/x", "voc-lists": "JPEGImages/x", "fiftyone": "data/x"}
"""A folder below that holds photographs; `x` or `train` where nothing is said."""


@pytest.fixture
def write(tmp_path: Path, photo: Photo) -> Callable[[str, str, str], None]:
    def files(kind: str, label: str, inside: str) -> None:
        for seed, (name, content) in enumerate(files_of(kind, label).items()):
            path = tmp_path / os.path.dirname(name) / inside / os.path.basename(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                photo(path, seed=seed)
            else:
                path.write_text(content)

    return files


def opened(kind: str, root: Path) -> Dataset:
    path = root / "t.csv" if kind == "csv" else root
    return read(f"{kind.partition('-')[0]}:{path}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clutter", [".ipynb_checkpoints", "@eaDir", "__MACOSX"])
def test_clutter_is_never_read(
    tmp_path: Path, write: Callable[[str, str, str], None], kind: str, clutter: str
) -> None:
    write(kind, "dog", "")
    before = opened(kind, tmp_path)
    for folder in [path for path in tmp_path.rglob("*") if path.is_dir()]:
        for name in ("._1.jpg", "._a.xml", "._train.txt", "._t.csv", "._x.json", "._metadata.csv", "._1.txt"):
            (folder / name).write_bytes(b"\0\5\x16\7")
    write(kind, "dog", clutter)
    write(kind, "cat", clutter)
    after = opened(kind, tmp_path)
    assert after.labels.names == before.labels.names
    assert after.images.to_pylist() == before.images.to_pylist()
    np.testing.assert_array_equal(after.values, before.values)
    assert after.notes == before.notes


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_that_cannot_be_listed_is_told(
    tmp_path: Path, write: Callable[[str, str, str], None], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(kind, "dog", "")
    names = INNER.get(kind, "x" if (tmp_path / "x").is_dir() else "train")
    (tmp_path / names / "closed").mkdir()
    close(tmp_path / names / "closed", monkeypatch)
    if kind in ("voc-beside", "coco", "roboflow"):  # they look no deeper
        assert len(opened(kind, tmp_path)) == 1
        close(tmp_path / names, monkeypatch)
        if kind == "roboflow":  # the table of a folder is opened by its name
            return
    with pytest.raises(LabelwiseError, match=r"\(Permission denied\); .*check its permissions"):
        opened(kind, tmp_path)


def close(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = os.scandir

    def closed(path: str) -> object:
        if str(path) == str(folder):
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", closed)


def test_a_glance_passes_over_what_it_cannot_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train").mkdir()
    close(tmp_path / "train", monkeypatch)
    assert not is_voc_folder(tmp_path)
    assert not is_coco_folder(tmp_path)
    assert [listing.start for listing in walk(tmp_path, glance=True)] == [""]


def test_how_deep_a_walk_goes(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "link").symlink_to(tmp_path)
    for depth, starts in (
        (0, [""]),
        (1, ["", "a/"]),
        (2, ["", "a/", "a/b/"]),
        (None, ["", "a/", "a/b/", "a/b/c/"]),
    ):
        assert [listing.start for listing in walk(tmp_path, depth)] == starts
    assert [listing.folders for listing in walk(tmp_path, 1)] == [["a"], ["b", "link"]]
