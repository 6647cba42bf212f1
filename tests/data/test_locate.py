"""Locating the images of a table."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelwise.data import read
from labelwise.data.readers.locate import locate
from labelwise.data.readers.matching import matching
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]


def test_a_file_of_one_row_matches_no_other_name(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "1.jpg")
    photo(tmp_path / "2.jpg")
    names = ["1.jpg", "s3://other/1.jpg", "s3://other/3.jpg", "s3://other/2.jpg"]
    notes: list[str] = []
    located, root = locate(names, Source("x", "x"), [tmp_path], notes)
    assert root == tmp_path
    assert located.to_pylist() == ["1.jpg", "s3://other/1.jpg", "s3://other/3.jpg", "2.jpg"]
    assert notes == ["1 images are matched by the last parts of their path: s3://other/2.jpg is 2.jpg."]


PARTS = st.sampled_from(["a", "b", "1", "2", "1.jpg", "1.JPG", "2.png", "x.1", "1.jpg.png"])
FILE_NAMES = st.sampled_from(["1.jpg", "1.JPG", "2.png", "2.jpg", "x.1.jpg", "1.jpg.png"])
FOLDERS = st.sampled_from(["", "a/", "b/", "a/b/", "1/"])
STARTS = st.sampled_from(["", "s3://bucket/", "C:\\", "/x/", "https://host/f?d=", "s3://[b/"])


def slow_matching(names: list[str], files: list[str], named: set[str]) -> list[int]:
    """The rule in a plain loop over names."""
    first = [slow_place(name, files) for name in names]
    first = [-1 if place >= 0 and files[place] in named else place for place in first]
    fits = {place: {n for n, p in zip(names, first, strict=True) if p == place} for place in first}
    return [place if place >= 0 and len(fits[place]) == 1 else -1 for place in first]


def slow_place(name: str, files: list[str]) -> int:
    parts = [p for p in re.split(r"[/\\]", name.split("?d=")[-1].split("://")[-1]) if p not in ("", ".")]
    if not parts:
        return -1
    last = parts[-1]
    image = Path(last).suffix.lower() in (".jpg", ".png")
    exact = [i for i, f in enumerate(files) if last in (Path(f).name, Path(f).stem, Path(f).name.lower())]
    folded = [
        i for i, f in enumerate(files) if last.lower() in (Path(f).name, Path(f).stem, Path(f).name.lower())
    ]
    fits = exact or (folded if image else [])
    for depth in range(2, len(parts) + 1):
        ends = {i: Path(files[i]).parts if image else Path(files[i]).with_suffix("").parts for i in fits}
        deeper = [i for i in fits if list(ends[i][-depth:]) == parts[-depth:]]
        fits = (deeper or fits) if len(fits) > 1 else fits
    if image and not fits:
        stems = [i for i, f in enumerate(files) if Path(f).stem == Path(last).stem]
        return stems[0] if len(stems) == 1 else -1
    return fits[0] if len(fits) == 1 else -1


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.builds(str.__add__, FOLDERS, FILE_NAMES), max_size=6, unique=True),
    st.lists(
        st.builds(
            lambda start, parts: start + "/".join(parts), STARTS, st.lists(PARTS, min_size=1, max_size=3)
        ),
        max_size=6,
    ),
    st.sets(st.builds(str.__add__, FOLDERS, FILE_NAMES), max_size=2),
)
def test_matching_follows_the_rule_name_by_name(files: list[str], names: list[str], named: set[str]) -> None:
    matches = matching(pa.array(names, pa.string()), files, named)
    assert matches.tolist() == slow_matching(names, files, named)


def test_files_with_names_that_are_not_text_match_no_name() -> None:
    odd = os.fsdecode(b"\xff1.jpg")
    assert matching(pa.array(["1", "2"]), [odd, "2.jpg"]).tolist() == [-1, 1]


def test_names_without_suffix_and_names_of_another_disk(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "images" / "1.jpg")
    photo(tmp_path / "images" / "deep" / "2.jpg")
    notes: list[str] = []
    located, root = locate(["1", "gs://bucket/2.jpg?x=1"], Source("x", "x"), [tmp_path], notes)
    assert located.to_pylist() == ["images/1.jpg", "images/deep/2.jpg"]
    assert root == tmp_path
    assert notes == [
        "1 image names have no suffix and are files of that stem: 1 is images/1.jpg.",
        "1 images are matched by the last parts of their path: gs://bucket/2.jpg?x=1 is images/deep/2.jpg.",
    ]


def test_names_that_fit_files_in_two_folders_list_these(tmp_path: Path) -> None:
    for folder in ("photos", "copies/photos"):
        (tmp_path / folder).mkdir(parents=True)
        for name in ("a.jpg", "b.jpg"):
            Image.new("RGB", (4, 4)).save(tmp_path / folder / name)
    (tmp_path / "t.csv").write_text("image,dog,cat\na.jpg,1,0\nb.jpg,0,1\n")
    with pytest.raises(
        LabelwiseError, match=r"name the folder with images=DIR, since the first is in .*copies/photos.* and"
    ):
        read(f"csv:{tmp_path / 't.csv'}")
    assert len(read(f"csv:{tmp_path / 't.csv'}?images={tmp_path / 'photos'}")) == 2


def test_images_converted_to_another_format(tmp_path: Path) -> None:
    for name in ("a.png", "b.webp"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "t.csv").write_text("image,dog,cat\nold/a.jpg,1,0\nb.jpg,0,1\n")
    data = read(f"csv:{tmp_path / 't.csv'}")
    assert data.images.to_pylist() == ["a.png", "b.webp"]
    assert any(
        "2 images are files of that stem with another suffix: old/a.jpg is a.png" in n for n in data.notes
    )
    Image.new("RGB", (4, 4)).save(tmp_path / "a.bmp")  # two files may be meant
    with pytest.raises(LabelwiseError, match="1 of 2 image files missing"):
        read(f"csv:{tmp_path / 't.csv'}")
