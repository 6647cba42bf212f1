"""The SOURCE that a writer names reads the data set back: every form, names with marks, splits without labels."""

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
"""What a form is written to; a folder where nothing is said."""
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
    """Arguments of `dataset`, in which one split may hold no positive, or one state fill all cells."""
    labels = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    rows = draw(st.integers(1, ROWS))
    cells = st.sampled_from(draw(st.sampled_from([STATES, [0.0, 1.0], [0.0]])))
    drawn = st.lists(cells, min_size=len(labels), max_size=len(labels))
    states = np.array(draw(st.lists(drawn, min_size=rows, max_size=rows)))
    if not draw(st.booleans()):
        return {"labels": labels, "states": states}
    of = np.array(draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows)), np.int16)
    silent = draw(st.integers(-1, 2))
    states[of == silent] = np.where(states[of == silent] == 1, 0, states[of == silent])
    return {"labels": labels, "states": states, "split_of": of, "split_names": SPLITS}


Rows = Mapping[bytes, tuple[str, Mapping[str, float]]]


def rows_of(data: Dataset) -> Rows:
    """By the content of its image the split of each row, and what is known of its labels."""
    found = {}
    for row in range(len(data)):
        cells = zip(data.labels, data.values[row].tolist(), data.known[row].tolist(), strict=True)
        code = -1 if data.split_of is None else int(data.split_of[row])
        states = {name: float(value) for name, value, known in cells if known}
        found[image_content(data, row)] = ([*data.split_names, ""][code], states)
    assert len(found) == len(data)
    return found


def held(data: Dataset, form: str) -> tuple[set[str], Rows]:
    """The labels and rows that are left of a data set in a form."""
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
        told = {i: {n: s for n, s in whole.get(i, {}).items() if n in labels} for i in rows}
        return labels, {i: (split, told[i]) for i, (split, _) in rows.items()}
    return labels, rows


@pytest.mark.parametrize("form", WRITERS)
@quick
@given(drawn=sets())
def test_the_named_source_reads_the_data_set_back(
    photos: Path, tmp_path_factory: pytest.TempPathFactory, form: str, drawn: dict[str, Any]
) -> None:
    data = dataset(photos, **drawn)
    out = tmp_path_factory.mktemp("out") / OUT.get(form, "out")
    try:
        written = convert(data, out, form)
    except LabelwiseError:
        assume(False)
    if written.source is None:
        assert form in ("coco", "labelstudio", "lightly")
        assert any("labelwise" in note for note in written.notes)
        return
    labels, rows = held(data, form)
    again = read(str(written.source))
    assert set(again.labels) == labels
    assert rows_of(again) == rows


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("name", ["a?b=c", "a,b", "50%3F"])
def test_a_folder_with_marks_in_its_name(photos: Path, tmp_path: Path, form: str, name: str) -> None:
    data = dataset(photos, ["dog", "cat"], [[1, 0], [0, 1], [0, 0]])
    (tmp_path / name).mkdir()
    written = convert(data, tmp_path / name / OUT.get(form, "out"), form)
    assert rows_of(read(str(written.source))) == held(data, form)[1]


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
    told = {"split_of": np.array([0, 1], np.int16), "split_names": ("train", "test")}
    known = convert(dataset(photos, ["dog", "cat"], [[1, 0], [0, 0]], **told), tmp_path / "known", "coco")
    assert known.source is not None
    assert any("list their absent labels in neg_category_ids" in note for note in known.notes)
    hidden = dataset(photos, ["dog", "cat"], [[1, 0], [np.nan, np.nan]], **told)
    unknown = convert(hidden, tmp_path / "unknown", "coco")
    assert unknown.source is None
    assert any(
        "Nothing is known in instances_test.json" in note and "coco:FILE" in note for note in unknown.notes
    )
