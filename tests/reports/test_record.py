from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import write_run

from labelwise.errors import LabelwiseError
from labelwise.reports.record import finite_number, read_run

NAMES = ("cat", "dog", "sofa")


def test_reads_what_the_run_holds(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", NAMES, images=20, epochs=3))
    with np.load(tmp_path / "run" / "scores" / "test.npz") as stored:
        expected = 1 / (1 + np.exp(-stored["logits"].astype(np.float64)))
        known = stored["known"]
    assert run.names == NAMES
    assert run.shown_split == "test"
    np.testing.assert_allclose(run.scores["test"].probabilities, expected, rtol=1e-5)
    np.testing.assert_array_equal(run.scores["test"].known, known)
    assert [len(run.epochs), len(run.steps)] == [3, 180]
    assert run.bad_images == [("JPEGImages/000017.jpg", "the file ends early")]


def test_shows_val_without_test(tmp_path: Path) -> None:
    assert read_run(write_run(tmp_path, NAMES, images=5, splits=("val",))).shown_split == "val"


def test_a_label_without_threshold_gets_a_half(tmp_path: Path) -> None:
    write_run(tmp_path, NAMES, images=5)
    (tmp_path / "labels.json").write_text(json.dumps({"names": NAMES, "thresholds": {"dog": 0.2}}))
    assert read_run(tmp_path).thresholds.tolist() == [0.5, 0.2, 0.5]


def test_scores_are_calibrated_and_decided_as_stored(tmp_path: Path) -> None:
    write_run(tmp_path, NAMES, images=30)
    plain = read_run(tmp_path).scores["test"].probabilities
    labels = json.loads((tmp_path / "labels.json").read_text())
    labels |= {"calibration": {"scale": {"dog": 2.0}, "bias": {}}, "rules": {"exclusive": [NAMES]}}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    run = read_run(tmp_path)
    odds = (plain[:, NAMES.index("dog")] / (1 - plain[:, NAMES.index("dog")])) ** 2
    scores = run.scores["test"]
    np.testing.assert_allclose(scores.probabilities[:, NAMES.index("dog")], odds / (1 + odds), rtol=1e-4)
    assert (scores.selected.sum(axis=1) <= 1).all()
    assert scores.selected.any()


def test_a_log_cut_off_in_its_last_line_is_read(tmp_path: Path) -> None:
    write_run(tmp_path, NAMES, images=5, epochs=2)
    log = tmp_path / "metrics.jsonl"
    log.write_text(log.read_text() + '{"kind": "step", "st')
    assert len(read_run(tmp_path).epochs) == 2


def test_a_log_broken_in_the_middle_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path, NAMES, images=5, epochs=2)
    log = tmp_path / "metrics.jsonl"
    lines = log.read_text().splitlines()
    log.write_text("\n".join([lines[0], "{", *lines[1:]]))
    with pytest.raises(LabelwiseError, match=r"line 2 of .*metrics\.jsonl; expected one JSON object a line"):
        read_run(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match=r"run folder .*nowhere, which does not exist"):
        read_run(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["labels.json", "results.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write_run(tmp_path, NAMES, images=5)
    (tmp_path / name).unlink()
    with pytest.raises(LabelwiseError, match=f"{name}: No such file.*; expected a file that a run wrote"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"results\.json is damaged; expected JSON"),
        ("[]", "holding a list; expected an object"),
        ('{"format": 2, "splits": {"test": {}}}', "of format 2; expected format 1"),
        ('{"format": 1, "splits": {}}', "without splits; expected at least one evaluated split"),
    ],
)
def test_broken_results_are_refused(tmp_path: Path, content: str, message: str) -> None:
    write_run(tmp_path, NAMES, images=5)
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(LabelwiseError, match=message):
        read_run(tmp_path)


def test_broken_settings_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, NAMES, images=5)
    (tmp_path / "config.yaml").write_text("a: [1")
    with pytest.raises(LabelwiseError, match=r"config\.yaml is not YAML"):
        read_run(tmp_path)


def test_scores_of_other_labels_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, NAMES, images=5)
    (tmp_path / "labels.json").write_text(json.dumps({"names": ["cat", "dog"]}))
    with pytest.raises(LabelwiseError, match=r"logits of shape \(5, 3\) in .*expected \(5, 2\) for 5"):
        read_run(tmp_path)


def test_a_broken_score_file_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path, NAMES, images=5)
    np.savez(tmp_path / "scores" / "test.npz", ids=np.array(["a"]))
    with pytest.raises(LabelwiseError, match=r"test\.npz .*expected arrays ids, logits, values and known"):
        read_run(tmp_path)


@pytest.mark.parametrize("kept", [0, 200, -40])
def test_a_score_file_cut_short_is_refused(tmp_path: Path, kept: int) -> None:
    write_run(tmp_path, NAMES, images=5)
    file = tmp_path / "scores" / "test.npz"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(LabelwiseError, match=r"test\.npz .*expected arrays ids"):
        read_run(tmp_path)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "0.5", True, {}])
def test_only_finite_numbers_are_numbers(value: object) -> None:
    assert finite_number(value) is None
