"""Commands on collections write tables and pages; groups and disagreements equal slow counts."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from written import synthetic

import labelwise as lw
import tiny_runs
from labelwise.collection.collection import Collection
from labelwise.collection.groups import COPY_COSINE, groups_of
from labelwise.collection.store import FolderStore
from labelwise.errors import LabelwiseError
from labelwise.runs.run import Run
from tiny_runs import command


def page_of(path: Path) -> str:
    """A page's text; it asks nobody for anything."""
    text = path.read_text(encoding="utf-8")
    assert "<script" not in text
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", text)
    assert text.startswith("<!doctype html>")
    return text


def test_results_as_json_csv_and_a_page(embedded: tuple[Path, list[str]], tmp_path: Path) -> None:
    out, files = embedded
    label = lw.Collection.open(out).labels[0]
    words = ("search", out, files[0], "--label", label, "--not", files[3], "--top", "5", "--exact")
    answer = json.loads(command(*words, "--json").out)
    assert [row["rank"] for row in answer["results"]] == [1, 2, 3, 4, 5]
    assert answer["photographs"][0]["path"] == files[0]
    assert answer["negatives"][0]["path"] == files[3]
    assert all(len(row["box"]) == 4 for row in answer["results"])
    assert command(*words, "--out", tmp_path / "a.csv").code == 0
    with open(tmp_path / "a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [row["path"] for row in answer["results"]]
    assert [float(row["score"]) for row in rows] == pytest.approx([r["score"] for r in answer["results"]])
    assert command(*words, "--out", tmp_path / "a.json").code == 0
    assert json.loads((tmp_path / "a.json").read_text()) == answer
    assert command(*words, "--out", tmp_path / "a.html").code == 0
    text = page_of(tmp_path / "a.html")
    assert text.count("<figure>") == 7
    assert text.count('src="data:image/jpeg') == 7
    assert "--out x.pdf; expected a file ending in" in command(*words, "--out", "x.pdf").message
    both = command("search", out, files[0], "--label", label, "--by", "score")
    assert "--by score with photographs" in both.message


def test_a_photograph_that_is_gone_leaves_its_tile(tmp_path: Path) -> None:
    synthetic(tmp_path / "c", 30)
    words = ("search", tmp_path / "c", "--label", "it's", "--by", "score", "--top", "3")
    assert command(*words, "--out", tmp_path / "a.html").code == 0
    assert page_of(tmp_path / "a.html").count("The photograph cannot be read.") == 3
    assert command(*words, "--where", "cat and not cat", "--out", tmp_path / "b.html").code == 0
    assert "No image fits." in page_of(tmp_path / "b.html")


def with_kinds(path: Path, centres: np.ndarray, sizes: list[int], noise: float) -> Collection:
    """A collection whose label cat has kinds around centres; the last row stands apart, and two are copies."""
    rng = np.random.default_rng(0)
    x = np.repeat(centres, sizes, axis=0) + noise * rng.standard_normal((sum(sizes), centres.shape[1]))
    x[1] = x[0]
    x[-1] = -x[: sizes[0]].mean(0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    collection, _ = synthetic(path, 4 * sum(sizes), centres.shape[1], after=lambda tables: None)
    features = collection._store.features
    rows = features.to_arrow()
    own = np.flatnonzero(np.array(rows["label"].to_pylist()) == "cat")[: sum(sizes)]
    flat = np.array(rows["feature"].to_pylist(), np.float16)
    flat[own] = x
    column = rows.schema.get_field_index("feature")
    from written import _vectors

    rows = rows.set_column(column, rows.schema.field(column), _vectors(flat)).take(own)
    features.delete("image >= 0")
    features.add(rows)
    return Collection(FolderStore.open(path))


def test_kinds_that_are_there_are_found(tmp_path: Path) -> None:
    centres = np.eye(8)[:3]
    collection = with_kinds(tmp_path / "c", centres, [40, 25, 15], 0.08)
    found = groups_of(collection, "cat")
    assert [kind["size"] for kind in found.kinds[:2]] in ([40, 25], [41, 25], [40, 26])
    assert len(found.kinds) in (3, 4)
    rows = collection.features("cat")
    x = np.array(rows["feature"].to_pylist(), np.float64)
    numbers = rows["image"].to_pylist()
    assert found.apart[0]["image"] == numbers[-1]
    likeness = x @ x.T
    expected = {
        (numbers[i], numbers[j]) for i in range(80) for j in range(i) if likeness[i, j] >= COPY_COSINE + 1e-3
    }
    pairs = {tuple(row["image"] for row in pair["images"]) for pair in found.copies}
    assert (numbers[0], numbers[1]) in pairs
    assert not found.copies[0]["same"]
    assert {tuple(sorted(p)) for p in pairs} <= {tuple(sorted(p)) for p in expected} | {
        (numbers[0], numbers[1])
    }
    for kind in found.kinds[:2]:
        axis = {int(x[numbers.index(row["image"])].argmax()) for row in kind["examples"]}
        assert len(axis) == 1


def test_one_cloud_is_one_kind(tmp_path: Path) -> None:
    collection = with_kinds(tmp_path / "c", np.eye(32)[:1], [60], 0.3)
    found = groups_of(collection, "cat")
    assert (len(found.kinds), found.kinds[0]["size"], found.count) == (1, 60, 60)
    assert max(found.silhouettes.values()) < 0.1
    assert [kind["size"] for kind in groups_of(collection, "cat", kinds=1).kinds] == [60]
    with pytest.raises(LabelwiseError, match=r"0 features of dog in .*; expected at least 3"):
        groups_of(collection, "dog")


def test_groups_as_a_page_and_json(embedded: tuple[Path, list[str]], tmp_path: Path) -> None:
    out, _ = embedded
    label = lw.Collection.open(out).labels[1]
    words = ("groups", out, "--label", label, "--kinds", "2", "--examples", "3")
    answer = json.loads(command(*words, "--json").out)
    assert sum(kind["size"] for kind in answer["kinds"]) == answer["count"] == 10
    assert command(*words, "--out", tmp_path / "g.html").code == 0
    text = page_of(tmp_path / "g.html")
    shown = (
        sum(len(kind["examples"]) for kind in answer["kinds"])
        + len(answer["apart"])
        + 2 * len(answer["copies"])
    )
    assert text.count("<figure>") == shown


def test_where_two_runs_disagree(run_folder: Path, table: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.yaml", "labels.json", "model.safetensors"):
        (other / name).write_bytes((run_folder / name).read_bytes())
    run = Run.open(other)
    decisions = run.decisions()
    data = lw.read(f"parquet:{table}").split("test")
    scores = [p.scores for p in lw.load(run_folder).predict([data.encoded(i) for i in range(len(data))])]
    names = run.labels.names
    middle = [float(np.median([s[n] for s in scores])) for n in names]
    from dataclasses import replace

    run.save_decisions(replace(decisions, thresholds=np.array(middle)))
    words = ("compare", run_folder, other, "--data", f"parquet:{table}", "--split", "test", "--workers", "0")
    answer = json.loads(command(*words, "--json").out)
    picked = [
        [p.selected for p in lw.load(path).predict([data.encoded(i) for i in range(len(data))])]
        for path in (run_folder, other)
    ]
    expected = {
        (data.image_id(i), n)
        for i in range(len(data))
        for n in names
        if (n in picked[0][i]) != (n in picked[1][i])
    }
    cells = answer["disagreements"]
    assert {(c["image"], c["label"]) for c in cells} == expected
    assert len(cells) == len(expected) > 0
    differences = [abs(c["score_a"] - c["score_b"]) for c in cells]
    assert differences == sorted(differences, reverse=True)
    for j, name in enumerate(names):
        count = answer["labels"][name]
        assert count["only_a"] + count["only_b"] == sum(c["label"] == name for c in cells)
        assert count["both"] + count["neither"] + count["only_a"] + count["only_b"] == len(data)
        truth = [
            bool(data.values[i, j])
            for i in range(len(data))
            for c in cells
            if (c["image"], c["label"]) == (data.image_id(i), name)
        ]
        assert count["right_a"] + count["right_b"] == len(truth)
    assert command(*words, "--label", names[0], "--out", tmp_path / "d.csv").code == 0
    assert (tmp_path / "d.csv").read_text().startswith("image,")
    assert command(*words, "--top", "4", "--out", tmp_path / "d.html").code == 0
    assert page_of(tmp_path / "d.html").count("<figure>") == min(4, len(cells))
    assert "label 'unicorn', which not both runs have" in command(*words, "--label", "unicorn").message


def test_runs_without_a_common_label_are_refused(run_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "colours"
    file = tiny_runs.photographs(tmp_path / "photos")
    assert command("train", "--data", f"csv:{file}", "--out", other, "--no-report", *tiny_runs.TINY).code == 0
    words = ("compare", run_folder, other, "--data", f"csv:{file}")
    assert "two runs without a common label" in command(*words).message
