"""PETA's attributes as a table with persons, read like the published files."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import labelwise as lw
from labelwise.data.check import check
from labelwise.data.readers.peta import NAMES
from labelwise.errors import LabelwiseError


def folder(root: Path, splits: list[str], persons: list[str], cameras: list[str] | None = None) -> np.ndarray:
    """Write a folder of small images with drawn attributes, columns in reverse order; return the attributes."""
    cameras = cameras or ["CUHK"] * len(splits)
    for camera in cameras:
        (root / "images" / camera).mkdir(parents=True, exist_ok=True)
    values = (np.random.default_rng(0).random((len(splits), len(NAMES))) < 0.4).astype(int)
    values[:, :4] = np.eye(4, dtype=int)[np.arange(len(splits)) % 4]
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "split", "group", *NAMES[::-1]])
        for i, (split, person, camera) in enumerate(zip(splits, persons, cameras, strict=True)):
            Image.new("RGB", (8, 16)).save(root / "images" / camera / f"{i}.png")
            writer.writerow([f"images/{camera}/{i}.png", split, person, *values[i, ::-1]])
    return values


def test_a_table_is_read_with_persons_groups_and_its_own_splits(tmp_path: Path) -> None:
    values = folder(tmp_path, ["train", "test", "train", "val"], ["a", "b", "a", "c"])
    data = lw.read(f"peta:{tmp_path}")
    assert data.labels.names == NAMES
    assert np.array_equal(data.values, values)
    assert [data.image_id(i) for i in range(4)] == [f"images/CUHK/{i}.png" for i in range(4)]
    assert data.splits() == {"train": 2, "val": 1, "test": 1}
    assert data.group is not None
    assert len(np.unique(data.group)) == 3
    assert data.group[0] == data.group[2]
    assert data.labels.groups["age"].exclusive
    assert set(data.labels.groups["feet"].labels) == {
        "footwearLeatherShoes",
        "footwearSandals",
        "footwearShoes",
        "footwearSneaker",
    }
    assert any("not a published partition" in note for note in data.notes)
    assert len(data[0].image) == 3
    by_region = lw.read(f"peta:{tmp_path}?order=reference")
    assert by_region.labels.names[0] == "accessoryHat"


def test_a_person_in_two_splits_is_refused(tmp_path: Path) -> None:
    folder(tmp_path, ["train", "test", "test", "val"], ["a", "b", "a", "c"])
    with pytest.raises(
        LabelwiseError, match=r"persons in two splits, 1 of them, such as that of images/CUHK/0\.png"
    ):
        lw.read(f"peta:{tmp_path}")
    assert len(lw.read(f"csv:{tmp_path}/labels.csv")) == 4


def test_a_subset_left_out_is_in_no_training_image_and_is_the_whole_test(tmp_path: Path) -> None:
    splits = ["train", "val", "test", "train", "val", "test", "test"]
    folder(tmp_path, splits, list("abcdefg"), ["CUHK"] * 3 + ["GRID"] * 3 + ["CUHK"])
    data = lw.read(f"peta:{tmp_path}?leave_out=GRID")
    of_split = {name: data.split(name).images.to_pylist() for name in ("train", "val", "test")}
    assert of_split == {
        "train": ["images/CUHK/0.png"],
        "val": ["images/CUHK/1.png"],
        "test": ["images/GRID/5.png"],
    }
    assert any(note.startswith("Without GRID: ") for note in data.notes)
    assert lw.read(f"peta:{tmp_path}").splits()["test"] == 3
    with pytest.raises(
        LabelwiseError,
        match=r"leave_out=grid in .*; expected one of several subsets with test images: CUHK, GRID; ",
    ):
        lw.read(f"peta:{tmp_path}?leave_out=grid")


def test_only_a_subset_among_others_is_left_out(tmp_path: Path) -> None:
    folder(tmp_path, ["train", "test"], ["a", "b"])
    with pytest.raises(LabelwiseError, match=r"leave_out=CUHK in .*; expected one of several subsets"):
        lw.read(f"peta:{tmp_path}?leave_out=CUHK")


def test_doubtful_attributes_and_images_are_named_and_reading_goes_on(tmp_path: Path) -> None:
    folder(tmp_path, ["train", "train", "val", "test"], list("abcd"))
    table = tmp_path / "labels.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    male, young, older = (
        rows[0].index(name) for name in ("personalMale", "personalLess30", "personalLess45")
    )
    for row in rows[1:]:
        row[male] = "1"
    rows[2][young] = rows[2][older] = "1"
    table.write_text("\n".join(",".join(row) for row in rows))
    report = check(f"peta:{tmp_path}", near=False)
    (clash,) = (note for note in report.notes if "several of age" in note)
    assert clash == (
        "1 images have several of age, such as images/CUHK/1.png: these labels are not treated as exclusive."
    )
    assert not lw.read(f"peta:{tmp_path}").labels.groups["age"].exclusive
    assert any("personalMale" in line and "no known negative" in line for line in report.doubts)
    (small,) = (line for line in report.doubts if "under 16 px" in line)
    assert small.startswith("4 of 4 images have a side under 16 px, such as images/CUHK/0.png (8 x 16): ")
    assert report.problems == [] or all("copies" in line or "no positive" in line for line in report.problems)


def test_all_attributes_are_read_from_the_table_beside_in_any_order_of_images(tmp_path: Path) -> None:
    folder(tmp_path, ["train", "test", "train", "val"], list("abac"))
    names = ("hairGreen", "upperBodyPink", "personalLess15", "personalLess30", "footwearBoots")
    states = [[1, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 1, 0, 1, 1], [0, 1, 1, 0, 0]]
    with (tmp_path / "labels_all106.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *names])
        writer.writerow(["images/GRID/9.png", 1, 1, 0, 0, 1])
        for i in (2, 0, 3, 1):
            writer.writerow([f"images/CUHK/{i}.png", *states[i]])
    data = lw.read(f"peta:{tmp_path}?attributes=all")
    assert data.labels.names == names
    assert data.values.tolist() == states
    assert data.splits() == {"train": 2, "val": 1, "test": 1}
    assert data.group is not None
    assert data.group[0] == data.group[2]
    groups = {name: group.labels for name, group in data.labels.groups.items()}
    assert groups == {
        "head": ("hairGreen",),
        "upper body": ("upperBodyPink",),
        "feet": ("footwearBoots",),
        "person": ("personalLess15", "personalLess30"),
        "age": ("personalLess15", "personalLess30"),
    }
    assert data.labels.groups["age"].exclusive
    assert lw.read(f"peta:{tmp_path}?attributes=evaluated").labels.names == NAMES


def test_all_attributes_are_refused_without_their_table_or_a_row_of_it(tmp_path: Path) -> None:
    folder(tmp_path, ["train", "test"], ["a", "b"])
    with pytest.raises(LabelwiseError, match=r"attributes=all without .*labels_all106\.csv; "):
        lw.read(f"peta:{tmp_path}?attributes=all")
    (tmp_path / "labels_all106.csv").write_text("image,hairGreen\nimages/CUHK/0.png,1\n")
    with pytest.raises(
        LabelwiseError, match=r"without 1 images of labels\.csv, such as images/CUHK/1\.png; "
    ):
        lw.read(f"peta:{tmp_path}?attributes=all")


def test_images_that_lack_are_left_out_where_asked(tmp_path: Path) -> None:
    folder(tmp_path, ["train", "test", "val"], ["a", "b", "c"])
    (tmp_path / "images" / "CUHK" / "1.png").unlink()
    with pytest.raises(LabelwiseError, match=r"1 of 3 image files missing .*missing=skip"):
        lw.read(f"peta:{tmp_path}")
    assert lw.read(f"peta:{tmp_path}?missing=skip").splits() == {"train": 1, "val": 1, "test": 0}


def test_options_of_published_partitions_are_refused(tmp_path: Path) -> None:
    folder(tmp_path, ["train", "test"], ["a", "b"])
    with pytest.raises(LabelwiseError, match=r"split=zs for .*labels\.csv; expected the splits of the table"):
        lw.read(f"peta:{tmp_path}?split=zs")
    table = tmp_path / "labels.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    table.write_text("\n".join(",".join(row[:1] + row[2:]) for row in rows))
    with pytest.raises(LabelwiseError, match=r"labels\.csv without splits; expected a column split"):
        lw.read(f"peta:{tmp_path}")


def test_the_photographs_are_read() -> None:
    root = Path(__file__).resolve().parents[4] / "shared" / "data" / "peta"
    if not root.is_dir():
        pytest.skip("no photographs of PETA in ../shared/data/peta")
    data, table = lw.read(f"peta:{root}"), lw.read(f"csv:{root}/labels.csv")
    assert data.splits() == {"train": 11_091, "val": 3_613, "test": 3_619}
    assert np.array_equal(data.values, table.values)
    every = lw.read(f"peta:{root}?attributes=all")
    assert (len(every.labels), every.splits()) == (106, data.splits())
    shared = sorted(set(data.labels.names) & set(every.labels.names))
    assert len(shared) == 34  # one is written in another way
    columns = [[rows.labels.names.index(name) for name in shared] for rows in (data, every)]
    assert np.array_equal(data.values[:, columns[0]], every.values[:, columns[1]])
