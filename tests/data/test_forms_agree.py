"""The same labels in tables, JSON lines, manifests and shards: one matrix, or refused in each."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from labelwise.data import Dataset, read
from labelwise.errors import LabelwiseError

Cells = Sequence[Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forms")
    for i in range(6):
        Image.new("RGB", (8, 8), (i * 20, 0, 0)).save(folder / f"{i}.jpg")
    return folder


def as_csv(folder: Path, cells: Cells) -> str:
    rows = [f"{i}.jpg;{'' if cell is None else json.dumps(cell)}\n" for i, cell in enumerate(cells)]
    (folder / "t.csv").write_text("image;labels\n" + "".join(rows))
    return f"csv:{folder / 't.csv'}"


def as_parquet(folder: Path, cells: Cells) -> str:
    names = pa.array([f"{i}.jpg" for i in range(len(cells))])
    pq.write_table(pa.table({"image": names, "labels": pa.array(cells)}), folder / "t.parquet")
    return f"parquet:{folder / 't.parquet'}"


def as_json_lines(folder: Path, cells: Cells) -> str:
    lines = [json.dumps({"image": f"{i}.jpg", "labels": cell}) for i, cell in enumerate(cells)]
    (folder / "t.jsonl").write_text("\n".join(lines))
    return f"jsonl:{folder / 't.jsonl'}"


def as_manifest(folder: Path, cells: Cells) -> str:
    lines = [{"source-ref": f"{i}.jpg", **({} if c is None else {"labels": c})} for i, c in enumerate(cells)]
    (folder / "t.manifest").write_text("\n".join(map(json.dumps, lines)))
    return f"sagemaker:{folder / 't.manifest'}"


def as_shard(folder: Path, cells: Cells) -> str:
    with tarfile.open(folder / "t-000000.tar", "w") as shard:
        for i, cell in enumerate(cells):
            members = {"jpg": (folder / f"{i}.jpg").read_bytes()}
            members |= {} if cell is None else {"json": json.dumps({"labels": cell}).encode()}
            for suffix, content in members.items():
                member = tarfile.TarInfo(f"{i}.{suffix}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
    return f"webdataset:{folder / 't-000000.tar'}"


FORMS: tuple[Callable[[Path, Cells], str], ...] = (as_csv, as_parquet, as_json_lines, as_manifest, as_shard)


def read_or_refused(source: str) -> Dataset | None:
    try:
        return read(source)
    except LabelwiseError:
        return None


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [[[1, 0], [0, 1]], [[0, 1], [1, 0], [1, 0]]])
def test_lists_that_may_be_either_are_refused(folder: Path, form: Callable[..., str], rows: Cells) -> None:
    with pytest.raises(LabelwiseError, match="numbers of labels or a 0 or 1 for each label"):
        read(form(folder, rows))


hot = st.integers(2, 4).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 1), min_size=width, max_size=width), min_size=2, max_size=6
    )
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hot)
def test_lists_of_0_and_1_are_one_matrix_in_every_form(folder: Path, rows: Cells) -> None:
    names = "a,b,c,d"[: 2 * len(rows[0]) - 1]
    for form in FORMS:
        data = read_or_refused(f"{form(folder, rows)}?names={names}")
        sure = any(len(set(row)) < len(row) for row in rows)
        # Names say how many labels there are, by which a shard's lists are told from lists of classes.
        if form is as_shard or (sure and np.any(rows)):
            assert data is not None, form
        if data is not None:
            assert data.labels.names == tuple(names.split(",")), form
            assert data.known.all(), form
            assert data.values.tolist() == rows, form


words = st.lists(st.lists(st.sampled_from(["cat", "big dog", "owl"]), unique=True), min_size=2, max_size=6)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words.filter(any))
def test_lists_of_names_are_one_matrix_in_every_form(folder: Path, rows: Cells) -> None:
    labels = sorted({name for row in rows for name in row})
    for form in (as_csv, as_parquet, as_json_lines, as_shard):
        data = read(form(folder, rows))
        assert sorted(data.labels.names) == labels, form
        order = [data.labels.names.index(name) for name in labels]
        assert data.values[:, order].tolist() == [[int(name in row) for name in labels] for row in rows], form
        assert data.known.all(), form
