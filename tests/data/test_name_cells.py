"""Cells of label names in forms that tools and people write: each is read right, or stopped with what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from labelwise.data import Dataset, read
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
TAGS = [["cat"], ["dog"], ["cat", "dog"], [], ["bird"], ["bird", "cat"], ["dog"], ["bird", "dog"]]
NAMES = ("bird", "cat", "dog")
HOT = [[int(name in tags) for name in NAMES] for tags in TAGS]


@pytest.fixture
def folder(tmp_path: Path, photo: Photo) -> Path:
    for i in range(len(TAGS)):
        photo(tmp_path / f"p{i}.jpg", seed=i)
    return tmp_path


def column(folder: Path, cells: Sequence[str], options: str = "") -> Dataset:
    rows = ['"' + cell.replace('"', '""') + '"' for cell in cells]
    text = "image,labels\n" + "".join(f"p{i}.jpg,{row}\n" for i, row in enumerate(rows))
    (folder / "t.csv").write_text(text)
    return read(f"csv:{folder / 't.csv'}{options}")


@pytest.mark.parametrize(
    "text",
    [
        lambda tags: str(set(tags)),
        lambda tags: str(frozenset(tags)),
        lambda tags: str(tuple(tags)),
        lambda tags: repr(np.array(tags, object)),
    ],
)
def test_collections_of_python(folder: Path, text: Callable[[list[str]], str]) -> None:
    data = column(folder, [text(tags) for tags in TAGS])  # an empty set is `set()`, which is no label
    assert data.labels.names == NAMES
    assert data.values.tolist() == HOT


@pytest.mark.parametrize(
    "text",
    [
        str,
        lambda hot: str([float(n) for n in hot]),
        lambda hot: str([bool(n) for n in hot]),
        lambda hot: str(np.array(hot)),
        lambda hot: str(np.array(hot, np.float32)),
        lambda hot: str(np.array(hot, bool)),
        lambda hot: " ".join(map(str, hot)),
        lambda hot: ",".join(map(str, hot)),
    ],
)
def test_a_state_for_each_label(folder: Path, text: Callable[[list[int]], str]) -> None:
    data = column(folder, [text(hot) for hot in HOT])
    assert data.labels.names == ("0", "1", "2")
    assert data.values.tolist() == HOT
    assert any("called by their place" in note for note in data.notes)


@pytest.mark.parametrize("dtype", ["int64", "float32", "bool"])
def test_arrays_in_parquet(folder: Path, dtype: str) -> None:
    pd = pytest.importorskip("pandas", reason="the package pandas is not installed")
    cells = list(np.array(HOT).astype(dtype))
    pd.DataFrame({"image": [f"p{i}.jpg" for i in range(8)], "labels": cells}).to_parquet(folder / "t.parquet")
    assert read(f"parquet:{folder / 't.parquet'}").values.tolist() == HOT


def test_shares_in_lists_are_no_names(folder: Path) -> None:
    pd = pytest.importorskip("pandas", reason="the package pandas is not installed")
    cells = list(np.array(HOT) * 0.9)
    pd.DataFrame({"image": [f"p{i}.jpg" for i in range(8)], "labels": cells}).to_parquet(folder / "t.parquet")
    with pytest.raises(LabelwiseError, match=r"lists of shares.*write a column a label"):
        read(f"parquet:{folder / 't.parquet'}")


def test_bits_without_a_mark_are_no_names(folder: Path) -> None:
    with pytest.raises(LabelwiseError, match=r"'000' and '110': a 0 or 1 for each label"):
        column(folder, ["".join(map(str, hot)) for hot in HOT])


def test_objects_of_states_are_sent_to_json_lines(folder: Path) -> None:
    with pytest.raises(LabelwiseError, match="JSON lines"):
        column(folder, [str(dict(zip(NAMES, hot, strict=True))) for hot in HOT])


def test_numbers_of_labels_that_pandas_made_shares(folder: Path) -> None:
    data = column(folder, ["0.0", "1.0", "", "2.0", "0.0", "1.0", "2.0", "10.0"])
    assert data.labels.names == ("0", "1", "10", "2")
    assert column(folder, ["1.0", "1.5", "2.0", "", "1.0", "1.5", "2.0", "1.0"]).labels.names == (
        *("1.0", "1.5", "2.0"),
    )


def test_numbers_parted_by_blanks(folder: Path) -> None:
    data = column(folder, ["0", "0 1", "0 1 2", "3", "4 5", "6", "7", "8 9"])  # most of them occur once
    assert data.labels.names == tuple("0123456789")


@pytest.mark.parametrize("mark", ["+", "/", "_", "-", ":", " and "])
def test_names_that_are_names_of_other_cells_joined(folder: Path, mark: str) -> None:
    cells = [mark.join(tags) for tags in TAGS]
    with pytest.raises(LabelwiseError, match=r"in other cells too|'and' between") as caught:
        column(folder, cells)
    option = caught.value.todo.split()[1]
    assert column(folder, cells, option).values.tolist() == HOT
    assert "bird" + mark + "cat" in column(folder, cells, "?separator=").labels.names


def test_an_ampersand_between_names(folder: Path) -> None:
    with pytest.raises(LabelwiseError, match="'&' between names") as caught:
        column(folder, [" & ".join(tags) for tags in TAGS])
    option = caught.value.todo.split()[1]
    assert column(folder, [" & ".join(tags) for tags in TAGS], option).labels.names == NAMES


def test_two_marks_in_one_column(folder: Path) -> None:
    with pytest.raises(LabelwiseError, match=r"'bird, cat'.*write ';' between all names"):
        column(folder, [(", " if i == 5 else "; ").join(tags) for i, tags in enumerate(TAGS)])


def test_a_name_without_a_letter_is_noted(folder: Path) -> None:
    data = column(folder, ["-" if not tags else ";".join(tags) for tags in TAGS])
    assert any("Taken for labels: -" in note for note in data.notes)


def test_an_empty_list_among_names_with_a_mark(folder: Path) -> None:
    data = column(folder, ["; ".join(tags) or "[]" for tags in TAGS])
    assert data.labels.names == NAMES
    assert data.values.tolist() == HOT


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (lambda label, there: label if there else "-" + label, "may say that it is absent"),
        (lambda label, there: label if there else "no " + label, "may say that it is absent"),
        (lambda label, there: label + "?" if not there else label, "may say that it is uncertain"),
        (lambda label, there: f"{label}:{0.9 if there else 0.2}", "numbers behind names"),
    ],
)
def test_names_that_say_more_than_a_label(folder: Path, name: Callable[[str, int], str], said: str) -> None:
    cells = [";".join(map(name, NAMES, hot)) for hot in HOT]
    with pytest.raises(LabelwiseError, match=said) as caught:
        column(folder, cells)
    option = caught.value.todo.split("add ")[1].split()[0]
    assert len(column(folder, cells, option).labels) == 6


def test_words_for_nothing(folder: Path) -> None:
    data = column(folder, [";".join(tags) or "none of these" for tags in TAGS])
    assert data.values.tolist() == HOT
    data = column(folder, [";".join(tags) or "0" for tags in TAGS])
    assert any("add ?none=0" in note for note in data.notes)
    assert column(folder, [";".join(tags) or "0" for tags in TAGS], "?none=0").values.tolist() == HOT


def test_lists_of_yes_and_no_are_no_names(folder: Path) -> None:
    with pytest.raises(LabelwiseError, match="lists of no and yes, a state for each label"):
        column(folder, [",".join(("no", "yes")[n] for n in hot) for hot in HOT])
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    names = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"image": datasets.Value("string"), "labels": datasets.List(names)})
    rows = {"image": [f"p{i}.jpg" for i in range(8)], "labels": HOT}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "t.parquet")
    with pytest.raises(LabelwiseError, match="lists of neg and pos"):
        read(f"parquet:{folder / 't.parquet'}")


def test_objects_of_states_in_parquet(folder: Path) -> None:
    pd = pytest.importorskip("pandas", reason="the package pandas is not installed")
    cells = [dict(zip(NAMES, hot, strict=True)) for hot in HOT]
    pd.DataFrame({"image": [f"p{i}.jpg" for i in range(8)], "labels": cells}).to_parquet(folder / "t.parquet")
    data = read(f"parquet:{folder / 't.parquet'}")
    assert data.labels.names == tuple(NAMES)
    assert data.values.tolist() == HOT


def test_a_folder_called_by_two_labels_is_noted(tmp_path: Path, photo: Photo) -> None:
    for seed, name in enumerate(("cat", "dog", "cat-dog")):
        photo(tmp_path / name / "a.jpg", seed=seed)
    assert any("'cat-dog' is read as one label" in note for note in read(f"folder:{tmp_path}").notes)
