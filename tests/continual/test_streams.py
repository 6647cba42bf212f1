"""Streams from any data set, and the published ones from files in their layout."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import tiny_runs
from labelwise.continual import published
from labelwise.continual.published import published_stream
from labelwise.continual.run import learn_stream
from labelwise.continual.streams import label_blocks, make_stream
from labelwise.data import read
from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError
from labelwise.runs.config import make_config
from labelwise.types import LabelSet


def dataset(rows: int = 60, labels: int = 5, seed: int = 0) -> Dataset:
    """Half train, half test; each label rarer than the one before; some rows without any."""
    rng = np.random.default_rng(seed)
    values = (rng.random((rows, labels)) < 0.6 / np.arange(1, labels + 1)).astype(np.uint8)
    names = LabelSet(tuple("abcdefgh"[:labels]))
    images = pa.array([f"{i}.jpg" for i in range(rows)])
    data = Dataset(names, images, None, values, np.ones(values.shape, bool), source="made")
    return data.with_split(np.arange(rows) % 2, ("train", "test"))


def test_an_online_image_belongs_to_its_rarest_label() -> None:
    data = dataset()
    stream = make_stream(data, "online", [2, 3])
    train = data.split("train")
    count = [int(train.values[:, j].sum()) for j in range(5)]
    for i in range(len(train)):
        held = [j for j in range(5) if train.values[i, j]]
        tasks = [t for t, task in enumerate(stream.tasks) if i in task.train]
        rarest = min(held, key=lambda j: count[j]) if held else None
        assert tasks == ([] if rarest is None else [0 if rarest < 2 else 1])
    assert stream.annotated(0).all()
    assert stream.known_labels(0) == 5
    assert stream.judged(1).tolist() == [0, 1, 2, 3, 4]
    assert re.fullmatch(r"\d+ training images without a positive are in no task\.", stream.notes[0])


def test_an_incremental_task_tells_its_own_labels() -> None:
    data = dataset()
    stream = make_stream(data, "class-incremental", [2, 3])
    train = data.split("train")
    for task, block in zip(stream.tasks, ([0, 1], [2, 3, 4]), strict=True):
        assert task.train.tolist() == [i for i in range(30) if train.values[i, block].any()]
        assert len(task.test) == 30
    assert stream.annotated(1).tolist() == [False, False, True, True, True]
    assert [stream.known_labels(t) for t in (0, 1)] == [2, 5]
    assert stream.judged(1).tolist() == [2, 3, 4]


def in_folders(of: list[str]) -> Dataset:
    """The data set with image `i` in the folder `of[i % len(of)]`; even rows are train, odd ones test."""
    images = pa.array([f"images/{of[i % len(of)]}/{i}.jpg" for i in range(60)])
    return replace(dataset(), images=images)


def test_a_domain_is_a_folder_with_all_labels() -> None:
    stream = make_stream(in_folders(["b", "b", "a", "a", "b", "new"]), "domain-incremental")
    assert [(task.folder, len(task.train), len(task.test)) for task in stream.tasks] == [
        ("a", 10, 10),
        ("b", 20, 10),
    ]
    assert stream.tasks[0].train.tolist() == [i for i in range(30) if i % 3 == 1]
    assert stream.tasks[1].test.tolist() == [i for i in range(30) if i % 3 == 0]
    assert stream.annotated(1).all()
    assert [stream.known_labels(t) for t in (0, 1)] == [5, 5]
    assert stream.judged(0).tolist() == [0, 1, 2, 3, 4]
    assert stream.notes == ("Folders without training images are in no task: new.",)


@pytest.mark.parametrize(
    ("folders", "sizes", "message"),
    [
        (
            ["a", "a", "b", "b"],
            [2, 3],
            "tasks of 2, 3 labels in a domain-incremental stream; .*; leave out --tasks",
        ),
        (["a", "a"], [], "training images of made in 1 folder; expected two folders or more"),
        (["a", "a", "b", "a"], [], "no test image in the folder b; "),
    ],
)
def test_domains_that_are_no_stream(folders: list[str], sizes: list[int], message: str) -> None:
    with pytest.raises(LabelwiseError, match=message):
        make_stream(in_folders(folders), "domain-incremental", sizes)


def test_sizes_must_add_up() -> None:
    assert label_blocks(20, [4, 16])[1] == tuple(range(4, 20))
    assert [len(b) for b in label_blocks(6, [])] == [2, 2, 1, 1]
    with pytest.raises(LabelwiseError, match=r"tasks of 2, 2 labels, 4 in all; .* add up to 5"):
        label_blocks(5, [2, 2])


def test_hidden_cells_and_fewer_images_are_refused(tmp_path: Path) -> None:
    for name, value in (("train_images", 5), ("known_proportion", 0.5), ("mask_file", "m.npz")):
        config = make_config({"data": {"source": "made", name: value}})
        with pytest.raises(LabelwiseError, match=f"data.{name}={value} with a stream; .*; leave it out"):
            learn_stream(config, tmp_path / "run", dataset())


def test_a_task_without_images_is_refused() -> None:
    data = dataset()
    data.values[:, 4] = 0
    with pytest.raises(LabelwiseError, match="no training image for the task of e; "):
        make_stream(data, "online", [4, 1])


def test_a_folder_whose_images_cannot_be_read_is_named(tmp_path: Path) -> None:
    table = tiny_runs.photographs(tmp_path / "photos")
    lines = table.read_text().splitlines()
    for number, line in enumerate(lines[1:], 1):
        name = line.partition(",")[0]
        folder = table.parent / ("a" if number % 2 else "b")
        folder.mkdir(exist_ok=True)
        (table.parent / name).rename(folder / name)
        lines[number] = f"{folder.name}/{line}"
        if folder.name == "b" and name.startswith("test"):
            (folder / name).write_bytes(b"no image")
    table.write_text("\n".join(lines))
    backbone = {"name": "test_vit", "weights": "none", "freeze": True, "stage": 1}
    changes = {"backbone": backbone, "continual": {"setting": "domain-incremental", "memory": 4}}
    config = make_config(tiny_runs.settings(f"csv:{table}", **changes, method="baseline-gap", extractor={}))
    with pytest.raises(LabelwiseError, match="the task b, whose images of train or of test cannot be read; "):
        learn_stream(config, tmp_path / "run", read(f"csv:{table}"), quiet=True)


def write(path: Path, data: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data))


def cocoseq(folder: Path) -> Path:
    """Two images a task and split, and a category that the stream leaves out."""
    write(folder / "multihot_map.json", {"dog": 1, "cat": 0})
    categories = [{"id": 7, "name": "dog"}, {"id": 9, "name": "cat"}, {"id": 3, "name": "kite"}]
    for half, first in (("train2014", 100), ("val2014", 200)):
        ids = range(first, first + 8)
        images = [{"id": i, "file_name": f"{i}.jpg"} for i in ids]
        boxes = [{"image_id": i, "category_id": (7, 9, 3)[i % 3]} for i in ids]
        boxes.append({"image_id": first, "category_id": 9})
        write(
            folder / f"annotations/instances_{half}.json",
            {"categories": categories, "images": images, "annotations": boxes},
        )
        for i in ids:
            write(folder / half / f"{i}.jpg", "")
    for task in range(4):
        write(folder / f"ids/train_task{task}_id_coco.json", [100 + 2 * task, 201 + 2 * task])
        write(folder / f"ids/test_task{task}_id_coco.json", [101 + 2 * task, 200 + 2 * task])
    return folder


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published counts, as if the lists of these tests were the published ones."""
    for name, tasks in (("cocoseq", 4), ("nuswideseq", 6)):
        known = published.STREAMS[name]
        two = (2,) * tasks
        monkeypatch.setitem(
            published.STREAMS, name, published.PublishedStream(known.suffix, known.order, two, two)
        )


@pytest.mark.usefixtures("_small")
def test_cocoseq(tmp_path: Path) -> None:
    stream = published_stream("cocoseq", cocoseq(tmp_path))
    assert (stream.name, stream.notes, stream.setting) == ("cocoseq.v1", (), "online")
    assert stream.train.labels.names == ("cat", "dog")
    order = [[stream.train.image_id(i) for i in task.train.tolist()] for task in stream.tasks]
    assert order == [[f"train2014/{100 + 2 * t}.jpg", f"val2014/{201 + 2 * t}.jpg"] for t in (0, 3, 1, 2)]
    first = stream.train.values[stream.tasks[0].train].tolist()
    assert first == [[1, 1 if 100 % 3 == 0 else 0], [int(201 % 3 == 1), int(201 % 3 == 0)]]
    assert len(stream.test) == 8


@pytest.mark.usefixtures("_small")
def test_missing_images_rename_the_stream(tmp_path: Path) -> None:
    (cocoseq(tmp_path) / "val2014/207.jpg").unlink()
    stream = published_stream("cocoseq", tmp_path)
    assert stream.name == "cocoseq, not the published one"
    assert stream.notes == ("1 images of train task 1 are missing.",)
    assert [len(task.train) for task in stream.tasks] == [2, 1, 2, 2]


def test_lists_of_other_lengths_are_reported(tmp_path: Path) -> None:
    stream = published_stream("cocoseq", cocoseq(tmp_path))
    assert stream.notes[0] == "train lists hold [2, 2, 2, 2] images, the published [8365, 7290, 7814, 11603]."
    assert stream.name == "cocoseq, not the published one"


def test_faults_of_the_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match=r"multihot_map\.json: No such file"):
        published_stream("cocoseq", tmp_path)
    cocoseq(tmp_path)
    write(tmp_path / "ids/train_task2_id_coco.json", [999])
    with pytest.raises(LabelwiseError, match="image id 999 in a list; expected an id of the annotations"):
        published_stream("cocoseq", tmp_path)
    write(tmp_path / "ids/train_task2_id_coco.json", "[1, 2")
    with pytest.raises(LabelwiseError, match=r"train_task2_id_coco\.json is damaged; expected JSON"):
        published_stream("cocoseq", tmp_path)


@pytest.mark.usefixtures("_small")
def test_nuswideseq(tmp_path: Path) -> None:
    write(tmp_path / "multihot_map.json", {"sky": 0, "sea": 1})
    for half, split in (("Train", "train"), ("Test", "test")):
        write(tmp_path / f"ImageList/{half}Imagelist.txt", "".join(f"d\\{half}{i}.jpg\n" for i in range(12)))
        for label, step in (("sky", 2), ("sea", 3)):
            states = "".join(f"{int(i % step == 0)}\n" for i in range(12))
            write(tmp_path / f"TrainTestLabels/Labels_{label}_{half}.txt", states)
        for i in range(12):
            write(tmp_path / f"image/d/{half}{i}.jpg", "")
        for task in range(6):
            write(tmp_path / f"ids/{split}_task{task}_id_nuswide.json", [task, task + 6])
    stream = published_stream("nuswideseq", tmp_path)
    assert (stream.name, stream.notes) == ("nuswideseq.v1", ())
    assert stream.train.image_id(0) == "image/d/Train3.jpg"
    assert stream.train.values[0].tolist() == [0, 1]
    assert [task.train.tolist() for task in stream.tasks[:2]] == [[0, 1], [2, 3]]
    write(tmp_path / "TrainTestLabels/Labels_sea_Train.txt", "1\n")
    with pytest.raises(LabelwiseError, match="with 1 lines; expected 12; "):
        published_stream("nuswideseq", tmp_path)
