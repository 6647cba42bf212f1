"""The artefact folder: complete, verified, readable by later versions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import labelwise as lw
from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.export.artefact import Artefact, Preprocessing, seal, sha256
from labelwise.types import Group, LabelSet
from tolerance import ANSWERS

VERSION_1 = Path(__file__).parent / "version1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the artefact that version 1 wrote."""
    return Path(shutil.copytree(VERSION_1, tmp_path / "artefact"))


def change(folder: Path, **entries: object) -> None:
    """Changes entries of artefact.json with valid checksums; `...` removes one."""
    stored = json.loads((folder / "artefact.json").read_text()) | entries
    kept = {k: v for k, v in stored.items() if v is not ...}
    (folder / "artefact.json").write_text(json.dumps(kept))
    seal(folder)


def test_version_1_opens_and_answers() -> None:
    """Its logits are (mean of a channel - 100) / 25; colours exclude one another, and red has a calibration."""
    predictor = lw.load(VERSION_1)
    assert predictor.labels.names == ("red", "green", "blue")
    assert predictor.labels.groups == {"colour": Group(("red", "green"), exclusive=True)}
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    image[0], image[1], image[2] = 110, 150, 90
    (answer,) = predictor.predict([image])
    z = np.array([2 * 0.4 - 0.1, 2.0, -0.4])
    p = dict(zip(("red", "green", "blue"), 1 / (1 + np.exp(-z)), strict=True))
    assert answer.scores == pytest.approx(p, abs=ANSWERS)
    assert answer.thresholds == {"red": 0.5, "green": 0.6, "blue": 0.4}
    assert answer.selected == ["green", "blue"]  # red is over its threshold too, but less than green is
    chosen = {label["name"]: label["selected"] for label in answer.to_json()["labels"]}
    assert chosen == {"red": False, "green": True, "blue": True}
    with pytest.raises(LabelwiseError, match=r"without evidence maps; .* export again with --maps"):
        next(predictor.predict([image], maps=True))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    labels = LabelSet(("cät", "dog"), {"pets": Group(("cät", "dog"), True)})
    decisions = Decisions(np.array([0.3, 0.7]), np.array([1.5, 1]), np.array([0, -2.0]), ((0, 1),), 1, "val")
    prepared = Preprocessing((32, 48), "crop", (0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
    (tmp_path / "model.onnx").write_bytes(b"graph")
    written = Artefact(tmp_path, "onnx", "model.onnx", labels, prepared, decisions, True, {"a": 1})
    written.save()
    opened = Artefact.open(tmp_path)
    assert (opened.kind, opened.file, opened.labels, opened.preprocessing, opened.has_maps, opened.card) == (
        "onnx", "model.onnx", labels, prepared, True, {"a": 1}
    )  # fmt: skip
    for name in ("thresholds", "scale", "bias"):
        assert np.array_equal(getattr(opened.decisions, name), getattr(decisions, name))
    assert (opened.decisions.exclusive, opened.decisions.top_k) == (((0, 1),), 1)
    assert (opened.preprocessing.transform().size, opened.preprocessing.transform().resize) == (
        (32, 48),
        "crop",
    )


def test_checksums_are_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_a_hub_adds_is_no_part_of_it(folder: Path) -> None:
    (folder / "README.md").write_text("a card")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x").write_text("")
    seal(folder)
    assert set(json.loads((folder / "checksums.json").read_text())) == {"artefact.json", "model.onnx"}


@pytest.mark.parametrize("name", ["model.onnx", "artefact.json"])
def test_a_changed_file_is_refused_by_name(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-2] ^= 1 if name == "model.onnx" else 0
    (folder / name).write_bytes(data if name == "model.onnx" else data + b"\n")
    with pytest.raises(LabelwiseError, match=rf"{name}, changed since it was exported; .* export again"):
        lw.load(folder)


def test_a_missing_file_is_refused_by_name(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    with pytest.raises(LabelwiseError, match=r"without model.onnx; .*copy the whole folder again"):
        Artefact.open(folder)
    (folder / "checksums.json").write_text("{}")
    with pytest.raises(LabelwiseError, match=r"checksums.json without artefact.json"):
        Artefact.open(folder)


@pytest.mark.parametrize("version", [4, 0, "1", None])
def test_other_versions_are_refused(folder: Path, version: object) -> None:
    change(folder, format_version=version)
    with pytest.raises(
        LabelwiseError, match=rf"format version {version}; expected version 3 or older; upgrade"
    ):
        Artefact.open(folder)


@pytest.mark.parametrize(
    "entries", [{"kind": "tflite"}, {"labels": ...}, {"preprocessing": {"size": 8}}, {"outputs": None}]
)
def test_damaged_entries_are_refused(folder: Path, entries: dict) -> None:
    change(folder, **entries)
    with pytest.raises(LabelwiseError, match=r"artefact.json \(.*expected what labelwise export writes; "):
        Artefact.open(folder)


def test_a_graph_that_does_not_open_is_refused(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"no graph")
    seal(folder)
    with pytest.raises(LabelwiseError, match=r"model.onnx \(.*\); expected a graph that onnx opens here"):
        lw.load(folder)


def test_a_folder_of_neither_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        LabelwiseError, match=r"holds neither config.yaml nor artefact.json; expected the folder"
    ):
        lw.load(tmp_path)


@pytest.mark.parametrize("shape", [(2**45, 3, 8, 8), (2, 3, 9, 8)])
def test_a_batch_that_a_runtime_cannot_compute_is_one_line(shape: tuple[int, ...]) -> None:
    engine = lw.load(VERSION_1).engine
    images = torch.zeros(1, dtype=torch.uint8).expand(shape)
    message = rf"images of shape \[{shape[0]}, 3, {shape[2]}, 8\], which ONNX Runtime .*; give a smaller --batch-size"
    with pytest.raises(LabelwiseError, match=message) as caught:
        engine(images)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("torch", r"model.onnx \(.*\); expected a graph that torch opens here; export again"),
        (
            "weights",
            r"artefact.json \(.*weights without the settings of their run\); .*; export the run again",
        ),
    ],
)
def test_a_folder_of_another_format_is_refused(
    folder: Path, kind: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    change(folder, kind=kind)
    with pytest.raises(LabelwiseError, match=message):
        lw.load(folder)
    assert capfd.readouterr() == ("", "")
