"""Keys of COCO images for verified labels, under other names than in LVIS."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labelwise.data import read
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]


def source(folder: Path, photo: Photo, more: dict[str, Any]) -> str:
    photo(folder / "1.jpg", seed=1)
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", **more}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1}],
    }
    (folder / "all.json").write_text(json.dumps(content))
    return f"coco:{folder / 'all.json'}"


@pytest.mark.parametrize(
    "more",
    [
        {"negative_category_ids": [2]},
        {"neg_categories": ["dog"]},
        {"neg_category_names": ["dog"]},
        {"negativeLabels": ["dog"]},
        {"exhaustive_ids": [1]},
        {"verified": {"dog": False}},
    ],
)
def test_verified_absences_of_other_names_are_refused(
    tmp_path: Path, photo: Photo, more: dict[str, Any]
) -> None:
    with pytest.raises(LabelwiseError, match=f"images with {next(iter(more))}, .*neg_category_ids"):
        read(source(tmp_path, photo, more))


def test_a_flag_of_review_is_not_an_absence(tmp_path: Path, photo: Photo) -> None:
    assert read(source(tmp_path, photo, {"verified": True, "negotiated": [1]})).known.all()
    data = read(source(tmp_path, photo, {"neg_category_ids": [], "not_exhaustive_category_ids": []}))
    assert data.known.tolist() == [[True, False]]
