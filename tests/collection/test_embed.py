"""Rows of a collection equal what the model gives image by image, each image once, also after kills."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from written import files_of

import labelwise as lw
import tiny_runs
from labelwise.collection import store
from labelwise.collection.collection import vectors_of_column
from labelwise.collection.embedding import Done, embed
from labelwise.collection.store import FolderStore
from labelwise.errors import LabelwiseError
from tiny_runs import command


def tables(path: Path) -> tuple[list[dict], list[dict]]:
    """All rows of both tables in their order."""
    opened = FolderStore.open(path)
    return opened.images.to_arrow().to_pylist(), opened.features.to_arrow().to_pylist()


def slow_box(evidence: np.ndarray) -> tuple[float, ...]:
    """The places reached from the peak by steps between places of at least half of it."""
    rows, columns = evidence.shape
    todo, reached = [divmod(int(evidence.argmax()), columns)], set[tuple[int, int]]()
    while todo:
        y, x = todo.pop()
        if (y, x) in reached or not (0 <= y < rows and 0 <= x < columns):
            continue
        if evidence[y, x] < evidence.max() / 2:
            continue
        reached.add((y, x))
        todo += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    ys, xs = [y for y, _ in reached], [x for _, x in reached]
    return min(xs) / columns, min(ys) / rows, (max(xs) + 1) / columns, (max(ys) + 1) / rows


def slow_colours(pixels: torch.Tensor, evidence: torch.Tensor) -> np.ndarray:
    """Each pixel adds the weight of its place of the map, shared by all pixels there, to its colour."""
    (_, height, width), (rows, columns) = pixels.shape, evidence.shape
    at = [(y, x, y * rows // height, x * columns // width) for y in range(height) for x in range(width)]
    counts, shares = np.zeros((rows, columns)), np.zeros(64)
    for *_, cy, cx in at:
        counts[cy, cx] += 1
    for y, x, cy, cx in at:
        red, green, blue = (int(value) // 64 for value in pixels[:, y, x])
        shares[16 * red + 4 * green + blue] += float(evidence[cy, cx]) / counts[cy, cx]
    return np.sqrt(shares / shares.sum())


def test_rows_are_those_of_the_model(embedded: tuple[Path, list[str]], run_folder: Path) -> None:
    out, files = embedded
    images, features = tables(out)
    names = lw.load(run_folder).labels.names
    assert [row["path"] for row in images] == files
    assert [row["image"] for row in images] == list(range(11))
    assert [bool(row["error"]) for row in images] == [i == 4 for i in range(11)]
    assert len(features) == 10 * len(names)
    predictor = lw.load(run_folder)
    model = predictor.engine.model  # type: ignore[union-attr]
    by = {(row["image"], row["label"]): row for row in features}
    for i, file in enumerate(files):
        if i == 4:
            assert not any(images[i]["whole"])
            continue
        picture = Image.open(file)
        assert (images[i]["width"], images[i]["height"]) == picture.size
        assert images[i]["digest"] == hashlib.sha256(Path(file).read_bytes()).hexdigest()
        pixels = predictor.transform(predictor.transform.decode(file))[None]
        with torch.inference_mode():
            output, pooled = model(pixels, want_maps=True), model.backbone(pixels).mean((2, 3))[0]
        np.testing.assert_allclose(images[i]["whole"], pooled / pooled.norm(), atol=2e-3)
        answer = next(predictor.predict(file))
        assert images[i]["labels"] == answer.selected
        for j, name in enumerate(names):
            row, own = by[i, name], output.features[0, j]
            head, looks = 2 * own / own.norm(), slow_colours(pixels[0], output.maps[0, j])
            expected = np.concatenate([head, looks]) / np.sqrt(4 + 1)
            np.testing.assert_allclose(row["feature"], expected, atol=2e-3)
            assert row["score"] == pytest.approx(answer.scores[name], abs=1e-5)
            assert row["scores"][j] == pytest.approx(answer.scores[name], abs=1e-3)
            assert row["selected"] == (name in answer.selected)
            assert row["box"] == pytest.approx(slow_box(output.maps[0, j].numpy()))


def test_only_selected_labels_are_stored_unless_all_are_asked_for(run_folder: Path, tmp_path: Path) -> None:
    files, names = files_of(tmp_path / "photos", 5), lw.load(run_folder).labels.names
    out = tmp_path / "some"
    result = command(
        "embed", run_folder, *files, "--out", out, "--labels", f"{names[1]},{names[3]}", "--workers", "0"
    )
    assert (result.code, "1 unreadable" in result.err) == (1, True)
    images, features = tables(out)
    expected = [(row["image"], n) for n in (names[1], names[3]) for row in images if n in row["labels"]]
    assert sorted((row["image"], row["label"]) for row in features) == sorted(expected)
    assert lw.Collection.open(out).labels == (names[1], names[3])
    assert sum(lw.Collection.open(out).counts().values()) == len(features)


def killed(run: Path, files: list[str], out: Path, adds: int, between: bool) -> None:
    """Embeds until SIGKILL, after so many parts, or between the two tables of the next part."""
    torch.set_num_threads(1)
    added, plain = 0, FolderStore.add

    def add(self: FolderStore, images: pa.Table, features: pa.Table) -> None:
        nonlocal added
        if added == adds:
            if between:
                self.features.add(features)
            os.kill(os.getpid(), signal.SIGKILL)
        plain(self, images, features)
        added += 1

    FolderStore.add = add  # type: ignore[method-assign]
    embed(run, files, out, every=True, part=2, batch_size=2)


def test_killed_and_resumed_holds_each_image_once(
    embedded: tuple[Path, list[str]], run_folder: Path, tmp_path: Path
) -> None:
    _, files = embedded
    out = tmp_path / "killed"
    for adds, between in ((0, True), (1, False), (2, True)):
        process = tiny_runs.forks().Process(target=killed, args=(run_folder, files, out, adds, between))
        process.start()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL
    collection = lw.Collection.open(out)
    label, count = collection.labels[0], FolderStore.open(out).features.count_rows()
    assert len(collection) == 6
    assert count > 5 * len(collection.labels), "features of an unfinished part are there, but not read"
    assert collection.features(label)["image"].to_pylist() == [0, 1, 2, 3, 5]
    found = collection.nearest(label, np.ones(collection.identity.dim, np.float32))
    assert sorted(found["image"].to_pylist()) == [0, 1, 2, 3, 5]
    assert embed(run_folder, files, out, every=True, part=2, batch_size=2).images == 11
    whole = tmp_path / "whole"
    embed(run_folder, files, whole, every=True, part=2, batch_size=2)
    assert tables(out) == tables(whole)
    assert len({(row["image"], row["label"]) for row in tables(out)[1]}) == len(tables(out)[1]) == 100


def test_the_same_command_adds_new_images(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files_of(tmp_path / "photos", 4)
    out = tmp_path / "grown"
    monkeypatch.chdir(tmp_path)
    assert embed(run_folder, files[:2], out, every=True).added == 2
    again = [*files[:3], "photos/train0.jpg", files[3]]
    assert embed(run_folder, again, out, every=True) == Done(4, 2, 20, 0)
    assert [row["path"] for row in tables(out)[0]] == files
    assert embed(run_folder, again, out, every=True).added == 0


def test_another_run_or_other_options_are_refused(
    embedded: tuple[Path, list[str]], run_folder: Path, tmp_path: Path
) -> None:
    out, files = embedded
    before = tables(out)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.yaml", "labels.json", "model.safetensors"):
        (other / name).write_bytes((run_folder / name).read_bytes())
    (other / "labels.json").write_text((other / "labels.json").read_text() + "\n")
    with pytest.raises(LabelwiseError, match="a collection of another model, with other weights"):
        embed(other, files, out, every=True)
    with pytest.raises(LabelwiseError, match="another --all; expected the run and options"):
        embed(run_folder, files, out)
    with pytest.raises(LabelwiseError, match="another --labels"):
        embed(run_folder, files, out, every=True, labels=lw.load(run_folder).labels.names[:2])
    with pytest.raises(LabelwiseError, match="label 'unicorn'; expected one of"):
        embed(run_folder, files, tmp_path / "new", labels=["unicorn"])
    with pytest.raises(LabelwiseError, match="which holds something else; expected a new folder"):
        embed(run_folder, files, Path(files[0]).parent)
    with store.writing(out), pytest.raises(LabelwiseError, match="to which another process writes"):
        embed(run_folder, files, out, every=True)
    assert tables(out) == before
    assert not (tmp_path / "new").exists()


def test_images_inside_a_table_and_plain_paths_with_a_split_are_refused(
    run_folder: Path, table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x"
    assert "holds its images inside" in command("embed", run_folder, f"parquet:{table}", "--out", out).message
    message = command("embed", run_folder, table.parent, "--split", "test", "--out", out).message
    assert "--split test of plain paths" in message
    assert not out.exists()


def test_a_source_is_read_by_its_split(run_folder: Path, tmp_path: Path) -> None:
    file = tiny_runs.photographs(tmp_path / "photos", 3, 2, 2)
    out = tmp_path / "val"
    words = ("embed", run_folder, f"csv:{file}", "--split", "val", "--out", out, "--workers", "0")
    assert command(*words).code == 0
    assert [os.path.basename(row["path"]) for row in tables(out)[0]] == ["val0.jpg", "val1.jpg"]


def test_without_lancedb_one_line(
    embedded: tuple[Path, list[str]], run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for words in (
        ("embed", run_folder, embedded[1][0], "--out", tmp_path / "x"),
        ("search", embedded[0], "--label", "1", "--by", "score"),
    ):
        assert "run: pip install 'labelwise[search]'" in command(*words).message
    assert not (tmp_path / "x").exists()


def test_the_vectors_are_of_unit_length(embedded: tuple[Path, list[str]]) -> None:
    collection = lw.Collection.open(embedded[0])
    for label in collection.labels:
        features = vectors_of_column(
            collection.features(label, ["image", "feature"])["feature"], collection.identity.dim
        )
        np.testing.assert_allclose(np.linalg.norm(features.astype(np.float64), axis=1), 1, atol=2e-3)
