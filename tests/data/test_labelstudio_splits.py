"""Splits and groups in tasks of Label Studio, and images without a choice."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labelwise.data import Dataset, read

Photo = Callable[..., Path]


def tasks(folder: Path, photo: Photo, fields: list[dict[str, Any]], empty: int = 0) -> Dataset:
    content = []
    for number, more in enumerate(fields):
        photo(folder / f"{number}.jpg", seed=number)
        choices = [["cat"], ["dog"]][number % 2]
        result = [{"from_name": "what", "to_name": "image", "type": "choices", "value": {"choices": choices}}]
        answers = [{"id": number, "result": result if number >= empty else []}]
        content.append({"id": number, "data": {"image": f"{number}.jpg", **more}, "annotations": answers})
    (folder / "export.json").write_text(json.dumps(content))
    return read(f"labelstudio:{folder / 'export.json'}")


def test_a_key_split_and_a_key_group(tmp_path: Path, photo: Photo) -> None:
    fields = [{"split": "train", "group": 4}, {"split": "validation", "group": 9}, {"group": 4}, {}]
    data = tasks(tmp_path, photo, fields)
    assert data.split_names == ("train", "val")
    assert data.split_of is not None
    assert data.split_of.tolist() == [0, 1, -1, -1]
    assert data.group is not None
    first, second, third, last = data.group.tolist()
    assert first == third
    assert len({first, second, last}) == 3
    notes = " ".join(data.notes)
    assert "The key 'split' of the tasks holds names of splits, and is read as the split." in notes
    assert "The key 'group' of the tasks" in notes


def test_other_values_in_a_key_split(tmp_path: Path, photo: Photo) -> None:
    data = tasks(tmp_path, photo, [{"split": "north"}, {"split": "train"}])
    assert data.split_of is None
    assert any("it was left out" in note for note in data.notes)


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_splits_in_rows(tmp_path: Path, photo: Photo, suffix: str) -> None:
    rows = []
    for number, (split, choice) in enumerate([("train", "cat"), ("test", "dog")]):
        photo(tmp_path / f"{number}.jpg", seed=number)
        row = {"image": f"{number}.jpg", "split": split, "what": choice, "annotation_id": number}
        rows.append({**row, **dict.fromkeys(("annotator", "created_at", "lead_time", "updated_at"), 1)})
    file = tmp_path / f"export.{suffix}"
    with file.open("w", newline="") as opened:
        if suffix == "json":
            json.dump(rows, opened)
        else:
            writer = csv.DictWriter(opened, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    data = read(f"labelstudio:{file}")
    assert data.labels.names == ("cat", "dog")
    assert data.split_names == ("train", "test")


def test_images_without_a_choice_are_counted_once(tmp_path: Path, photo: Photo) -> None:
    data = tasks(tmp_path, photo, [{}] * 4, empty=2)
    counted = [note for note in data.notes if note.startswith("2 ")]
    assert len(counted) == 1
    assert "submitted without a choice" in counted[0]
