"""Paired resamples of the test images: exact, paired, and compared with the deviation over seeds."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import numpy as np
import pytest

from labelwise.errors import LabelwiseError
from labelwise.evaluation import StoredScores
from labelwise.experiments.significance import (
    Difference,
    bootstrap_counts,
    difference_table,
    differences,
)
from labelwise.metrics import functional as F
from labelwise.metrics.bootstrap import bootstrap_average_precision


def scores(seed: int, skill: float = 1.0, images: int = 40, unknown: float = 0.2) -> StoredScores:
    """Scores of the same labels by a model of some skill, rounded so that many are equal."""
    labels = np.random.default_rng(7)
    values = (labels.random((images, 4)) < 0.3).astype(np.uint8)
    values[:, 3] = 0
    known = labels.random((images, 4)) >= unknown
    logits = np.random.default_rng(seed).normal(size=values.shape) + skill * values
    ids = np.array([f"image {i}" for i in range(images)])
    return StoredScores(ids, logits.round(1).astype(np.float32), values, known)


def stored(path: Path, s: StoredScores) -> Path:
    np.savez_compressed(path, ids=s.ids, logits=s.logits, values=s.values, known=s.known)
    return path


def repeated(counts: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


def test_a_draw_is_as_many_images_with_replacement() -> None:
    counts = bootstrap_counts(50, number=400, seed=3)
    assert counts.shape == (50, 400)
    assert (counts.sum(0) == 50).all()
    assert np.array_equal(counts, bootstrap_counts(50, number=400, seed=3))
    assert not np.array_equal(counts, bootstrap_counts(50, number=400, seed=4))
    assert (counts == 0).mean() == pytest.approx((1 - 1 / 50) ** 50, abs=0.01)


def test_average_precision_of_a_resample_is_that_of_the_repeated_images() -> None:
    rng = np.random.default_rng(0)
    for images in (1, 7, 60):
        z, positive = rng.normal(size=images).round(1), rng.random(images) < 0.3
        counts = bootstrap_counts(images, number=200, seed=images)
        values = bootstrap_average_precision(z, positive, counts)
        for r in range(200):
            i = repeated(counts[:, r])
            expected = F.average_precision(z[i, None], positive[i, None].astype(int))[0]
            assert values[r] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_map_of_a_resample_leaves_out_unknown_cells_and_labels_without_positives() -> None:
    s, counts = scores(0), bootstrap_counts(40, number=150)
    maps = s.resampled_map(counts)
    for r in range(150):
        i = repeated(counts[:, r])
        assert maps[r] == pytest.approx(F.mean_average_precision(s.logits[i], s.values[i], s.known[i]))


@pytest.fixture
def files(tmp_path: Path) -> dict:
    """Rows `good` and `poor` at two proportions with three seeds each, and `once` with a single run."""
    skills = {"good": 3.0, "poor": 0.0}
    paths: dict = {row: {} for row in skills}
    for k, (row, skill) in enumerate(skills.items()):
        for share in (0.5, 1.0):
            for seed in range(3):
                s = scores(100 * k + 10 * int(2 * share) + seed, skill * share)
                paths[row][share, seed] = stored(tmp_path / f"{row}-{share}-{seed}.npz", s)
    paths["once"] = {(1.0, 0): stored(tmp_path / "once.npz", scores(5, 3.0))}
    return paths


def test_differences_are_paired_over_seeds_and_images(files: dict) -> None:
    by_cell = {(d.row, d.proportion): d for d in differences(files, "poor", number=300)}
    assert set(by_cell) == {("good", 0.5), ("good", 1.0), ("good", None), ("once", 1.0)}
    maps = {}
    for row in ("good", "poor"):
        for cell, path in files[row].items():
            s = StoredScores.read(path)
            maps[row, cell] = F.mean_average_precision(s.logits, s.values, s.known)
    gaps = [maps["good", (0.5, seed)] - maps["poor", (0.5, seed)] for seed in range(3)]
    d = by_cell["good", 0.5]
    assert d.mean == pytest.approx(statistics.fmean(gaps))
    assert d.sd == pytest.approx(statistics.stdev(gaps))
    counts = bootstrap_counts(40, 300)
    per_seed = [
        StoredScores.read(files["good"][0.5, s]).resampled_map(counts)
        - StoredScores.read(files["poor"][0.5, s]).resampled_map(counts)
        for s in range(3)
    ]
    assert (d.low, d.high) == pytest.approx(tuple(np.quantile(np.mean(per_seed, 0), (0.025, 0.975))))
    both = by_cell["good", None]
    assert both.mean == pytest.approx((d.mean + by_cell["good", 1.0].mean) / 2)
    assert both.seeds == 3
    assert by_cell["good", 1.0].verdict == "higher"
    assert by_cell["once", 1.0].sd is None
    assert by_cell["once", 1.0].verdict == "higher, 1 seed"


def test_a_row_against_its_own_copy_differs_by_nothing(files: dict) -> None:
    (d,) = [d for d in differences({"a": files["good"], "b": files["good"]}, "a", 50) if d.proportion is None]
    assert (d.mean, d.low, d.high, d.sd) == (0, 0, 0, 0)
    assert d.verdict == "within noise"


@pytest.mark.parametrize(
    ("mean", "low", "high", "sd", "seeds", "verdict"),
    [
        (0.01, -0.001, 0.02, 0.001, 3, "within noise"),
        (0.01, 0.001, 0.02, 0.001, 3, "higher"),
        (-0.01, -0.02, -0.001, 0.001, 3, "lower"),
        (0.01, 0.001, 0.02, 0.0086, 3, "higher"),  # 2 standard errors are .00993
        (0.01, 0.001, 0.02, 0.0088, 3, "within noise"),  # .01016
        (-0.01, -0.02, -0.001, None, 1, "lower, 1 seed"),
    ],
)
def test_verdicts(mean: float, low: float, high: float, sd: float | None, seeds: int, verdict: str) -> None:
    assert Difference("a", "b", 1.0, mean, low, high, sd, seeds).verdict == verdict


def test_the_table_in_points(files: dict) -> None:
    text = difference_table([Difference("good", "poor", None, 0.0123, 0.0042, 0.0201, 0.0031, 3)], 1000)
    assert "difference in test mAP, in points; interval: 95 % of 1,000 paired draws" in text
    assert text.splitlines()[-1].split() == [
        "good",
        "poor",
        "mean",
        "+1.23",
        "[+0.42,",
        "+2.01]",
        "0.31",
        "3",
        "higher",
    ]
    assert difference_table([]) == "no other row with a seed in common"


def test_other_images_or_labels_cannot_be_compared(tmp_path: Path, files: dict) -> None:
    other = scores(0)
    other.values[0, 0] = 1 - other.values[0, 0]
    for name, s in (("labels", other), ("images", scores(0, images=39))):
        path = stored(tmp_path / f"{name}.npz", s)
        with pytest.raises(
            LabelwiseError, match=rf"{name}\.npz of other images or labels than .*; expected runs"
        ):
            differences({"good": files["good"], "other": {(1.0, 0): path}}, "other", 5)


def test_a_row_that_is_not_there(files: dict) -> None:
    with pytest.raises(
        LabelwiseError, match="row 'bad'; expected one of good, poor, once; correct --against"
    ):
        differences(files, "bad")


def test_damaged_scores(tmp_path: Path) -> None:
    path = tmp_path / "test.npz"
    with pytest.raises(LabelwiseError, match=r"test\.npz .*; expected scores that a run wrote; train"):
        StoredScores.read(path)
    path.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(LabelwiseError, match=r"test\.npz .*; expected scores that a run wrote; train"):
        StoredScores.read(path)


def test_draws_without_any_positive_leave_no_hole() -> None:
    s = StoredScores(
        np.array(["a", "b"]), np.zeros((2, 1), np.float32), np.array([[1], [0]]), np.ones((2, 1), bool)
    )
    assert np.isnan(s.resampled_map(np.array([[0], [2]], np.int32))).all()
    assert math.isnan(bootstrap_average_precision(np.zeros(2), np.zeros(2, bool), bootstrap_counts(2, 1))[0])
