"""What a person gets wrong without an error, through the command line: it is said."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_runs
from tiny_runs import TINY, command

Rows = list[list[str]]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The CSV of 21 photographs, of which no two are the same file."""
    table = tiny_runs.photographs(tmp_path / "photos")
    for file in table.parent.glob("*.jpg"):
        file.write_bytes(file.read_bytes() + file.name.encode())
    return table


def _rewrite(file: Path, change: Callable[[Rows], Rows], name: str = "labels.csv") -> Path:
    with open(file, newline="") as stream:
        rows = list(csv.reader(stream))
    with open(file.with_name(name), "w", newline="") as stream:
        csv.writer(stream).writerows(change(rows))
    return file.with_name(name)


def _trained(photos: Path, out: Path, *words: str) -> str:
    found = command("train", "--data", f"csv:{photos}", "--out", out, "--no-report", *TINY, *words)
    assert found.code == 0, found.err
    return found.err


def test_train_and_test_overlap(photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos.parent / "train3.jpg", photos.parent / "copy.jpg")
    _rewrite(photos, lambda rows: [*rows, ["copy.jpg", *rows[4][1:4], "test"]])
    message = _trained(photos, tmp_path / "run")
    says = (
        "warning: 1 of 6 images of test are in train too, as the same file or a copy (copy.jpg): its figures"
    )
    assert says in message
    assert "several splits" in command("data", "check", f"csv:{photos}", "--no-near-duplicates").out
    found = command("evaluate", tmp_path / "run", "--workers", "0", "--json")
    assert says in found.err
    stored = json.loads((tmp_path / "run" / "results.json").read_text())["splits"]
    for conditions in (json.loads(found.out)["conditions"], stored["test"]["conditions"]):
        assert conditions["seen_in_training"] == 1
        assert (
            conditions["warning"]
            in says.removeprefix("warning: ") + " are too high; see `labelwise data check`."
        )
    assert stored["val"]["conditions"]["seen_in_training"] == 0


def test_a_run_evaluated_on_what_it_learned(base: Path) -> None:
    photos, run = tiny_runs.trained(base)
    found = command("evaluate", run, "--split", "train", "--workers", "0", "--json")
    assert (
        "warning: All 12 images of train were trained on: its figures show what the model remembers"
        in found.err
    )
    assert json.loads(found.out)["conditions"]["seen_in_training"] == 12
    other = _rewrite(
        photos, lambda rows: [[*r[:4], "test" if r[4] == "train" else r[4]] for r in rows], "other.csv"
    )
    found = command("evaluate", run, "--data", f"csv:{other}", "--workers", "0")
    assert "warning: 12 of 17 images of test are in train too" in found.err
    clean = command("evaluate", run, "--workers", "0")
    assert "warning" not in clean.err


def test_labels_in_another_order_are_matched_by_name(base: Path) -> None:
    photos, run = tiny_runs.trained(base)
    turned = _rewrite(photos, lambda rows: [[r[0], r[3], r[1], r[2], r[4]] for r in rows], "turned.csv")
    results = [
        json.loads(command("evaluate", run, "--data", f"csv:{file}", "--workers", "0", "--json").out)
        for file in (photos, turned)
    ]
    assert results[0]["per_label"] == results[1]["per_label"]
    assert results[0]["metrics"] == results[1]["metrics"]


def test_going_on_with_other_labels_or_data(photos: Path, tmp_path: Path) -> None:
    _trained(photos, tmp_path / "run")
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    resume = ("train", "--out", tmp_path / "run", "--resume", "--no-report")
    kept = photos.read_bytes()
    _rewrite(photos, lambda rows: [[r[0], r[3], r[1], r[2], r[4]] for r in rows])
    found = command(*resume)
    assert found.code == 0, found.err
    assert "note: The order of the label columns has changed since the run began" in found.err
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights
    photos.write_bytes(kept)
    _rewrite(photos, lambda rows: [["image", "red", "green", "violet", "split"], *rows[1:]])
    assert "--resume with other labels (lacking: blue; extra: violet)" in command(*resume).message
    photos.write_bytes(kept)
    _rewrite(photos, lambda rows: rows[:5] + rows[6:])
    assert (
        "--resume on data that changed since the run began; expected the same images"
        in command(*resume).message
    )


def test_a_changed_label_set_is_refused_by_name(base: Path) -> None:
    photos, run = tiny_runs.trained(base)
    other = _rewrite(
        photos, lambda rows: [["image", "red", "green", "violet", "split"], *rows[1:]], "violet.csv"
    )
    message = command("evaluate", run, "--data", f"csv:{other}", "--workers", "0").message
    assert "(lacking: blue; extra: violet); expected the run's 3 labels" in message


def test_images_of_another_size_than_a_run_learned_on(base: Path, tmp_path: Path) -> None:
    photos, old = tiny_runs.trained(base)
    words = ("--init-from", old, "--epochs", "1", "--batch-size", "4", "--set", "workers=0", "--no-report")
    train = ("train", "--data", f"csv:{photos}", *words)
    found = command(*train, "--out", tmp_path / "new", "--image-size", "48")
    assert found.code == 0, found.err
    assert (
        f"warning: The image transform differs from the one {old} was trained with: "
        "image_size 48 after 32." in found.err
    )
    assert "image transform differs" not in command(*train, "--out", tmp_path / "same").err


def test_mixed_conventions_in_a_table(photos: Path, tmp_path: Path) -> None:
    def negative(rows: Rows) -> Rows:
        return [rows[0], *([r[0], r[1].replace("0", "-1"), *r[2:]] for r in rows[1:])]

    mixed = _rewrite(photos, negative, "mixed.csv")
    out = ("--out", tmp_path / "run", "--no-report", *TINY)
    message = command("train", "--data", f"csv:{mixed}", *out).message
    assert (
        "-1 in red, whose other cells are 1, beside columns of 0 and 1; expected one meaning of -1" in message
    )
    assert "add ?absent=-1 or ?unknown=-1" in message
    found = command("train", "--data", f"csv:{mixed}?unknown=-1", *out)
    assert (
        "note: red: 1 and unknown, but never 0 as in other columns; if what was read as unknown means absent there, "
        "write 0." in found.err
    ), found.err
