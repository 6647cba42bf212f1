"""A run exported: by the library, by the command, read without either."""

from __future__ import annotations

import ast
import csv
import json
import runpy
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import labelwise as lw
import tiny_runs
from labelwise.errors import LabelwiseError
from labelwise.export import Artefact, exporting, tagger
from labelwise.export.artefact import seal
from labelwise.export.engines import TorchProgram, fastest
from labelwise.export.exporting import export_run
from labelwise.model import LabelModel
from labelwise.types import Output
from tolerance import ANSWERS

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "onnx_plain.py"


@pytest.fixture
def exported(exports: Path) -> Artefact:
    """The finished run as ONNX, with the tagger layout."""
    return Artefact.open(exports / "run-onnx")


class Copied:
    """Replaces tracing and conversion by the graph that another process wrote of the same run."""

    def __init__(self, exports: Path, patch: pytest.MonkeyPatch) -> None:
        self._from = exports / "run-torch"
        patch.setattr(exporting, "program", lambda *_: None)
        patch.setattr(exporting, "write_graph", self.write)

    def write(self, _: None, kind: str, folder: Path) -> str:
        """Put the file there."""
        assert kind == "torch"
        return Path(shutil.copy(self._from / "model.pt2", folder)).name


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Five photographs."""
    tiny_runs.photographs(tmp_path, 5, 0, 0)
    return [str(tmp_path / f"train{i}.jpg") for i in range(5)]


def test_the_export_answers_as_the_run_does(exported: Artefact, run_folder: Path, photos: list[str]) -> None:
    run, export = lw.load(run_folder), lw.load(exported.path)
    assert export.engine.name.startswith("ONNX Runtime")
    for ours, theirs in zip(run.predict(photos, maps=True), export.predict(photos, maps=True), strict=True):
        assert theirs.scores == pytest.approx(ours.scores, abs=1e-5)
        assert (theirs.selected, theirs.thresholds) == (ours.selected, ours.thresholds)
        np.testing.assert_allclose(theirs.maps, ours.maps, atol=1e-4)


def test_the_folder_says_what_it_is(exported: Artefact, run_folder: Path) -> None:
    folder = exported.path
    assert sorted(p.name for p in folder.iterdir()) == [
        "artefact.json",
        "checksums.json",
        "model.onnx",
        "tagger",
    ]
    assert not [p.name for p in folder.parent.iterdir() if p.name.startswith(".")]
    card = exported.card
    results = json.loads((run_folder / "results.json").read_text())["splits"]
    assert card["method"]["name"] == "dlfl"
    assert card["metrics"]["test"]["mAP"] == results["test"]["metrics"]["mAP"]
    assert card["data"]["val"]["image_ids_sha256"] == results["val"]["conditions"]["image_ids_sha256"]
    assert card["data"]["val"]["source"] == "parquet"
    assert card["parity"]["images"] == 10
    assert card["parity"]["max_probability_difference"] < 1e-4
    assert card["parity"]["batches"] == [1, 2, 3, 8]
    runtimes = card["parity"]["runtimes"]
    assert [name.split()[0] for name in runtimes] == ["ONNX", "OpenVINO"]
    assert max(runtimes.values()) < 1e-5
    assert str(run_folder.parent) not in json.dumps(card)
    assert "tagger/model.onnx" in json.loads((folder / "checksums.json").read_text())


def test_a_plain_script_gives_the_same_answers(
    exported: Artefact, photos: list[str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(exported.path), *photos])
    runpy.run_path(str(SCRIPT))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for line, answer in zip(lines, lw.load(exported.path).predict(photos), strict=True):
        assert line.pop("image") == answer.image
        assert list(line) == answer.selected
        assert line == pytest.approx({name: answer.scores[name] for name in answer.selected}, abs=ANSWERS)


def test_an_export_selects_no_label_without_positives(
    exported: Artefact,
    photos: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = shutil.copytree(exported.path, tmp_path / "marked")
    about = json.loads((folder / "artefact.json").read_text())
    names = about["labels"]["names"]
    about["decisions"]["thresholds"] = dict.fromkeys(names, 0.0)
    about["decisions"]["rules"]["never"] = ["3", "7"]
    (folder / "artefact.json").write_text(json.dumps(about))
    seal(folder)
    others = [name for name in names if name not in ("3", "7")]
    for answer in lw.load(folder).predict(photos):
        assert sorted(answer.selected) == others
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(folder), *photos])
    runpy.run_path(str(SCRIPT))
    for line in capsys.readouterr().out.splitlines():
        assert sorted(json.loads(line)) == [*others, "image"]
    Artefact.open(folder).save()
    assert Artefact.open(folder).decisions.never == (3, 7)


def test_the_tagger_gives_such_a_label_no_probability() -> None:
    logits = torch.tensor([[3.0, 50.0, -1.0]])

    class Fixed(LabelModel):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)

        def forward(self, images: Tensor) -> Output:  # type: ignore[override]
            return Output(logits, torch.zeros(1, 3, 1), None, torch.zeros(1, 3, 1))

    scale, bias = np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, -1.0])
    prediction, given = tagger.Tagger(Fixed(), scale, bias, never=(1,))(torch.zeros(1, 3, 8, 8))
    assert prediction[0].tolist() == pytest.approx([1 / (1 + np.exp(-3)), 0, 1 / (1 + np.exp(4))])
    assert torch.equal(given, logits)


def test_the_plain_script_is_short_and_knows_nothing_of_us() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    code = text.replace(ast.get_docstring(ast.parse(text)) or "", "").splitlines()
    assert len([line for line in code if line.strip(' "')]) <= 27
    names = {
        a.name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import)
        for a in node.names
    }
    assert names == {"json", "sys", "numpy", "onnxruntime"}


def test_the_tagger_layout(exported: Artefact, run_folder: Path, photos: list[str]) -> None:
    import onnxruntime as ort

    folder, predictor = exported.path / "tagger", lw.load(run_folder)
    tags = list(csv.DictReader((folder / "selected_tags.csv").open(encoding="utf-8")))
    assert [tag["name"] for tag in tags] == list(predictor.labels.names)
    assert [float(tag["best_threshold"]) for tag in tags] == predictor.decisions.thresholds.tolist()
    per_label = json.loads((run_folder / "results.json").read_text())["splits"]["test"]["per_label"]
    assert [int(tag["count"]) for tag in tags] == [per_label[tag["name"]]["positives"] for tag in tags]
    (general,) = csv.DictReader((folder / "thresholds.csv").open(encoding="utf-8"))
    assert float(general["threshold"]) == pytest.approx(float(np.median(predictor.decisions.thresholds)))
    stages = json.loads((folder / "preprocess.json").read_text())["test"]
    assert [(s["type"], s.get("size")) for s in stages] == [("resize", [32, 32]), ("maybe_to_tensor", None)]
    session = ort.InferenceSession(folder / "model.onnx")
    (answer,) = predictor.predict(photos[:1])
    image = predictor.transform(lw.data.decode_image(photos[0], shrink_to=32)).numpy()[None]
    (prediction,) = session.run(["prediction"], {"input": image.astype(np.float32) / 255})
    scores = dict(zip(predictor.labels.names, prediction[0].tolist(), strict=True))
    assert scores == pytest.approx(answer.scores, abs=1e-5)


def test_the_command(
    run_folder: Path, exports: Path, tmp_path: Path, photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Copied(exports, monkeypatch)
    out = tmp_path / "pt2"
    arguments = ("export", run_folder, "--format", "torch", "--no-maps", "--images", "4")
    outcome = tiny_runs.command(*arguments, "--out", out, "--json")
    assert outcome.code == 0, outcome.err
    card = json.loads(outcome.out)
    assert (card["kind"], card["parity"]["images"]) == ("torch", 4)
    assert sorted(p.name for p in out.iterdir()) == ["artefact.json", "checksums.json", "model.pt2"]
    plain = tiny_runs.command(*arguments, "--out", tmp_path / "again").out
    assert "torch; compared with the run on 4 images: largest difference of a probability" in plain
    lines = [json.loads(x) for x in tiny_runs.command("predict", out, *photos, "--json").out.splitlines()]
    for line, answer in zip(lines, lw.load(run_folder).predict(photos), strict=True):
        scores = {label["name"]: label["score"] for label in line["labels"]}
        assert scores == pytest.approx(answer.scores, abs=1e-5)
    outcome = tiny_runs.command("predict", out, photos[0], "--maps", tmp_path / "maps")
    assert "without evidence maps" in outcome.message


def test_other_answers_are_refused_and_leave_nothing(
    run_folder: Path, exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph that adds one half to the fourth logit."""
    Copied(exports, monkeypatch)
    real = exporting.open_engine

    class Spoilt:
        name, has_maps = "the graph", False

        def __init__(self, artefact: Artefact) -> None:
            self._engine = real(artefact)

        def __call__(self, images: Tensor, want_maps: bool = False) -> tuple[np.ndarray, None]:
            logits = self._engine(images)[0].copy()
            logits[:, 3] += 0.5
            return logits, None

    monkeypatch.setattr(exporting, "open_engine", Spoilt)
    with pytest.raises(LabelwiseError, match=r"the graph returns 3 = .* for row \d+, where the run returns"):
        export_run(run_folder, tmp_path / "out", "torch", images=4, maps=False)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_another_runtime_computes_wrongly_is_refused(
    run_folder: Path, exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It adds one half to the second image of a batch, and is right for one image."""
    Copied(exports, monkeypatch)

    class RightForOne(TorchProgram):
        def __call__(self, images: Tensor, want_maps: bool = False) -> tuple[np.ndarray, None]:
            logits = super().__call__(images)[0].copy()
            logits[1:2] += 0.5
            return logits, None

    def installed(kind: str, file: Path, has_maps: bool, has_features: bool) -> list:
        return [
            ("torch", partial(TorchProgram, file, has_maps)),
            ("other", partial(RightForOne, file, False)),
        ]

    monkeypatch.setattr(exporting, "installed_runtimes", installed)
    with pytest.raises(
        LabelwiseError, match=r"torch.export \(cpu\) returns .* for row \d+, where the run returns"
    ):
        export_run(run_folder, tmp_path / "out", "torch", images=4, maps=False)
    assert list(tmp_path.iterdir()) == []


def test_auto_keeps_the_fastest(
    run_folder: Path, exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Copied(exports, monkeypatch)
    times = iter([0.3, 0.1, 0.2])
    monkeypatch.setattr(exporting, "FILES", {"torch": "model.pt2"})
    monkeypatch.setattr("labelwise.export.engines.seconds_per_image", lambda *_: next(times))
    export = export_run(run_folder, tmp_path / "out", "auto", images=2, maps=False)
    assert (export.artefact.kind, list(export.seconds.values())) == ("torch", [0.3, 0.1])
    assert export.artefact.card["seconds_per_image"] == export.seconds
    times = iter([0.3, 0.1])
    monkeypatch.setattr("labelwise.export.engines.seconds_per_image", lambda *_: next(times))

    class Named:
        has_maps = False

        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, images: Tensor, want_maps: bool = False) -> tuple[np.ndarray, None]:
            return np.zeros((len(images), 1), np.float32), None

    winner, seconds = fastest([Named("a"), Named("b")], torch.zeros(1, 3, 8, 8))
    assert (winner.name, seconds) == ("b", {"a": 0.3, "b": 0.1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "onnx", "--out", "{full}"), "full, which holds something; expected a new folder"),
        (("--data", "csv:{tmp}/none.csv", "--out", "{tmp}/x"), "no images to compare the export on"),
    ],
)
def test_invalid_options_are_refused(
    run_folder: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("keep")
    given = [option.format(tmp=tmp_path, full=full) for option in options]
    assert message in tiny_runs.command("export", run_folder, *given).message
    assert (full / "mine.txt").read_text() == "keep"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full"]


def test_a_missing_package_is_named(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = r"format onnx without the package onnx; expected .*; run: pip install 'labelwise\[onnx\]'"
    with pytest.raises(LabelwiseError, match=message):
        export_run(run_folder, tmp_path / "x", "onnx")
    with pytest.raises(
        LabelwiseError, match=r"format 'tflite'; expected .* torch, executorch, litert or coreml"
    ):
        export_run(run_folder, tmp_path / "x", "tflite")


def test_an_artefact_moves(exported: Artefact, tmp_path: Path, photos: list[str]) -> None:
    moved = shutil.copytree(exported.path, tmp_path / "elsewhere")
    assert Artefact.open(moved).card == exported.card
    assert next(lw.load(moved).predict(photos[:1])).error is None
