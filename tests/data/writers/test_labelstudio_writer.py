"""Label Studio tasks, checked by the rules of its import, by its SDK if installed, and read back by the reader."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelwise.data import Dataset, read
from labelwise.data.writers import convert
from labelwise.data.writers.predictions import read_answers
from labelwise.errors import LabelwiseError
from labelwise.inference.prediction import Prediction
from labelwise.inference.tables import WRITERS as PREDICTION_WRITERS
from written_sets import STATES, dataset, matrices

quick = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
names = st.sampled_from(["dog", "cat", "tall, cat", "a<b>&c", 'a"b', "ä é", "image"])


def tasks_of(out: Path) -> list[dict[str, Any]]:
    return json.loads((out / "tasks.json").read_text(encoding="utf-8"))


def check_form(out: Path) -> list[dict[str, Any]]:
    """Asserts the rules of Label Studio's import: every result has a known control, object and choices."""
    view = ElementTree.parse(out / "config.xml").getroot()
    image, choices = view.find("Image"), view.find("Choices")
    assert image is not None
    assert choices is not None
    assert choices.get("choice") == "multiple"
    assert choices.get("toName") == image.get("name")
    offered = [choice.get("value") for choice in choices]
    assert len(set(offered)) == len(offered)
    tasks = tasks_of(out)
    for task in tasks:
        assert set(task) <= {"data", "annotations", "predictions"}
        assert task["data"][image.get("value").removeprefix("$")]  # type: ignore[union-attr]
        for entry in (*task.get("annotations", ()), *task.get("predictions", ())):
            assert 0 <= entry.get("score", 0) <= 1
            for result in entry["result"]:
                assert result["type"] == "choices"
                assert (result["from_name"], result["to_name"]) == (choices.get("name"), image.get("name"))
                assert result["value"]["choices"]
                assert set(result["value"]["choices"]) <= set(offered)
    return tasks


def chosen(task: dict[str, Any], kind: str) -> set[str] | None:
    entries = task.get(kind)
    return None if entries is None else {n for r in entries[0]["result"] for n in r["value"]["choices"]}


@quick
@given(matrices(names, st.sampled_from(STATES), ("train", "val")))
def test_any_matrix_becomes_tasks(
    photos: Path, tmp_path_factory: pytest.TempPathFactory, arguments: dict[str, Any]
) -> None:
    data = dataset(photos, **arguments)
    out = tmp_path_factory.mktemp("tasks") / "out"
    convert(data, out, "labelstudio")
    tasks = check_form(out)
    assert len(tasks) == len(data)
    for row, task in enumerate(tasks):
        assert photos / unquote(task["data"]["image"].partition("?d=")[2]) == data.encoded(row)
        present = {data.labels.names[j] for j in np.flatnonzero(data.positive[row])}
        whole = bool(data.known[row].all())
        assert chosen(task, "annotations") == (present if whole else None)
        assert chosen(task, "predictions") == (present if present and not whole else None)


@quick
@given(matrices(st.sampled_from(["dog", "cat", "x"]), st.sampled_from([0.0, 1.0]), ()))
def test_annotations_read_back_as_they_were(
    photos: Path, tmp_path_factory: pytest.TempPathFactory, arguments: dict[str, Any]
) -> None:
    data = dataset(photos, **arguments)
    written = convert(data, tmp_path_factory.mktemp("tasks") / "out", "labelstudio")
    if not data.positive.any():
        assert written.source is None
        return
    again = read(str(written.source))
    present = [name for name, some in zip(data.labels, data.positive.any(0), strict=True) if some]
    assert sorted(again.labels) == sorted(present)  # an export lists the labels that occur
    columns = [data.labels.index(name) for name in again.labels]
    rows = [again.images.to_pylist().index(name) for name in data.images.to_pylist()]
    assert again.known.all()
    np.testing.assert_array_equal(again.values[rows], data.values[:, columns])


def test_the_sdk_takes_tasks_annotations_and_predictions(small: Dataset, tmp_path: Path) -> None:
    sdk = pytest.importorskip("label_studio_sdk.label_interface", reason="label-studio-sdk is not installed")
    convert(small, tmp_path / "out", "labelstudio")
    interface = sdk.LabelInterface((tmp_path / "out" / "config.xml").read_text())
    interface.validate()
    for task in check_form(tmp_path / "out"):
        assert interface.validate_task({"data": task["data"]})
        assert all(interface.validate_annotation(entry) for entry in task.get("annotations", ()))
        for entry in task.get("predictions", ()):
            assert interface.validate_prediction(entry, return_errors=True) == []


def answer(image: str, scores: dict[str, float], error: str | None = None) -> Prediction:
    ranked = dict(sorted(scores.items(), key=lambda item: -item[1]))
    return Prediction(image, ranked, dict.fromkeys(scores, 0.5), error, names=tuple(scores))


def predictions(file: Path, rows: list[Prediction]) -> Path:
    with PREDICTION_WRITERS[file.suffix](file, rows[0].names) as writer:
        for row in rows:
            writer.add(row)
    return file


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize("labels", [("dog", "tall, cat", "person"), ("image", "a|b", "selected")])
def test_predictions_of_every_kind_of_file(tmp_path: Path, suffix: str, labels: tuple[str, ...]) -> None:
    scores = dict(zip(labels, (0.9, 0.6, 0.125), strict=True))
    rows = [
        answer("a/0.jpg", scores),
        answer("b.jpg", {}, "damaged"),
        answer("c.jpg", dict.fromkeys(labels, 0.25)),
    ]
    answers = read_answers(predictions(tmp_path / f"p{suffix}", rows))
    assert [one.image for one in answers] == ["a/0.jpg", "b.jpg", "c.jpg"]
    assert [one.selected for one in answers] == [labels[:2], None, ()]
    assert answers[0].scores == pytest.approx(scores)


def test_predictions_are_combined_with_known_labels(
    small: Dataset, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("dog", "tall, cat", "bird")
    rows = [
        answer(f"{photos}/a/0.jpg", dict(zip(names, (0.1, 0.2, 0.7), strict=True))),
        answer("a/2.jpg", dict(zip(names, (0.9, 0.4, 0.1), strict=True))),
        answer("a/3.jpg", dict(zip(names, (0.1, 0.2, 0.3), strict=True))),
        answer("z.jpg", dict.fromkeys(names, 0.5)),
        answer("a/1.jpg", {}, "damaged"),
    ]
    file = predictions(tmp_path / "p.csv", rows)
    monkeypatch.chdir(photos)
    written = convert(small, tmp_path / "out", "labelstudio", predictions=file)
    tasks = check_form(tmp_path / "out")
    assert [chosen(task, "annotations") for task in tasks] == [
        {"dog", "person"}, {"tall, cat"}, None, set(),
    ]  # fmt: skip
    assert [chosen(task, "predictions") for task in tasks] == [
        {"bird"}, None, {"dog", "tall, cat"}, set(),
    ]  # fmt: skip
    assert [task["predictions"][0]["score"] for task in tasks if "predictions" in task] == [0.7, 0.9, 0.7]
    assert "Labels only in the predictions: bird." in written.notes
    assert "1 predictions of other images are left out: z.jpg." in written.notes
    assert "1 images have no prediction." in written.notes
    assert any(note.startswith("1 annotations have no choice") for note in written.notes)
    assert [task["data"]["split"] for task in tasks] == ["train", "train", "val", "val"]
    with pytest.raises(LabelwiseError, match=r"p\.csv with z\.jpg; expected images of the data set"):
        convert(
            small, tmp_path / "other", "labelstudio", predictions=predictions(tmp_path / "p.csv", rows[3:4])
        )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", "image,labels\na.jpg,dog\n"),
        ("p.csv", "image,error,selected,dog\na.jpg,,dog,x\n"),
        ("p.csv", "image,error,selected,dog\n"),
        ("p.jsonl", "{}\n"),
        ("p.jsonl", "[1]\n"),
        ("p.parquet", "no"),
        ("p.xml", ""),
        ("gone.csv", None),
    ],
)
def test_other_files_are_refused_as_predictions(tmp_path: Path, name: str, content: str | None) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(LabelwiseError, match="labelwise predict --out"):
        read_answers(tmp_path / name)


def test_a_folder_of_parts_is_read(tmp_path: Path) -> None:
    for i in range(2):
        predictions(tmp_path / f"part-00000{i}.parquet", [answer(f"{i}.jpg", {"dog": 0.75})])
    assert [one.image for one in read_answers(tmp_path)] == ["0.jpg", "1.jpg"]


def test_a_folder_with_a_comma_reads_back(small: Dataset, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a,b"
    folder.mkdir()
    os.symlink(photos / "a" / "0.jpg", folder / "1.jpg")
    one = replace(small.take([0]), root=folder, images=pa.array(["1.jpg"]))
    assert read(str(convert(one, tmp_path / "out", "labelstudio").source)).images.to_pylist() == ["1.jpg"]


def test_urls_and_copies(small: Dataset, photos: Path, tmp_path: Path) -> None:
    odd = tmp_path / "in" / "a b"
    odd.mkdir(parents=True)
    os.symlink(photos / "a" / "0.jpg", odd / "ä&1.jpg")
    one = replace(small.take([0]), root=tmp_path / "in", images=pa.array(["a b/ä&1.jpg"]))
    written = convert(one, tmp_path / "out", "labelstudio")
    assert tasks_of(tmp_path / "out")[0]["data"]["image"] == "/data/local-files/?d=a%20b/%C3%A4%261.jpg"
    assert any(f"DOCUMENT_ROOT={tmp_path / 'in'}," in note for note in written.notes)
    assert read(str(written.source)).images.to_pylist() == ["a b/ä&1.jpg"]
    convert(one, tmp_path / "web", "labelstudio", url_prefix="https://example.org/")
    assert tasks_of(tmp_path / "web")[0]["data"]["image"] == "https://example.org/a%20b/%C3%A4%261.jpg"
    convert(one, tmp_path / "copy", "labelstudio", images="copy")
    assert (tmp_path / "copy" / "images" / "a b" / "ä&1.jpg").read_bytes() == (
        photos / "a" / "0.jpg"
    ).read_bytes()
