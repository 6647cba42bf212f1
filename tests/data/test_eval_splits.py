"""A split called eval is the test split alone, and the validation split where another one is called test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from labelwise.data import Dataset, read

Photo = Callable[..., Path]
TOGETHER = ("train", "eval", "test")


def photographs(folder: Path, photo: Photo, splits: tuple[str, ...]) -> None:
    for i, split in enumerate(splits):
        photo(folder / split / f"{split}.jpg", seed=i)


def coco(folder: Path, splits: tuple[str, ...]) -> Dataset:
    for i, split in enumerate(splits):
        content = {
            "images": [{"id": 1, "file_name": f"{split}.jpg"}],
            "categories": [{"id": j, "name": name} for j, name in enumerate(("cat", "dog"))],
            "annotations": [{"id": 1, "image_id": 1, "category_id": i % 2, "bbox": [1, 1, 9, 9]}],
        }
        (folder / f"instances_{split}.json").write_text(json.dumps(content))
    return read("coco:" + ",".join(f"{folder}/instances_{split}.json" for split in splits))


def json_lines(folder: Path, splits: tuple[str, ...]) -> Dataset:
    for i, split in enumerate(splits):
        row = {"image": f"{split}/{split}.jpg", "labels": [("cat", "dog")[i % 2]]}
        (folder / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    return read("jsonl:" + ",".join(f"{folder}/{split}.jsonl" for split in splits))


def tables(folder: Path, splits: tuple[str, ...]) -> Dataset:
    for i, split in enumerate(splits):
        (folder / f"{split}.csv").write_text(f"image,cat,dog\n{split}/{split}.jpg,{i % 2},{1 - i % 2}\n")
    return read("csv:" + ",".join(f"{folder}/{split}.csv" for split in splits))


def voc(folder: Path, splits: tuple[str, ...]) -> Dataset:
    for i, split in enumerate(splits):
        text = f"<annotation><object><name>{('cat', 'dog')[i % 2]}</name></object></annotation>"
        (folder / split / f"{split}.xml").write_text(text)
    return read(f"voc:{folder}")


def folders(folder: Path, splits: tuple[str, ...]) -> Dataset:
    for i, split in enumerate(splits):
        inner = folder / split / ("cat", "dog")[i % 2]
        inner.mkdir()
        (folder / split / f"{split}.jpg").rename(inner / f"{split}.jpg")
    return read(f"folder:{folder}")


@pytest.mark.parametrize("reader", [coco, json_lines, tables, voc, folders])
@pytest.mark.parametrize(
    ("splits", "names"),
    [
        (TOGETHER, {"train": "train", "eval": "val", "test": "test"}),
        (("train", "eval"), {"train": "train", "eval": "test"}),
        (("train", "val", "eval", "test"), {s: s for s in ("train", "val", "eval", "test")}),
    ],
)
def test_eval_beside_test_is_no_test_split(
    tmp_path: Path,
    photo: Photo,
    reader: Callable[[Path, tuple[str, ...]], Dataset],
    splits: tuple[str, ...],
    names: dict[str, str],
) -> None:
    photographs(tmp_path, photo, splits)
    data = reader(tmp_path, splits)
    assert data.split_of is not None
    stems = [Path(name).stem for name in data.images.to_pylist()]
    assert {stem: data.split_names[split] for stem, split in zip(stems, data.split_of, strict=True)} == names


def test_the_images_of_each_file_are_those_of_the_folder_of_its_name(tmp_path: Path, photo: Photo) -> None:
    for i, split in enumerate(TOGETHER):
        photo(tmp_path / split / "same.jpg", seed=i)
        content = {
            "images": [{"id": 1, "file_name": "same.jpg"}],
            "categories": [{"id": 1, "name": "cat"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}],
        }
        (tmp_path / f"instances_{split}.json").write_text(json.dumps(content))
    data = read("coco:" + ",".join(f"{tmp_path}/instances_{split}.json" for split in TOGETHER))
    assert [Path(name).parent.name for name in data.images.to_pylist()] == list(TOGETHER)
