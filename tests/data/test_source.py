"""SOURCE texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.data.readers import READERS, read, resolve
from labelwise.data.source import Source, parse
from labelwise.errors import LabelwiseError


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("digits:", Source("digits", "")),
        ("csv:a b.csv?images=x/y&separator=;", Source("csv", "a b.csv", {"images": "x/y", "separator": ";"})),
        ("csv:a.csv?separator=%26", Source("csv", "a.csv", {"separator": "&"})),
        ("C:\\data\\labels.csv", Source("", "C:\\data\\labels.csv")),
        ("what?.csv", Source("", "what?.csv")),
        ("VOC:dir", Source("voc", "dir")),
        ("csv:who?a=b.csv", Source("csv", "who", {"a": "b.csv"})),
        ("csv:who%3Fa=b.csv", Source("csv", "who?a=b.csv")),
        ("csv:who%3fa=b.csv?images=x", Source("csv", "who?a=b.csv", {"images": "x"})),
        ("csv:50%25%3F %20.csv", Source("csv", "50%? %20.csv")),
    ],
)
def test_parse(text: str, parsed: Source) -> None:
    assert parse(text) == parsed


def test_text_of_a_source_reads_back() -> None:
    source = parse("voc:dir?difficult=negative").with_option("missing", "skip")
    assert str(source) == "voc:dir?difficult=negative&missing=skip"
    assert parse(str(source)) == source


@settings(max_examples=500, deadline=None)
@given(
    st.text(st.sampled_from("ab?=&%235Ff/, "), min_size=1).filter(str.strip),
    st.dictionaries(st.sampled_from(["a", "b_"]), st.text(st.sampled_from("a?=&%23F, ")), max_size=2),
)
def test_any_path_and_values_read_back(path: str, options: dict[str, str]) -> None:
    source = Source("csv", path, options)
    assert parse(str(source)) == source


def test_a_file_that_ends_like_an_option(tmp_path: Path, photo: Callable[..., Path]) -> None:
    photo(tmp_path / "a.jpg")
    (tmp_path / "who?a=b.csv").write_text("image,cat,dog\na.jpg,1,0\n")
    data = read(f"csv:{tmp_path}/who%3Fa=b.csv")
    assert len(data) == 1
    assert len(read(data.source)) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty SOURCE"),
        ("cvs:a.csv", "of kind 'cvs'; expected one of voc:, coco:"),
        (
            "csv:a.csv?column=x",
            "option 'column' in 'csv:a.csv\\?column=x'; expected one of: absent, blank, classes",
        ),
        ("csv:a.csv?images=x&images=y", "option 'images' twice"),
        ("nowhere/at/all", "'nowhere/at/all', which does not exist; expected a path, or one of voc:"),
        ("voc:dir?difficult=maybe", "does not exist|difficult='maybe'"),
        ("digits:here", "'digits:here' with a path"),
        ("digits:?train=many", "train='many'"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(LabelwiseError, match=message):
        read(text)


def test_a_folder_of_no_kind_is_refused_with_the_forms(tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match="a folder of no kind that is known") as caught:
        read(str(tmp_path))
    assert all(f"{kind}:" in str(caught.value) for kind in READERS)
    assert "\n" not in str(caught.value)


def test_files_are_recognised_by_content(tmp_path: Path) -> None:
    (tmp_path / "odd.name").write_bytes(b"PAR1....")
    (tmp_path / "other.name").write_text('{"images": [], "annotations": []}')
    assert resolve(str(tmp_path / "odd.name")).kind == "parquet"
    assert resolve(str(tmp_path / "other.name")).kind == "coco"
