"""Tables that pandas, polars, DuckDB and pyarrow write now: each is read to the same states."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from labelwise.data import Dataset, read

Photo = Callable[..., Path]
NAMES = [f"p{i}.jpg" for i in range(6)]
STATES = {"cat": [1, 0, None, 1, 0, 0], "dog": [0, 0, 1, 1, None, 0]}
TAGS = [["cat"], [], ["dog"], ["cat", "dog"], ["traffic light"], []]
SPLIT = ["train", "train", "train", "val", "test", "test"]


@pytest.fixture
def folder(tmp_path: Path, photo: Photo) -> Path:
    for i, name in enumerate(NAMES):
        photo(tmp_path / name, seed=i)
    return tmp_path


def check_states(data: Dataset) -> None:
    assert data.labels.names == ("cat", "dog")
    truth = np.array([[np.nan if v is None else v for v in column] for column in STATES.values()]).T
    assert data.known.tolist() == (~np.isnan(truth)).tolist()
    assert data.values.tolist() == np.nan_to_num(truth).tolist()
    assert [data.image_id(i) for i in range(6)] == NAMES
    assert data.splits() == {"train": 3, "val": 1, "test": 2}


def check_tags(data: Dataset) -> None:
    assert data.labels.names == ("cat", "dog", "traffic light")
    assert data.values.tolist() == [[int(n in tags) for n in data.labels.names] for tags in TAGS]
    assert data.known.all()


@pytest.mark.parametrize("dtype", ["Int64", "float64", "boolean", "string", "object", "category"])
def test_pandas(folder: Path, dtype: str) -> None:
    pd = pytest.importorskip("pandas", reason="the package pandas is not installed")
    table = pd.DataFrame({"image": NAMES, "split": SPLIT})
    for name, column in STATES.items():
        cells = pd.array(column, "Int64" if dtype != "boolean" else "boolean")
        table[name] = pd.Series(cells).astype("float64" if dtype == "object" else dtype)
        if dtype == "object":
            table[name] = [None if v is None else str(v) for v in column]
    table.to_parquet(folder / "t.parquet")
    check_states(read(f"parquet:{folder / 't.parquet'}"))
    table.to_csv(folder / "t.csv")  # with the index as a first column without a name
    check_states(read(f"csv:{folder / 't.csv'}"))
    table.to_csv(folder / "u.csv", index=False, sep=";", decimal=",", encoding="utf-16")
    check_states(read(f"csv:{folder / 'u.csv'}"))


def test_lists_of_pandas(folder: Path) -> None:
    pd = pytest.importorskip("pandas", reason="the package pandas is not installed")
    table = pd.DataFrame({"image": NAMES, "labels": TAGS})
    table.to_parquet(folder / "t.parquet")
    check_tags(read(f"parquet:{folder / 't.parquet'}"))
    table.to_csv(folder / "t.csv", index=False)  # Python's own text of a list
    check_tags(read(f"csv:{folder / 't.csv'}"))
    table.assign(labels=[np.array(tags, object) for tags in TAGS]).to_csv(folder / "n.csv", index=False)
    check_tags(read(f"csv:{folder / 'n.csv'}"))


@pytest.mark.parametrize("kind", ["String", "Categorical", "Enum"])
def test_polars(folder: Path, kind: str) -> None:
    pl = pytest.importorskip("polars", reason="the package polars is not installed")
    text = {"String": pl.String, "Categorical": pl.Categorical, "Enum": None}[kind]
    names = pl.Series(NAMES, dtype=text or pl.Enum(NAMES))
    split = pl.Series(SPLIT, dtype=text or pl.Enum(sorted(set(SPLIT))))
    table = pl.DataFrame({"image": names, "split": split, **STATES})
    table.write_parquet(folder / "t.parquet")
    check_states(read(f"parquet:{folder / 't.parquet'}"))
    table.write_csv(folder / "t.csv")
    check_states(read(f"csv:{folder / 't.csv'}"))
    table.cast(dict.fromkeys(STATES, pl.Boolean)).write_csv(folder / "b.csv")
    check_states(read(f"csv:{folder / 'b.csv'}"))
    pl.DataFrame({"image": names, "labels": TAGS}).write_parquet(folder / "l.parquet")
    check_tags(read(f"parquet:{folder / 'l.parquet'}"))
    words = pl.Series(TAGS, dtype=pl.List(pl.Categorical))
    pl.DataFrame({"image": names, "labels": words}).write_parquet(folder / "c.parquet")
    check_tags(read(f"parquet:{folder / 'c.parquet'}"))
    pl.DataFrame({"image": names.cast(pl.String), "labels": TAGS}).write_ndjson(folder / "t.jsonl")
    check_tags(read(f"jsonl:{folder / 't.jsonl'}"))


def test_duckdb(folder: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="the package duckdb is not installed")
    rows = [(n, s, *v, t) for n, s, *v, t in zip(NAMES, SPLIT, *STATES.values(), TAGS, strict=True)]
    base = duckdb.connect()
    base.execute(
        "create table t (image varchar not null, split varchar, cat tinyint, dog tinyint, labels varchar[])"
    )
    base.executemany("insert into t values (?, ?, ?, ?, ?)", rows)
    base.execute("create type part as enum ('train', 'val', 'test')")
    for kind in ("tinyint", "boolean", "decimal(2, 1)", "hugeint", "double"):
        states = ", ".join(f"{name}::{kind} as {name}" for name in STATES)
        base.execute(f"copy (select image, split::part as split, {states} from t) to '{folder}/t.parquet'")
        check_states(read(f"parquet:{folder / 't.parquet'}"))
        base.execute(
            f"copy (select image, split::part as split, {states} from t) to '{folder}/t.csv' (header)"
        )
        check_states(read(f"csv:{folder / 't.csv'}"))
    for suffix, kind in (("parquet", "parquet"), ("csv", "csv")):
        base.execute(f"copy (select image, labels from t) to '{folder}/l.{suffix}'")
        check_tags(read(f"{kind}:{folder}/l.{suffix}"))


@pytest.mark.parametrize("options", [{}, {"delimiter": "\t"}, {"quoting_style": "all_valid"}], ids=str)
def test_pyarrow(folder: Path, options: dict) -> None:
    kinds = {"cat": pa.int8(), "dog": pa.float32()}
    columns = {name: pa.array(column, kinds[name]) for name, column in STATES.items()}
    table = pa.table({"image": NAMES, "split": pa.array(SPLIT).dictionary_encode(), **columns})
    plain = table.set_column(1, "split", pa.array(SPLIT))
    parquet.write_table(table, folder / "t.parquet")
    check_states(read(f"parquet:{folder / 't.parquet'}"))
    arrow_csv.write_csv(plain, folder / "t.csv", arrow_csv.WriteOptions(**options))
    check_states(read(f"csv:{folder / 't.csv'}"))


@pytest.mark.parametrize("version", ["5.2.0"])
def test_a_list_in_the_csv_of_datasets(folder: Path, version: str) -> None:
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    data = datasets.Dataset.from_dict({"image": NAMES, "labels": [[len(t), 7] for t in TAGS]})
    data.to_csv(str(folder / "t.csv"), index=False)
    assert re.search(r"\[1 7\]", (folder / "t.csv").read_text()) or datasets.__version__ != version
    assert set(read(f"csv:{folder / 't.csv'}").labels.names) == {"0", "1", "2", "7"}
