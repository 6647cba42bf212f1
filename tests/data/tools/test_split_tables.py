"""One table per split, lists of JSON objects, and class numbers with a file of their names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from labelwise.data import Dataset, read
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
LABELS = ("cat", "dog", "owl")
ROWS = {
    "train": [(1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 0)],
    "valid": [(0, 1, 0), (1, 0, 0)],
    "test": [(0, 0, 1), (1, 1, 1)],
}
"""States of the images of each split; no row of train has an owl."""


@pytest.fixture
def frames(tmp_path: Path, photo: Photo) -> dict[str, pd.DataFrame]:
    """One table of states per split; images of all splits have equal names in separate folders."""
    tables = {}
    for split, rows in ROWS.items():
        for i in range(len(rows)):
            photo(tmp_path / split / f"{i}.jpg", seed=len(split) * 10 + i)
        names = [f"{i}.jpg" for i in range(len(rows))]
        tables[split] = pd.DataFrame(
            {"image": names, **dict(zip(LABELS, zip(*rows, strict=True), strict=True))}
        )
    return tables


def named(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows with a column of lists of names."""
    lists = [[label for label in LABELS if row[label]] for _, row in frame.iterrows()]
    return pd.DataFrame({"image": frame["image"], "labels": lists})


def check(data: Dataset) -> None:
    assert data.splits() == {"train": 4, "val": 2, "test": 2}
    columns = [data.labels.names.index(label) for label in LABELS]
    assert data.known.all()
    seen = {data.image_id(i): tuple(data.values[i, columns].tolist()) for i in range(len(data))}
    assert seen == {f"{split}/{i}.jpg": row for split, rows in ROWS.items() for i, row in enumerate(rows)}
    for i in range(len(data)):
        split = data.split_names[data.split_of[i]]
        assert data.image_id(i).startswith({"val": "valid"}.get(split, split))


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl", "json"])
@pytest.mark.parametrize("names", [False, True], ids=["states", "names"])
@pytest.mark.parametrize("beside", [False, True], ids=["in folders", "in one folder"])
def test_a_table_for_each_split(
    tmp_path: Path, frames: dict[str, pd.DataFrame], form: str, names: bool, beside: bool
) -> None:
    files = []
    for split, states in frames.items():
        frame = named(states) if names else states.copy()
        if beside:
            frame["image"] = split + "/" + frame["image"]
        file = tmp_path / f"{split}.{form}" if beside else tmp_path / split / f"labels_{split}.{form}"
        match form:
            case "csv":
                frame.to_csv(file, index=False)
            case "parquet":
                frame.to_parquet(file)
            case "jsonl":
                frame.to_json(file, orient="records", lines=True)
            case "json":
                frame.to_json(file, orient="records", indent=2)
        files.append(str(file))
    kind = "jsonl" if form.startswith("json") else form
    check(read(f"{kind}:{','.join(files)}"))
    if beside:
        check(read(str(tmp_path)))


def test_a_row_is_named_by_its_file(tmp_path: Path, frames: dict[str, pd.DataFrame]) -> None:
    for split, frame in frames.items():
        frame.astype(object).replace({"dog": {0: "?"}} if split == "test" else {}).to_csv(
            tmp_path / f"{split}.csv", index=False
        )
    source = ",".join(str(tmp_path / f"{split}.csv") for split in ROWS)
    with pytest.raises(LabelwiseError, match=r"test\.csv, row 2"):
        read(f"csv:{source}")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_that_do_not_fit_are_refused(
    tmp_path: Path, frames: dict[str, pd.DataFrame], form: str
) -> None:
    def write(**changed: pd.DataFrame) -> str:
        files = [tmp_path / f"{split}.{form}" for split in ROWS]
        for file, frame in zip(files, {**frames, **changed}.values(), strict=True):
            getattr(frame, f"to_{form}")(file, index=False)
        return f"{form}:{','.join(map(str, files))}"

    source = write(test=frames["test"].drop(columns="owl").assign(hen=1))
    with pytest.raises(
        LabelwiseError, match=rf"test\.{form} with other columns .* lacks owl and also has hen"
    ):
        read(source)
    with pytest.raises(LabelwiseError, match=r"a column 'split' in several files; .*ignore=split"):
        read(write(train=frames["train"].assign(split="train")))
    (tmp_path / f"more.{form}").write_bytes((tmp_path / f"test.{form}").read_bytes())
    with pytest.raises(LabelwiseError, match=f"more.{form}, one of several files, without a split"):
        read(f"{write()},{tmp_path}/more.{form}")
    with pytest.raises(LabelwiseError, match="a folder with 4 tables"):
        read(str(tmp_path))


def test_a_canonical_table_is_read_alone(tmp_path: Path, frames: dict[str, pd.DataFrame]) -> None:
    from labelwise.data.table import write_table

    frames["test"].to_csv(tmp_path / "test" / "test.csv", index=False)
    write_table(read(f"csv:{tmp_path}/test/test.csv"), tmp_path / "test.parquet")
    frames["train"].to_parquet(tmp_path / "train.parquet")
    with pytest.raises(
        LabelwiseError, match=r"test\.parquet: a table that labelwise wrote, as one of several"
    ):
        read(f"parquet:{tmp_path}/train.parquet,{tmp_path}/test.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"image": "0.jpg", "labels": ["cat"]}, 3]', "entry 2: 3; expected a JSON object in each entry"),
        ('[{"image": "0.jpg", "labels": ["cat"]},', "a list that is not JSON"),
        ('[{"image": "0.jpg", "image": "1.jpg"}]', "key 'image' twice"),
        ("[]", "an empty file"),
        ('[{"image": "0.jpg", "labels": ["cat"]}, {"labels": []}]', "entry 2 without 'image'"),
    ],
)
def test_broken_lists_of_objects(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(LabelwiseError, match=message):
        read(f"jsonl:{tmp_path}/list.json")


@pytest.fixture
def numbered(tmp_path: Path, photo: Photo) -> Callable[[int], Path]:
    """Writes a table of class numbers that count from a start; class 2 has no positive, and row 2 is unknown."""

    def write(start: int) -> Path:
        rows = [[0, 3], [1], None, [], [3]]
        for i in range(len(rows)):
            photo(tmp_path / f"{i}.jpg", seed=i)
        lists = [None if row is None else [n + start for n in row] for row in rows]
        pd.DataFrame({"image": [f"{i}.jpg" for i in range(5)], "labels": lists}).to_parquet(
            tmp_path / "n.parquet"
        )
        return tmp_path / "n.parquet"

    return write


NAMES = ["cat", "traffic light", "owl", "dog"]


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.txt", "\n".join(NAMES) + "\n"),
        ("names.json", json.dumps(NAMES)),
        ("index.json", json.dumps({str(i): name for i, name in enumerate(NAMES)})),
        ("data.yaml", "nc: 4\nnames:\n  0: cat\n  1: traffic light\n  2: owl\n  3: dog\n"),
        ("", ",".join(NAMES)),
    ],
)
def test_numbers_take_names(numbered: Callable[[int], Path], start: int, file: str, text: str) -> None:
    table = numbered(start)
    given = text
    if file:
        (table.parent / file).write_text(text)
        given = str(table.parent / file)
    data = read(f"parquet:{table}?names={given}")
    assert data.labels.names == tuple(NAMES)
    truth = np.zeros((5, 4), int)
    truth[[0, 0, 1, 4], [0, 3, 1, 3]] = 1
    assert data.values.tolist() == truth.tolist()
    assert data.known.all(1).tolist() == [True, True, False, True, True]
    assert any(f"numbers from {start}" in note for note in data.notes)


def test_a_table_notes_a_likely_file_of_names(numbered: Callable[[int], Path]) -> None:
    table = numbered(0)
    (table.parent / "classes.txt").write_text("\n".join(NAMES))
    (option,) = [note.split()[3] for note in read(f"parquet:{table}").notes if "?names=" in note]
    assert read(f"parquet:{table}{option}").labels.names == tuple(NAMES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat\ndog\n", "label 3 and 2 names"),
        ("cat\ndog\ncat\nowl\n", "without a list of distinct names"),
        ("", "without a list of distinct names"),
    ],
)
def test_wrong_names_are_refused(numbered: Callable[[int], Path], text: str, message: str) -> None:
    table = numbered(0)
    (table.parent / "classes.txt").write_text(text)
    with pytest.raises(LabelwiseError, match=message):
        read(f"parquet:{table}?names={table.parent}/classes.txt")
    with pytest.raises(LabelwiseError, match=r"nowhere\.txt, which is no file"):
        read(f"parquet:{table}?names=nowhere.txt")


def test_names_for_labels_with_names_are_refused(tmp_path: Path, frames: dict[str, pd.DataFrame]) -> None:
    frames["test"].to_csv(tmp_path / "test" / "t.csv", index=False)
    with pytest.raises(
        LabelwiseError, match="labels such as cat, dog, owl; expected labels that are numbers"
    ):
        read(f"csv:{tmp_path}/test/t.csv?names=a,b,c")


@pytest.mark.parametrize("empty", [[], None])
def test_a_row_without_its_list_of_0_and_1_is_unknown(
    tmp_path: Path, photo: Photo, empty: list[int] | None
) -> None:
    cells = [[1, 0, 1], empty, [0, 0, 0], [0, 1, 1]]
    for i in range(len(cells)):
        photo(tmp_path / f"{i}.jpg", seed=i)
    frame = pd.DataFrame({"image": [f"{i}.jpg" for i in range(4)], "labels": cells})
    frame.to_parquet(tmp_path / "hot.parquet")
    data = read(f"parquet:{tmp_path}/hot.parquet")
    assert data.known.all(1).tolist() == [True, False, True, True]
    assert data.values[data.known.all(1)].tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 1]]


def test_an_ignored_column_of_splits(tmp_path: Path, frames: dict[str, pd.DataFrame]) -> None:
    for split, frame in frames.items():
        frame.assign(split="old").to_csv(tmp_path / split / f"{split}.csv", index=False)
    source = ",".join(str(tmp_path / split / f"{split}.csv") for split in ROWS)
    check(read(f"csv:{source}?ignore=split"))


def test_a_column_twice_in_several_files(tmp_path: Path, photo: Photo) -> None:
    for split in ("train", "val"):
        photo(tmp_path / f"{split}.jpg", seed=len(split))
        (tmp_path / f"{split}.csv").write_text(f"image,cat,cat\n{split}.jpg,1,0\n")
    with pytest.raises(LabelwiseError, match="column 'cat' twice"):
        read(f"csv:{tmp_path}/train.csv,{tmp_path}/val.csv")
