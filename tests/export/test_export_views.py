"""Exports of runs that answer by several views: the run's answers from one graph."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import labelwise as lw
import tiny_runs
from labelwise.errors import LabelwiseError
from labelwise.export import Artefact
from labelwise.export.tagger import write_tagger
from labelwise.runs import Run

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "onnx_plain.py"
VIEWS = {"flip": "flip", "multi-scale": "multi-scale=64"}


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Five photographs."""
    tiny_runs.photographs(tmp_path, 5, 0, 0)
    return [str(tmp_path / f"train{i}.jpg") for i in range(5)]


@pytest.mark.parametrize("view", VIEWS)
def test_the_graph_answers_by_the_same_views(
    exports: Path, run_folder: Path, photos: list[str], view: str
) -> None:
    run, export = lw.load(exports / f"tuned-{view}"), lw.load(exports / f"run-{view}")
    one_view = lw.load(run_folder)
    answers = [list(p.predict(photos, maps=True)) for p in (run, export, one_view)]
    for ours, theirs, other in zip(*answers, strict=True):
        assert theirs.scores == pytest.approx(ours.scores, abs=1e-5)
        assert (theirs.selected, theirs.thresholds) == (ours.selected, ours.thresholds)
        np.testing.assert_allclose(theirs.maps, ours.maps, atol=1e-4)
        assert theirs.scores != pytest.approx(other.scores, abs=1e-3)


def test_the_folder_says_which_views(exports: Path) -> None:
    for view, test_time in VIEWS.items():
        artefact = Artefact.open(exports / f"run-{view}")
        assert artefact.test_time == test_time
        stored = json.loads((artefact.path / "artefact.json").read_text())
        assert stored["test_time"] == test_time
        assert stored["format_version"] == (3 if view == "multi-scale" else 1)
        assert stored["preprocessing"].get("larger") == ([64, 64] if view == "multi-scale" else None)
    assert Artefact.open(exports / "run-onnx").test_time == "none"


def test_without_the_library_a_mirror_is_in_the_graph_and_a_sheet_is_refused(
    exports: Path, photos: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["onnx_plain.py", str(exports / "run-flip"), *photos])
    runpy.run_path(str(SCRIPT))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for line, answer in zip(lines, lw.load(exports / "run-flip").predict(photos), strict=True):
        assert line == pytest.approx(
            {"image": answer.image, **{n: answer.scores[n] for n in answer.selected}}
        )
    monkeypatch.setattr(sys, "argv", ["onnx_plain.py", str(exports / "run-multi-scale"), *photos])
    with pytest.raises(AssertionError, match="use labelwise"):
        runpy.run_path(str(SCRIPT))


def test_the_tagger_layout_refuses_two_sizes(exports: Path, tmp_path: Path) -> None:
    assert (exports / "run-flip" / "tagger" / "model.onnx").is_file()
    with pytest.raises(LabelwiseError, match="test_time = multi-scale=64; expected images of one size"):
        write_tagger(Run.open(exports / "tuned-multi-scale"), tmp_path / "tagger", [])


@pytest.mark.parametrize("view", VIEWS)
def test_weights_for_the_hub_answer_by_them_too(
    exports: Path, photos: list[str], tmp_path: Path, view: str
) -> None:
    lw.HubModel.from_run(exports / f"tuned-{view}").save_pretrained(tmp_path / "hub")
    assert Artefact.open(tmp_path / "hub").test_time == VIEWS[view]
    ours = lw.load(exports / f"tuned-{view}").predict(photos)
    for own, theirs in zip(ours, lw.load(tmp_path / "hub").predict(photos), strict=True):
        assert theirs.scores == pytest.approx(own.scores, abs=1e-6)
