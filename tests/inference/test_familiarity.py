"""Familiarity: distances to training features, conformal p-values, and where predictions show them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import tiny_runs
from labelwise.errors import LabelwiseError
from labelwise.export.artefact import sha256
from labelwise.inference import load
from labelwise.inference.familiarity import Familiarity, distances, p_values
from labelwise.inference.prediction import FAMILIARITY
from labelwise.runs.run import WEIGHTS
from labelwise.serving.answers import as_json


@pytest.fixture(scope="module")
def fitted(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its training features."""
    run = tmp_path_factory.mktemp("familiar") / "run"
    shutil.copytree(tiny_runs.finished(base), run)
    done = tiny_runs.command("familiarity", run, "--workers", "0")
    assert done.code == 0, done
    assert "48 training images" in done.err
    assert "16 validation images: no p-value reaches 1 %" in done.err
    return run


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_distances_are_those_of_a_slow_reference() -> None:
    rng = np.random.default_rng(0)
    x, known = unit(rng, 7, 5), unit(rng, 20, 5)
    every = np.sort(cdist(x, known, "cosine"), axis=1)
    assert distances(x, known) == pytest.approx(every[:, 4], abs=1e-5)
    assert distances(x, known[:3]) == pytest.approx(
        np.sort(cdist(x, known[:3], "cosine"), axis=1)[:, 2], abs=1e-5
    )


def test_p_values_keep_their_promise_and_are_counted() -> None:
    rng = np.random.default_rng(1)
    reference, values = np.sort(rng.standard_normal(400)), rng.standard_normal(4000)
    p = p_values(values, reference)
    slow = [(1 + sum(r >= v for r in reference)) / 401 for v in values[:50]]
    assert p[:50] == pytest.approx(slow)
    often = np.array([p_values(rng.random(1), np.sort(rng.random(99)))[0] for _ in range(3000)])
    for level in (0.01, 0.1, 0.5):  # over samples of the reference, as conformal p-values promise
        assert (often <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 3000))
    assert p_values(np.array([99.0]), reference) == pytest.approx(1 / 401)


def test_an_image_and_a_label_far_from_training_are_told_apart() -> None:
    rng = np.random.default_rng(2)
    towards, away = np.eye(6, dtype=np.float32)[:2]
    near = unit(rng, 300, 6) * 0.1 + towards
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    known, reference = near[:100], np.sort(distances(near[100:200], near[:100]))
    of_labels = np.sort(distances(near[100:200], known[:80:2]))
    held = Familiarity(known, reference, known[:80], np.arange(80) % 2, of_labels, "00")
    p_near, p_away = held.of_images(near[200:]), held.of_images(away[None])
    assert p_away.tolist() == [pytest.approx(1 / 101)]
    assert 0.3 < p_near.mean() < 0.7
    features = np.stack([np.stack([known[0], away]), np.stack([away, known[1]])])
    p = held.of_labels(features, np.array([[True, True], [False, True]]))
    assert np.isnan(p[1, 0])
    assert p[0, 1] == pytest.approx(1 / 101)
    assert min(p[0, 0], p[1, 1]) > 0.02


def test_predictions_show_what_the_run_stores(base: Path, fitted: Path, tmp_path: Path) -> None:
    tiny_runs.photographs(tmp_path / "photos", 2, 0, 0)
    photo = tmp_path / "photos" / "train0.jpg"
    (plain,) = load(tiny_runs.finished(base)).predict(photo)
    (p,) = load(fitted).predict(photo)
    assert p.scores == plain.scores
    assert plain.familiar is None
    assert "familiar" not in json.dumps(plain.to_json())
    assert p.familiar is not None
    assert 1 / 17 <= p.familiar <= 1
    assert set(p.familiar_labels) == set(p.selected)
    line = as_json(p, "name")
    assert (line["familiar"], line["unfamiliar"]) == (p.familiar, False)
    table = tmp_path / "out.csv"
    assert tiny_runs.command("predict", fitted, photo, "--out", table, "--workers", "0").code == 0
    (row,) = csv.DictReader(table.open())
    assert float(row["familiar"]) == pytest.approx(p.familiar)


def test_the_command_says_unfamiliar(fitted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(fitted, run)
    held = Familiarity.of_run(run)
    none = np.zeros(500, np.float32)  # every validation image is like a training image
    Familiarity(held.images, none, held.features, held.labels, none, held.model).save(run)
    tiny_runs.photographs(tmp_path / "photos", 2, 0, 0)
    done = tiny_runs.command("predict", run, tmp_path / "photos" / "train0.jpg", "--workers", "0")
    assert "unfamiliar: has seen nothing like it" in done.out


def test_the_report_marks_unfamiliar_photographs(fitted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(fitted, run)
    assert tiny_runs.command("report", run).code == 0
    assert "has seen nothing like it" not in (run / "report.html").read_text()
    held = Familiarity.of_run(run)
    none = np.zeros(500, np.float32)
    Familiarity(held.images, none, held.features, held.labels, none, held.model).save(run)
    assert tiny_runs.command("report", run).code == 0
    assert "has seen nothing like it" in (run / "report.html").read_text()


def test_a_file_of_other_weights_or_a_damaged_one_is_refused(fitted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(fitted, run)
    assert Familiarity.of_run(run).model == sha256(run / WEIGHTS)
    content = (run / FAMILIARITY).read_bytes()
    (run / FAMILIARITY).write_bytes(content[:-8] + b"damaged!")
    with pytest.raises(LabelwiseError, match="labelwise familiarity"):
        load(run)
    held = Familiarity.of_run(fitted)
    Familiarity(
        held.images, held.image_distances, held.features, held.labels, held.label_distances, "00"
    ).save(run)
    with pytest.raises(LabelwiseError, match="of other weights"):
        load(run)
