"""Cells of label names in forms of tools and people: each is read correctly, or refused with advice."""

from __future__ import annotations

import json
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
    assert any("named by their place" in note for note in data.notes)


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
    with pytest.raises(LabelwiseError, match=r"lists of shares.*write one column per label"):
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


def test_numbers_separated_by_blanks(folder: Path) -> None:
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
    assert any("Read as labels: -" in note for note in data.notes)


def test_an_empty_list_among_names_with_a_mark(folder: Path) -> None:
    data = column(folder, ["; ".join(tags) or "[]" for tags in TAGS])
    assert data.labels.names == NAMES
    assert data.values.tolist() == HOT


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (lambda label, there: label if there else "-" + label, "may mean that it is absent"),
        (lambda label, there: label if there else "no " + label, "may mean that it is absent"),
        (lambda label, there: label + "?" if not there else label, "may mean that it is uncertain"),
        (lambda label, there: f"{label}:{0.9 if there else 0.2}", "numbers after names"),
    ],
)
def test_names_with_a_state(folder: Path, name: Callable[[str, int], str], message: str) -> None:
    cells = [";".join(map(name, NAMES, hot)) for hot in HOT]
    with pytest.raises(LabelwiseError, match=message) as caught:
        column(folder, cells)
    option = caught.value.todo.split("add ")[1].split()[0]
    assert len(column(folder, cells, option).labels) == 6


def test_names_for_nothing(folder: Path) -> None:
    data = column(folder, [";".join(tags) or "none of these" for tags in TAGS])
    assert data.values.tolist() == HOT
    data = column(folder, [";".join(tags) or "0" for tags in TAGS])
    assert any("add ?none=0" in note for note in data.notes)
    assert column(folder, [";".join(tags) or "0" for tags in TAGS], "?none=0").values.tolist() == HOT


def test_lists_of_yes_and_no_are_no_names(folder: Path) -> None:
    with pytest.raises(LabelwiseError, match=r"lists such as \[no, yes, no\]: a state for each label"):
        column(folder, [",".join(("no", "yes")[n] for n in hot) for hot in HOT])
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    names = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"image": datasets.Value("string"), "labels": datasets.List(names)})
    rows = {"image": [f"p{i}.jpg" for i in range(8)], "labels": HOT}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "t.parquet")
    with pytest.raises(LabelwiseError, match=r"lists such as \[neg, pos, neg\]"):
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


@pytest.mark.parametrize(
    "spell",
    [
        lambda hot: str([(-1, 1)[n] for n in hot]),
        lambda hot: str([(0, -1, 1)[n + 1] for n in hot]),
        lambda hot: str([(0, 255)[n] for n in hot]),
        lambda hot: str([(1, 2)[n] for n in hot]),
        lambda hot: str([("nan", 1)[n] for n in hot]).replace("'", ""),
        lambda hot: str([("no", "yes")[n] for n in hot]),
        lambda hot: str(np.array([(-1, 1)[n] for n in hot])),
    ],
)
def test_states_in_lists_are_no_names(folder: Path, spell: Callable[[list[int]], str]) -> None:
    with pytest.raises(LabelwiseError, match="a state for each label"):
        column(folder, [spell(hot) for hot in HOT])


@pytest.mark.parametrize("mark", ["\n", "\r\n", "、", "，", "；"])
def test_line_ends_and_wide_commas_separate_names(folder: Path, mark: str) -> None:
    assert column(folder, [mark.join(tags) for tags in TAGS]).values.tolist() == HOT


@pytest.mark.parametrize("mark", ["~", "\\", "*", "^", "::", "->", "<br>", "$", "·", "!", "\x1f", ".", "="])
def test_other_marks_between_names_require_an_option(folder: Path, mark: str) -> None:
    with pytest.raises(LabelwiseError, match="names in other cells too"):
        column(folder, [mark.join(tags) for tags in TAGS])


def test_names_for_nothing_in_several_spellings(folder: Path) -> None:
    names = iter(["No Finding", "No finding", "no_finding", "none of these"])
    cells = [";".join(tags) or "none of these" for tags in TAGS]
    cells[:3] = [next(names) for _ in range(3)]
    data = column(folder, cells)
    assert data.labels.names == NAMES
    assert data.values.tolist() == [[0] * 3] * 3 + HOT[3:]
    cells = [";".join(tags) or "normal" for tags in TAGS]
    data = column(folder, ["Normal", *cells[1:]], "?none=normal")
    assert data.values.tolist() == [[0] * 3, *HOT[1:]]


@pytest.mark.parametrize(
    ("spell", "message"),
    [
        (lambda tags: f"'{tags[0]}', dog" if tags else "", "a piece of a list"),
        (lambda tags: f"<Classifications: {tags}>" if tags else "", "a piece of a list"),
        (lambda tags: f"({', '.join(tags)}" if tags else "", "a list of label names"),
        (lambda tags: ", ".join(f"{tag} (0.9)" for tag in tags), "numbers after names"),
    ],
)
def test_pieces_of_lists_are_no_names(folder: Path, spell: Callable[[list[str]], str], message: str) -> None:
    with pytest.raises(LabelwiseError, match=message):
        column(folder, [spell(tags) for tags in TAGS])


@pytest.mark.parametrize(
    "spell",
    [
        lambda tags: ", ".join(f"'{tag}'" for tag in tags),
        lambda tags: json.dumps(json.dumps(tags)),
    ],
)
def test_quotes_are_taken_off(folder: Path, spell: Callable[[list[str]], str]) -> None:
    assert column(folder, [spell(tags) for tags in TAGS]).values.tolist() == HOT


def test_a_tensor_of_states(folder: Path) -> None:
    assert column(folder, [f"tensor({hot})" for hot in HOT]).values.tolist() == HOT


def test_blanks_that_may_separate_names_are_noted(folder: Path) -> None:
    data = column(folder, ["dog cat", "cat", "bird", "fish", "cow", "hen", "owl", "ant"])
    assert any("'dog cat' is one label, though 'cat' occurs elsewhere too" in note for note in data.notes)
    data = column(folder, ["potted plant", "cat", "dining table", "tv monitor", "cow", "hen", "owl", "ant"])
    assert not any("occurs elsewhere" in note for note in data.notes)


def test_two_numbers_or_a_share(folder: Path) -> None:
    cells = ["0,1", "0", "1", "0,1", "1", "0", "1", ""]
    with pytest.raises(LabelwiseError, match="numbers of two labels or a share"):
        column(folder, cells)
    assert column(folder, cells, "?separator=,").values.tolist()[:3] == [[1, 1], [1, 0], [0, 1]]
    assert column(folder, cells, "?labels=labels").values[:3, 0].tolist() == pytest.approx([0.1, 0, 1])
