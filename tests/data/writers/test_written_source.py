"""The SOURCE of a writer reads the data set back: every form, names with punctuation, splits without labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from labelwise.data import Dataset, read
from labelwise.data.table import image_content
from labelwise.data.writers import WRITERS, convert
from labelwise.errors import LabelwiseError
from written_sets import ROWS, STATES, dataset

OUT = {"csv": "out.csv", "parquet": "out.parquet", "lightly": "out.csv"}
"""Name of the written file of a form; a folder for other forms."""
WORDS = st.sampled_from(
    [
        "dog",
        "cat",
        "Bär",
        "no_finding",
        "nan",
        "1",
        "0",
        "yes",
        "2.0",
        "[a]",
        "'x'",
        "?a=b",
        "cat.jpg",
        "train",
    ]
)
MARKS = st.sampled_from([",", ";", "|", " ", '"', "'", "#", "/", "\t", ":", "&", ", ", "%3F"])
NAMES = st.one_of(WORDS, st.builds(lambda a, mark, b: f"{a}{mark}{b}", WORDS, MARKS, WORDS))
SPLITS = ("train", "val", "test")
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def sets(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of `dataset`; a split may have no positive, or all cells one state."""
    labels = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    rows = draw(st.integers(1, ROWS))
    cells = st.sampled_from(draw(st.sampled_from([STATES, [0.0, 1.0], [0.0]])))
    row = st.lists(cells, min_size=len(labels), max_size=len(labels))
    states = np.array(draw(st.lists(row, min_size=rows, max_size=rows)))
    if not draw(st.booleans()):
        return {"labels": labels, "states": states}
    of = np.array(draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows)), np.int16)
    empty = draw(st.integers(-1, 2))
    states[of == empty] = np.where(states[of == empty] == 1, 0, states[of == empty])
    return {"labels": labels, "states": states, "split_of": of, "split_names": SPLITS}


Rows = Mapping[bytes, tuple[str, Mapping[str, float]]]


def rows_of(data: Dataset) -> Rows:
    """Content of the image -> split of the row, and its known labels."""
    rows = {}
    for row in range(len(data)):
        cells = zip(data.labels, data.values[row].tolist(), data.known[row].tolist(), strict=True)
        code = -1 if data.split_of is None else int(data.split_of[row])
        states = {name: float(value) for name, value, known in cells if known}
        rows[image_content(data, row)] = ([*data.split_names, ""][code], states)
    assert len(rows) == len(data)
    return rows


def representable(data: Dataset, form: str) -> tuple[set[str], Rows]:
    """The labels and rows of a data set that a form can represent."""
    labels, rows = set(data.labels), rows_of(data)
    if form == "datasets":
        return labels, {image: (split or "train", states) for image, (split, states) in rows.items()}
    if form == "lightly":
        present = {image: {n for n, s in states.items() if s} for image, (_, states) in rows.items()}
        labels = set().union(*present.values())
        return labels, {i: ("", {n: float(n in names) for n in labels}) for i, names in present.items()}
    if form == "labelstudio":
        whole = {i: states for i, (_, states) in rows.items() if len(states) == len(data.labels)}
        labels = {name for states in whole.values() for name, state in states.items() if state}
        states_of = {i: {n: s for n, s in whole.get(i, {}).items() if n in labels} for i in rows}
        return labels, {i: (split, states_of[i]) for i, (split, _) in rows.items()}
    return labels, rows


@pytest.mark.parametrize("form", WRITERS)
@quick
@given(arguments=sets())
def test_the_named_source_reads_the_data_set_back(
    photos: Path, tmp_path_factory: pytest.TempPathFactory, form: str, arguments: dict[str, Any]
) -> None:
    data = dataset(photos, **arguments)
    out = tmp_path_factory.mktemp("out") / OUT.get(form, "out")
    try:
        written = convert(data, out, form)
    except LabelwiseError:
        assume(False)
    if written.source is None:
        assert form in ("coco", "labelstudio", "lightly")
        assert any("labelwise" in note for note in written.notes)
        return
    labels, rows = representable(data, form)
    again = read(str(written.source))
    assert set(again.labels) == labels
    assert rows_of(again) == rows


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("name", ["a?b=c", "a,b", "50%3F"])
def test_a_folder_with_punctuation_in_its_name(photos: Path, tmp_path: Path, form: str, name: str) -> None:
    data = dataset(photos, ["dog", "cat"], [[1, 0], [0, 1], [0, 0]])
    (tmp_path / name).mkdir()
    written = convert(data, tmp_path / name / OUT.get(form, "out"), form)
    assert rows_of(read(str(written.source))) == representable(data, form)[1]


def test_how_a_csv_of_names_is_read_back(photos: Path, tmp_path: Path) -> None:
    def named(*labels: str, states: Any, out: str) -> dict[str, Any]:
        written = convert(dataset(photos, labels, states), tmp_path / out, "lightly")
        return dict(written.source.options) if written.source else {}

    assert named("a|b", "c d", states=[[1, 1], [1, 0]], out="1.csv") == {"separator": ","}
    assert named("a|b", "c d", states=[[0, 1], [1, 0]], out="2.csv") == {"separator": ""}
    assert named("no finding", "dog", states=[[0, 1], [1, 0]], out="3.csv") == {"separator": "", "none": ""}


@pytest.mark.parametrize("labels", [["nan"], ["yes"], ["1.0", "2.0"]])
def test_a_csv_of_names_that_are_no_names_to_a_reader(
    photos: Path, tmp_path: Path, labels: list[str]
) -> None:
    written = convert(dataset(photos, labels, np.eye(len(labels))), tmp_path / "t.csv", "lightly")
    assert written.source is None
    assert any("labelwise does not read the file back" in note for note in written.notes)


def test_a_split_without_a_positive(photos: Path, tmp_path: Path) -> None:
    splits = {"split_of": np.array([0, 1], np.int16), "split_names": ("train", "test")}
    known = convert(dataset(photos, ["dog", "cat"], [[1, 0], [0, 0]], **splits), tmp_path / "known", "coco")
    assert known.source is not None
    assert any("list their absent labels in neg_category_ids" in note for note in known.notes)
    hidden = dataset(photos, ["dog", "cat"], [[1, 0], [np.nan, np.nan]], **splits)
    unknown = convert(hidden, tmp_path / "unknown", "coco")
    assert unknown.source is None
    assert any(
        "No label is known in instances_test.json" in note and "coco:FILE" in note for note in unknown.notes
    )


def test_declared_names_that_look_like_states_are_names(photos: Path, tmp_path: Path) -> None:
    """Lists of the class labels `nan` and `1` are lists of names, for the file lists the names itself."""
    data = dataset(photos, ["nan", "1", "dog"], [[1, 1, 0], [0, 1, 0], [1, 0, 0]])
    written = convert(data, tmp_path / "out", "datasets")
    again = read(str(written.source))
    assert set(again.labels) == {"nan", "1", "dog"}
    assert rows_of(again) == representable(data, "datasets")[1]
