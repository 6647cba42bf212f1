"""Where the images are that a table names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from labelwise.data.readers.locate import locate
from labelwise.data.source import Source

Photo = Callable[..., Path]


def test_a_file_that_one_row_names_stands_for_no_other_name(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "1.jpg")
    photo(tmp_path / "2.jpg")
    names = ["1.jpg", "s3://other/1.jpg", "s3://other/3.jpg", "s3://other/2.jpg"]
    notes: list[str] = []
    located, root = locate(names, Source("x", "x"), [tmp_path], notes)
    assert root == tmp_path
    assert located.to_pylist() == ["1.jpg", "s3://other/1.jpg", "s3://other/3.jpg", "2.jpg"]
    assert notes == ["1 images are found by the last parts of their path: s3://other/2.jpg is 2.jpg."]
