"""Names of labels with a likely other meaning, or on a single image each: every reader notes them alike."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from labelwise.data import Dataset, read
from labelwise.data.readers.label_counts import MOST_CELLS, refuse_huge
from labelwise.data.table import write_table
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
NAMES = ("Car", "car", "todo", "background", "tree")


def _csv(folder: Path, names: Sequence[str]) -> str:
    (folder / "t.csv").write_text("image;labels\n" + "".join(f"{i}.jpg;{n}\n" for i, n in enumerate(names)))
    return f"csv:{folder / 't.csv'}"


def _states(folder: Path, names: Sequence[str]) -> str:
    rows = "".join(
        f"{i}.jpg," + ",".join(str(int(i == j)) for j in range(len(names))) + "\n" for i in range(5)
    )
    (folder / "t.csv").write_text(f"image,{','.join(names)}\n{rows}")
    return f"csv:{folder / 't.csv'}"


def _jsonl(folder: Path, names: Sequence[str]) -> str:
    lines = [json.dumps({"image": f"{i}.jpg", "labels": [name]}) for i, name in enumerate(names)]
    (folder / "t.jsonl").write_text("\n".join(lines))
    return f"jsonl:{folder / 't.jsonl'}"


def _coco(folder: Path, names: Sequence[str]) -> str:
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 48, "height": 32} for i in range(len(names))],
        "annotations": [
            {"id": i, "image_id": i, "category_id": i, "bbox": [1, 1, 5, 5]} for i in range(len(names))
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
    }
    (folder / "t.json").write_text(json.dumps(content))
    return f"coco:{folder / 't.json'}"


def _vertex(folder: Path, names: Sequence[str]) -> str:
    (folder / "v.csv").write_text("".join(f"gs://b/{i}.jpg,{name}\n" for i, name in enumerate(names)))
    return f"vertex:{folder / 'v.csv'}"


def _tags(folder: Path, names: Sequence[str]) -> str:
    for i, name in enumerate(names):
        (folder / f"{i}.txt").write_text(name)
    return f"tags:{folder}"


def _folder(folder: Path, names: Sequence[str]) -> str:
    for i, name in enumerate(names):
        (folder / "all" / name).mkdir(parents=True)
        (folder / f"{i}.jpg").rename(folder / "all" / name / f"{i}.jpg")
    return f"folder:{folder / 'all'}"


FORMS = (_csv, _states, _jsonl, _coco, _vertex, _tags, _folder)


@pytest.fixture
def folder(tmp_path: Path, photo: Photo) -> Path:
    for i in range(len(NAMES)):
        photo(tmp_path / f"{i}.jpg", seed=i)
    return tmp_path


def notes_on(data: Dataset, start: str) -> list[str]:
    return [note for note in data.notes if note.startswith(start)]


@pytest.mark.parametrize("form", FORMS)
def test_every_reader_doubts_the_same_names_once(folder: Path, form: Callable[..., str]) -> None:
    data = read(form(folder, NAMES))
    assert set(data.labels.names) == set(NAMES)
    assert notes_on(data, "Labels that differ") == [
        "Labels that differ in spelling only are kept apart: Car and car."
    ]
    assert len(notes_on(data, "Read as labels: todo; ")) == 1
    assert len(notes_on(data, "'background' is read as a label; ")) == 1
    assert len(set(data.notes)) == len(data.notes)


@pytest.mark.parametrize("form", FORMS)
def test_plain_names_are_not_doubted(folder: Path, form: Callable[..., str]) -> None:
    data = read(form(folder, ("cat", "dog", "bird", "car", "tree")))
    assert not notes_on(data, "Labels that differ") + notes_on(data, "Read as labels") + notes_on(data, "'")


@pytest.mark.parametrize("form", [_csv, _states])
def test_the_options_that_notes_name_are_taken(folder: Path, form: Callable[..., str]) -> None:
    """The options are `unknown` and `none` for a column of names, and `ignore` for columns of states."""
    source = form(folder, NAMES)
    option = "ignore" if form is _states else "unknown"
    notes = " ".join(read(source).notes)
    todo = re.search(rf"\?({option}=todo)\b", notes)
    empty = re.search(rf"\?({'ignore' if form is _states else 'none'}=background)\b", notes)
    assert todo
    assert empty
    for match, name in ((todo, "todo"), (empty, "background")):
        assert name not in read(f"{source}?{match[1]}").labels.names


def test_a_canonical_table_repeats_no_note(folder: Path) -> None:
    write_table(read(_folder(folder, NAMES)), folder / "own.parquet")
    data = read(str(folder / "own.parquet"))
    assert len(notes_on(data, "'background' is read as a label; ")) == 1
    assert len(notes_on(data, "Read as labels: todo; ")) == 1


def test_numbers_beside_a_file_of_names(folder: Path) -> None:
    (folder / "classes.txt").write_text("cat\ndog\nbird\n")
    for form in (_csv, _jsonl, _vertex):
        data = read(form(folder, ("0", "1", "2", "0", "1")))
        assert len(notes_on(data, "Labels are numbers; ?names=")) == 1
    source = _csv(folder, ("0", "1", "2", "0", "1"))
    assert not notes_on(read(f"{source}?names={folder / 'classes.txt'}"), "Labels are numbers; ?names")


@pytest.mark.parametrize("form", [_csv, _jsonl, _vertex])
def test_labels_of_one_image_each_are_noted(tmp_path: Path, photo: Photo, form: Callable[..., str]) -> None:
    for i in range(30):
        photo(tmp_path / f"{i}.jpg", seed=i)
    data = read(form(tmp_path, [f"n{min(i, 28):02d}" for i in range(30)]))
    assert notes_on(data, "28 of 29 labels occur on one image alone: n00, n01, n02, n03, n04, ....")
    data = read(form(tmp_path, [f"n{i // 2:02d}" for i in range(30)]))
    assert not [note for note in data.notes if "one image alone" in note]


@pytest.mark.parametrize("texts", [True, False])
def test_a_column_of_unshared_names_is_refused_before_its_cells(tmp_path: Path, texts: bool) -> None:
    """8,000 names of 8,000 images would be 64 MB for each of the two matrices."""
    rows = 8_000
    if texts:
        source, column = _csv(tmp_path, [f"a{i}" for i in range(rows)]), "labels"
    else:
        lines = (json.dumps({"image": f"{i}.jpg", "label": f"a{i}"}) for i in range(rows))
        (tmp_path / "t.jsonl").write_text("\n".join(lines))
        source, column = f"jsonl:{tmp_path / 't.jsonl'}", "label"
    tracemalloc.start()
    with pytest.raises(
        LabelwiseError, match=f"column '{column}' with 8,000 names in 8,000 rows, 8,000 of them"
    ):
        read(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6


def test_a_column_of_the_option_labels_is_read(tmp_path: Path, photo: Photo) -> None:
    first = photo(tmp_path / "0.jpg").read_bytes()
    for i in range(1, 1100):
        (tmp_path / f"{i}.jpg").write_bytes(first)
    source = _csv(tmp_path, [f"a{i}" for i in range(1100)])
    with pytest.raises(LabelwiseError, match=r"1,100 of them once.*\?labels=labels") as caught:
        read(source)
    option = re.search(r"add \?(labels=labels)", caught.value.todo)
    assert option
    data = read(f"{source}?{option[1]}")
    np.testing.assert_array_equal(data.values.sum(0), np.ones(1100))
    assert notes_on(data, "1,100 of 1,100 labels occur on one image alone")


def test_cells_beyond_memory_are_refused() -> None:
    refuse_huge(MOST_CELLS // 1000, 1000, "t")
    with pytest.raises(LabelwiseError, match="t with 8,589,935 images and 1,000 labels; expected at most"):
        refuse_huge(MOST_CELLS // 1000 + 1, 1000, "t")
