"""PETA's attributes as a table with persons, read like the published files."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import labelwise as lw
from labelwise.data.readers.peta import NAMES
from labelwise.errors import LabelwiseError


def folder(root: Path, splits: list[str], persons: list[str]) -> np.ndarray:
    """Write a folder of small images with drawn attributes, columns in reverse order; return the attributes."""
    (root / "images" / "CUHK").mkdir(parents=True)
    values = (np.random.default_rng(0).random((len(splits), len(NAMES))) < 0.4).astype(int)
    values[:, :4] = np.eye(4, dtype=int)[np.arange(len(splits)) % 4]
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "split", "group", *NAMES[::-1]])
        for i, (split, person) in enumerate(zip(splits, persons, strict=True)):
            Image.new("RGB", (8, 16)).save(root / "images" / "CUHK" / f"{i}.png")
            writer.writerow([f"images/CUHK/{i}.png", split, person, *values[i, ::-1]])
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
