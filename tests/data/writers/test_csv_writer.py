"""CSV files: read back by our own reader, by pandas and polars, and what cannot be written."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelwise.data import Dataset, read
from labelwise.data.writers import convert
from labelwise.data.writers.csv import refuse_labels
from labelwise.errors import LabelwiseError
from written_sets import ODD_NAMES, STATES, dataset, matrices, same, same_groups

cells = st.one_of(st.sampled_from(STATES), st.floats(0, 1, width=32))
plain_names = st.sampled_from(["dog", "cat", "person", "tall, cat"])
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refusal(data: Dataset) -> LabelwiseError | None:
    try:
        refuse_labels(data)
    except LabelwiseError as error:
        return error
    return None


@quick
@given(matrices(st.one_of(plain_names, st.sampled_from(ODD_NAMES), st.text("aZ1 ,;\"|\r\t\n'é-", min_size=1)
                          .filter(str.strip)), cells, ("train", "val", "test")))  # fmt: skip
def test_a_file_reads_back_the_same_or_is_refused(
    photos: Path, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    data = dataset(photos, **arguments)
    out = tmp_path / "t.csv"
    refused = refusal(data)
    if refused:
        assert refused.given.startswith("label ")
        with pytest.raises(LabelwiseError):
            convert(data, out, replaced=True)
        return
    written = convert(data, out, replaced=True)
    again = read(str(written.source))
    same(data, again)
    same_groups(data, again)


@quick
@given(matrices(plain_names, st.sampled_from(STATES), ("train", "val", "test")))
def test_plain_labels_are_never_refused(photos: Path, tmp_path: Path, arguments: dict[str, Any]) -> None:
    data = dataset(photos, **arguments)
    same(data, read(str(convert(data, tmp_path / "t.csv", replaced=True).source)))


@pytest.mark.parametrize("state", [1.0, 0.0, np.nan, 0.25])
def test_a_single_state_keeps_its_meaning(photos: Path, tmp_path: Path, state: float) -> None:
    for others in (state, np.nan):
        data = dataset(photos, ["dog", "cat"], [[state, others], [others, state]])
        same(data, read(str(convert(data, tmp_path / "t.csv", replaced=True).source)))


def test_the_text_of_the_file(small: Dataset, photos: Path) -> None:
    written = convert(small, photos / "labels.csv", replaced=True)
    assert (photos / "labels.csv").read_text() == (
        'image,split,group,dog,"tall, cat",person\n'
        "a/0.jpg,train,7,1,0,1\n"
        "a/1.jpg,train,7,0,1,0\n"
        "a/2.jpg,val,8,,1,0\n"
        "a/3.jpg,val,9,0,0,0\n"
    )
    assert written.notes == ("Boxes are left out of the CSV.",)
    (photos / "labels.csv").unlink()


def test_images_elsewhere_are_absolute(small: Dataset, photos: Path, tmp_path: Path) -> None:
    convert(small, tmp_path / "t.csv")
    with open(tmp_path / "t.csv", newline="") as stream:
        assert [row["image"] for row in csv.DictReader(stream)] == [
            str(photos / f"a/{i}.jpg") for i in range(4)
        ]


def test_copies_move_with_the_file(small: Dataset, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    convert(small, tmp_path / "one" / "t.csv", images="copy")
    shutil.move(tmp_path / "one", tmp_path / "two")
    again = read(f"csv:{tmp_path / 'two' / 't.csv'}")
    np.testing.assert_array_equal(again.values, small.values)
    for row in range(4):
        assert Path(again.encoded(row)).read_bytes() == Path(small.encoded(row)).read_bytes()  # type: ignore[arg-type]


def test_embedded_images_need_copies(small: Dataset, tmp_path: Path) -> None:
    content = [Path(small.encoded(row)).read_bytes() for row in range(4)]  # type: ignore[arg-type]
    inside = replace(small, images=pa.array(content, pa.large_binary()), root=None)
    with pytest.raises(LabelwiseError, match=r"images inside the data set; .*add --images copy"):
        convert(inside, tmp_path / "t.csv")
    assert list(tmp_path.iterdir()) == []
    convert(inside, tmp_path / "t.csv", images="copy")
    again = read(f"csv:{tmp_path / 't.csv'}")
    assert [Path(again.encoded(row)).read_bytes() for row in range(4)] == content  # type: ignore[arg-type]
    assert again.images.to_pylist()[0] == "t-images/00000000.jpg"


def test_nothing_is_left_of_a_failed_copy(small: Dataset, photos: Path, tmp_path: Path) -> None:
    lost = replace(small, images=pa.array(["a/0.jpg", "a/1.jpg", "a/gone.jpg", "a/3.jpg"]))
    with pytest.raises(LabelwiseError, match=r"image a/gone\.jpg: No such file"):
        convert(lost, tmp_path / "t.csv", images="copy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (" dog", "blanks around"),
        ("image", "another column"),
        ("group", "splits or groups"),
        ("Split", "splits or groups"),
        ("subset", "splits or groups"),
        ("is_valid", "marks a split"),
        ("cat.jpg", "an image file"),
        ("two\nlines", "line break"),
    ],
)
def test_labels_that_cannot_be_columns(photos: Path, tmp_path: Path, label: str, reason: str) -> None:
    with pytest.raises(LabelwiseError, match=f"{reason}.*write .parquet"):
        convert(dataset(photos, [label], [[1], [0]]), tmp_path / "t.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_label_with_the_name_of_a_role_is_written_beside_its_column(small: Dataset, tmp_path: Path) -> None:
    data = replace(small, labels=type(small.labels)(("Split", "subset", "Group")))
    same(data, read(str(convert(data, tmp_path / "t.csv").source)))


def test_splits_of_other_names_are_noted(small: Dataset, tmp_path: Path) -> None:
    data = replace(small, split_names=("train", "validation", "empty"))
    written = convert(data, tmp_path / "t.csv")
    assert "Splits without images are left out: empty." in written.notes
    assert "The split 'validation' is read back as 'val'." in written.notes
    assert read(str(written.source)).splits() == {"train": 2, "val": 2}


def test_an_image_in_two_rows_is_refused(photos: Path, tmp_path: Path) -> None:
    data = dataset(photos, ["dog"], [[1], [0]])
    with pytest.raises(LabelwiseError, match=r"1 images in several rows: .*0\.jpg"):
        convert(replace(data, images=pa.array(["a/0.jpg", "a/../a/0.jpg"])), tmp_path / "t.csv")


def test_pandas_and_polars_read_the_states(photos: Path, tmp_path: Path) -> None:
    data = dataset(photos, ["dog", "tall, cat"], [[1, np.nan], [0, 0.5], [np.nan, 1]])
    convert(data, tmp_path / "t.csv")
    expected = np.where(data.known, data.values, np.nan)
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.read_csv(tmp_path / "t.csv")
    np.testing.assert_array_equal(frame[["dog", "tall, cat"]].to_numpy(), expected)
    assert frame["image"].tolist() == [str(data.encoded(row)) for row in range(3)]
    polars = pytest.importorskip("polars", reason="polars is not installed")
    table = polars.read_csv(tmp_path / "t.csv").select("dog", "tall, cat").cast(polars.Float32)
    np.testing.assert_array_equal(table.to_numpy(), expected)


def test_image_names_with_marks(photos: Path, tmp_path: Path) -> None:
    names = ["a,b.jpg", 'q"q.jpg', "two\nlines.jpg", "semi;colon|bar.jpg", "ä é.jpg"]
    for name in names:
        shutil.copyfile(photos / "a" / "0.jpg", tmp_path / name)
    data = dataset(tmp_path, ["dog"], [[1], [0], [np.nan], [1], [0]])
    data = replace(data, images=pa.array(names))
    same(data, read(str(convert(data, tmp_path / "t.csv").source)))
    with pytest.raises(LabelwiseError, match="blanks around its name"):
        convert(replace(data, images=pa.array([*names[:4], " a.jpg"])), tmp_path / "u.csv")


def test_shares_and_unknowns_become_hard_on_request(photos: Path, tmp_path: Path) -> None:
    data = dataset(photos, ["dog", "cat"], [[1, np.nan], [0.5, 0.25]])
    written = convert(data, tmp_path / "t.csv", threshold=0.5, unknown="negative")
    assert (tmp_path / "t.csv").read_text().splitlines()[1:] == [
        f"{photos}/a/0.jpg,1,0",
        f"{photos}/a/1.jpg,1,0",
    ]
    assert written.notes == (
        "2 shares became present from 0.5 on, and absent below.",
        "1 unknown labels are written as absent.",
    )
    hard = dataset(photos, ["dog"], [[1], [0]])
    with pytest.raises(LabelwiseError, match=r"--threshold 0\.5 for labels without shares"):
        convert(hard, tmp_path / "u.csv", threshold=0.5)
    with pytest.raises(LabelwiseError, match="--unknown negative for labels that are all known"):
        convert(hard, tmp_path / "u.csv", unknown="negative")


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("t", {}, "a name that implies no form; .*add --form"),
        ("t.tsv", {"form": "csv"}, "a file name in .csv"),
        ("t.csv", {"form": "xml"}, "form 'xml'; expected one of csv, parquet"),
        ("t.csv", {"images": "embed"}, "--images embed for the form csv; expected paths or copy"),
        ("t.csv", {"url_prefix": "x"}, "--url-prefix for the form csv"),
        ("t.csv", {"predictions": "x"}, "--predictions for the form csv"),
        ("no/t.csv", {}, "a folder that does not exist"),
        ("there.csv", {}, "which exists; expected a new file; .*--replace"),
    ],
)
def test_options_that_do_not_fit(
    small: Dataset, tmp_path: Path, name: str, options: dict[str, Any], match: str
) -> None:
    (tmp_path / "there.csv").write_text("mine")
    with pytest.raises(LabelwiseError, match=match):
        convert(small, tmp_path / name, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_a_table_without_rows_is_refused(small: Dataset, tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match="without images"):
        convert(small.take([]), tmp_path / "t.csv")
