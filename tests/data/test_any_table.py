"""Tables in any spelling, with metadata between the labels: read correctly, noted, or refused; never silently wrong."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from labelwise.data import Dataset, read
from labelwise.errors import LabelwiseError

ROWS = 8


class Spelling(NamedTuple):
    """Texts for a label that is present, absent and unknown."""

    present: str
    absent: str
    unknown: str


SPELLINGS = [
    Spelling("1", "0", ""),
    Spelling("1.0", "0.0", "nan"),
    Spelling("1", "0", "NA"),
    Spelling("TRUE", "FALSE", ""),
    Spelling("True", "False", "None"),
    Spelling("yes", "no", ""),
    Spelling("Y", "N", ""),
    Spelling("1", "-1", ""),
    Spelling("1.0", "0.0", "-1.0"),
    Spelling("1", "-1", "0"),
    Spelling("2", "1", ""),
    Spelling("2", "1", "0"),
    Spelling("1", "0", "2"),
    Spelling("x", "", ""),
    Spelling("1", "", ""),
    Spelling("1", "0", "?"),
    Spelling("1", "0", "unclear"),
    Spelling("ja", "nein", ""),
    Spelling("present", "absent", "unsure"),
    Spelling("100", "0", ""),
    Spelling("1,0", "0,0", ""),
]
METADATA = {
    "id": [str(i) for i in range(ROWS)],
    "flag": ["0", "1"] * 4,
    "author": ["ann", "bob"] * 4,
    "date": [f"2024-05-0{i + 1}" for i in range(ROWS)],
    "width": ["640"] * ROWS,
    "confidence": ["0.9", "0.5", "1.0", "0.25"] * 2,
    "fold": ["0", "1"] * 4,
    "notes": [""] * ROWS,
    "remark": ["fine", "", "blurred, dark", "", "", "", "", ""],
    "sex": ["M", "F"] * 4,
}
SUSPECT = {"id", "confidence", "fold", "notes", "width"}

states = st.sampled_from(["present", "absent", "unknown"])
column = st.lists(states, min_size=ROWS - 2, max_size=ROWS - 2).map(lambda some: ["present", "absent", *some])


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, list[str]], dict[str, list[str]], dict[str, Spelling], str]:
    """The true states of each label, all columns as written, the spelling of each label, and the delimiter."""
    labels = [f"label{i}" for i in range(draw(st.integers(1, 4)))]
    one = draw(st.booleans())
    first = draw(st.sampled_from(SPELLINGS))
    spelled = {name: first if one else draw(st.sampled_from(SPELLINGS)) for name in labels}
    truth = {name: draw(column) for name in labels}
    columns = {name: [getattr(spelled[name], state) for state in truth[name]] for name in labels}
    extra = draw(st.lists(st.sampled_from(sorted(METADATA)), max_size=4, unique=True))
    columns |= {name: METADATA[name] for name in extra}
    order = draw(st.permutations(sorted(columns)))
    return truth, {name: columns[name] for name in order}, spelled, draw(st.sampled_from(",;\t|"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("any")
    for i in range(ROWS):
        Image.new("RGB", (8, 8), (i * 20, 0, 0)).save(folder / f"{i}.jpg")
    return folder


def written(columns: dict[str, list[str]], delimiter: str) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter)
    writer.writerow(["image", *columns])
    writer.writerows([f"{i}.jpg", *(cells[i] for cells in columns.values())] for i in range(ROWS))
    return stream.getvalue()


def read_or_refused(source: str) -> Dataset | LabelwiseError:
    try:
        return read(source)
    except LabelwiseError as error:
        return error


def state(data: Dataset, row: int, label: int) -> str:
    if not data.known[row, label]:
        return "unknown"
    return "present" if data.values[row, label] >= 0.5 else "absent"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables())
def test_no_silently_wrong_matrix(folder: Path, sample: tuple) -> None:
    truth, columns, spelled, delimiter = sample
    (folder / "t.csv").write_text(written(columns, delimiter), encoding="utf-8", newline="")
    data = read_or_refused(f"csv:{folder / 't.csv'}")
    if isinstance(data, LabelwiseError):
        assert data.todo
        assert "\n" not in str(data)
        return
    notes = " ".join(data.notes)
    for j, name in enumerate(data.labels):
        if name in METADATA:
            assert name in notes or name == "flag", f"{name} became a label without a note"
            continue
        read_as = [state(data, i, j) for i in range(ROWS)]
        if read_as != truth[name]:
            spelling = spelled[name]
            about = {"-1": "-1 is read as", "-1.0": "-1 is read as"}
            hints = {name, "No label has a known negative"} | {about[t] for t in spelling if t in about}
            assert any(hint in notes for hint in hints), f"{name} spelled {spelling} is read as {read_as}"
    lost = set(truth) - set(data.labels)
    assert not lost, f"{lost} left out"
