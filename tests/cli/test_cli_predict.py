"""labelwise predict."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

import tiny_runs
from tiny_runs import Outcome, command
from tolerance import ANSWERS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five photographs and their table."""
    return tiny_runs.photographs(tmp_path / "photos", 5, 0, 0).parent


@pytest.fixture
def eager(tmp_path: Path, run_folder: Path) -> Path:
    """The finished run with thresholds that select every label."""
    (tmp_path / "eager").mkdir()
    for name in ("config.yaml", "labels.json", "model.safetensors"):
        (tmp_path / "eager" / name).write_bytes((run_folder / name).read_bytes())
    labels = json.loads((tmp_path / "eager" / "labels.json").read_text())
    labels["thresholds"] = dict.fromkeys(labels["names"], 0.0)
    (tmp_path / "eager" / "labels.json").write_text(json.dumps(labels))
    return tmp_path / "eager"


def _lines(outcome: Outcome) -> list[dict]:
    return [json.loads(line) for line in outcome.out.splitlines()]


def _names(folder: Path) -> list[str]:
    return [str(folder / f"train{i}.jpg") for i in range(5)]


def test_one_json_line_per_image(run_folder: Path, folder: Path) -> None:
    outcome = command("predict", run_folder, folder, "--json", "--workers", "0")
    assert outcome.code == 0, outcome.err
    lines = _lines(outcome)
    assert [line["image"] for line in lines] == _names(folder)
    for line in lines:
        assert set(line) == {"image", "labels"}
        assert {label["name"] for label in line["labels"]} == {str(d) for d in range(10)}
        scores = [label["score"] for label in line["labels"]]
        assert scores == sorted(scores, reverse=True)
        for label in line["labels"]:
            assert set(label) == {"name", "score", "threshold", "selected"}
            assert label["selected"] is (label["score"] >= label["threshold"])
    assert "5 images in" in outcome.err


def test_files_folders_globs_and_lists_give_the_same_output(run_folder: Path, folder: Path) -> None:
    (folder / "list.txt").write_text("\n".join(_names(folder)))
    options = ("--json", "--workers", "0", "--batch-size", "2")
    inputs = [[folder], [*_names(folder)], [folder / "*.jpg"], [f"@{folder}/list.txt"]]
    outputs = [command("predict", run_folder, *paths, *options).out for paths in inputs]
    assert outputs[0].count("\n") == 5
    assert all(output == outputs[0] for output in outputs)


def test_one_text_line_per_image(eager: Path, run_folder: Path, folder: Path) -> None:
    outcome = command("predict", eager, _names(folder)[0], "--workers", "0")
    assert outcome.out.startswith(f"{_names(folder)[0]}: ")
    assert outcome.out.count(", ") == 9


def test_an_unreadable_image_is_reported_and_the_others_are_predicted(run_folder: Path, folder: Path) -> None:
    (folder / "train1.jpg").write_bytes(b"")
    (folder / "train3.jpg").write_text("a text")
    outcome = command("predict", run_folder, folder, "--json", "--workers", "1")
    assert outcome.code == 1
    lines = _lines(outcome)
    assert [set(line) for line in lines] == [
        {"image", k} for k in ("labels", "error", "labels", "error", "labels")
    ]
    assert "is empty; expected a whole image file (JPEG, PNG, WebP, ...); replace it" in lines[1]["error"]
    assert "is not an image file" in lines[3]["error"]
    assert "2 unreadable" in outcome.err
    plain = command("predict", run_folder, folder, "--workers", "0")
    assert plain.code == 1
    assert plain.out.count("\n") == 3
    assert f"{folder}/train1.jpg: " in plain.err


def test_a_table(run_folder: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "train1.jpg").write_bytes(b"")
    out = tmp_path / "scores.parquet"
    outcome = command("predict", run_folder, folder, "--out", out, "--workers", "0")
    assert (outcome.code, outcome.out) == (1, "")
    rows = pq.read_table(out).to_pylist()
    assert [row["image"] for row in rows] == _names(folder)
    assert [row["error"] is None for row in rows] == [True, False, True, True, True]
    lines = _lines(command("predict", run_folder, folder, "--json", "--workers", "0"))
    for row, line in zip(rows, lines, strict=True):
        for label in line.get("labels", ()):
            assert row[label["name"]] == pytest.approx(label["score"], abs=ANSWERS)
    assert str(out) in outcome.err


def test_evidence_pictures_of_files_that_share_a_name(eager: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "train0.jpg").write_bytes((folder / "train1.jpg").read_bytes())
    maps = tmp_path / "maps"
    given = [folder / "train0.jpg", folder / "other" / "train0.jpg"]
    assert command("predict", eager, *given, "--maps", maps, "--workers", "0").code == 0
    names = {p.name for p in maps.iterdir()}
    assert names == {f"{stem}.{d}.jpg" for stem in ("train0", "train0-2") for d in range(10)}
    with Image.open(maps / "train0.3.jpg") as picture:
        picture.load()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none.jpg", "no such file or folder; expected image files, folders or globs; correct the path"),
        ("*.nothing", "no image in"),
        ("@none", "expected a text file with a path a line"),
    ],
)
def test_nothing_to_predict(run_folder: Path, tmp_path: Path, path: str, message: str) -> None:
    given = f"@{tmp_path}/{path[1:]}" if path.startswith("@") else tmp_path / path
    assert message in command("predict", run_folder, given).message


def test_an_unwritable_path_is_reported(run_folder: Path, folder: Path) -> None:
    outcome = command("predict", run_folder, folder, "--out", "/proc/none/scores.parquet", "--workers", "0")
    assert (
        "expected to read and write there; check the path, its permissions and the free space"
        in outcome.message
    )


@pytest.mark.parametrize("name", ["scores.csv", "scores.tsv", "scores.jsonl", "scores.parquet"])
def test_a_file_by_its_suffix(run_folder: Path, folder: Path, tmp_path: Path, name: str) -> None:
    (folder / "train1.jpg").write_bytes(b"")
    outcome = command("predict", run_folder, folder, "--out", tmp_path / name, "--workers", "0")
    assert (outcome.code, outcome.out) == (1, "")
    assert (tmp_path / name).is_file()
    lines = _lines(command("predict", run_folder, folder, "--json", "--workers", "0"))
    if name.endswith(".jsonl"):
        assert [json.loads(line) for line in (tmp_path / name).read_text().splitlines()] == lines
    elif name != "scores.parquet":
        with open(tmp_path / name, newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if name.endswith("tsv") else ","))
        for row, line in zip(rows, lines, strict=True):
            picked = [label["name"] for label in line.get("labels", ()) if label["selected"]]
            assert (row["image"], row["error"]) == (line["image"], line.get("error", ""))
            assert row["selected"] == "|".join(picked)


def test_a_file_of_another_kind_is_refused_before_anything_is_computed(
    run_folder: Path, folder: Path, tmp_path: Path
) -> None:
    for name in ("scores.json", "scores.xlsx", "scores.txt"):
        message = command("predict", run_folder, folder, "--out", tmp_path / name).message
        assert ".parquet, .csv, .tsv, .jsonl, .ndjson, or a folder" in message
    assert not (tmp_path / name).exists()
    outcome = command("predict", run_folder, folder, "--out", f"{tmp_path / name}/", "--workers", "0")
    assert (outcome.code, (tmp_path / name / "part-000000.parquet").is_file()) == (0, True)


def test_system_files_are_left_out_with_a_note(run_folder: Path, folder: Path) -> None:
    (folder / "._train0.jpg").write_bytes(b"\0\5\x16\7")
    (folder / "__MACOSX").mkdir()
    outcome = command("predict", run_folder, folder, "--json", "--workers", "0")
    assert [line["image"] for line in _lines(outcome)] == _names(folder)
    assert "note: 2 hidden or system files and folders were left out: ._train0.jpg, __MACOSX." in outcome.err
    assert "note: 1 files that are no images by their suffix were left out: labels.csv." in outcome.err
