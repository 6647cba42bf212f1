"""Scores in a stream: the metrics of all scores, in bounded memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from labelwise.errors import LabelwiseError
from labelwise.metrics import RankingStream
from labelwise.metrics import functional as F


def cells(images: int, labels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties, targets, and a mask."""
    rng = np.random.default_rng(seed)
    scores = np.round(rng.standard_normal((images, labels)), 1).astype(np.float32)
    return scores, rng.random((images, labels)) < 0.1, rng.random((images, labels)) < 0.8


@pytest.mark.parametrize("kind", ["raw", "envelope", "11point"])
@pytest.mark.parametrize("buffer_bytes", [1, 20_000, 1 << 30])
@pytest.mark.parametrize("masked", [True, False])
def test_a_stream_has_the_metrics_of_the_whole(kind: str, buffer_bytes: int, masked: bool) -> None:
    scores, targets, known = cells(300, 131)
    targets[:, 7], targets[:, 8] = False, True
    if masked:
        scores[~known] = np.nan
    with RankingStream(buffer_bytes=buffer_bytes) as stream:
        for rows in np.array_split(np.arange(300), 17):
            stream.update(scores[rows], targets[rows], known[rows] if masked else None)
        values = stream.average_precision(kind)
        whole = F.average_precision(scores, targets, known if masked else None, kind)
        assert np.array_equal(values, whole, equal_nan=True)
        assert np.isnan(values[7:9]).all()
        for empty in ("skip", "zero"):
            assert stream.mean_average_precision(kind, empty) == F.mean_average_precision(
                scores, targets, known if masked else None, kind, empty
            )


def test_it_agrees_with_scikit_learn_and_goes_on_after_an_answer() -> None:
    scores, targets, _ = cells(400, 3)
    with RankingStream(buffer_bytes=1000) as stream:
        for half in (slice(0, 200), slice(200, 400)):
            stream.update(torch.from_numpy(scores[half]), torch.from_numpy(targets[half]))
            seen = slice(0, half.stop)
            expected = [average_precision_score(targets[seen, j], scores[seen, j]) for j in range(3)]
            np.testing.assert_allclose(stream.average_precision(), expected, atol=1e-12)


def test_what_is_given_may_change_afterwards() -> None:
    scores, targets, _ = cells(50, 4)
    with RankingStream() as stream:
        buffer = scores.copy()
        stream.update(buffer, targets)
        buffer[:] = 0
        assert stream.mean_average_precision() == F.mean_average_precision(scores, targets)


def test_memory_is_bounded(tmp_path: Path) -> None:
    labels, rows = 256, 1000
    scores, targets, _ = cells(rows, labels)
    with RankingStream(tmp_path, buffer_bytes=2 << 20) as stream:
        tracemalloc.start()
        for _ in range(40):  # 51 MB of cells
            stream.update(scores, targets)
        _, filling = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        values = stream.average_precision()
        _, reading = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert filling < 8 << 20
    assert reading < 4 * 64 * 40 * rows * 5  # 64 labels of all images, a few times over
    np.testing.assert_allclose(values, F.average_precision(scores, targets), atol=1e-12)


def test_wrong_batches_are_refused() -> None:
    scores, targets, _ = cells(5, 3)
    with RankingStream() as stream:
        with pytest.raises(LabelwiseError, match="a stream without scores; expected at least one batch"):
            stream.average_precision()
        stream.update(scores, targets)
        with pytest.raises(LabelwiseError, match=r"scores of shape \(5, 2\); expected \[images, 3\]"):
            stream.update(scores[:, :2], targets[:, :2])
        with pytest.raises(LabelwiseError, match=r"target 0\.5 at row 0, column 0"):
            stream.update(scores, targets + 0.5)
        with pytest.raises(LabelwiseError, match="score nan at row"):
            stream.update(np.full((5, 3), np.nan, np.float32), targets)
        with pytest.raises(LabelwiseError, match="kind 'area'"):
            stream.average_precision("area")
        assert stream.mean_average_precision() == F.mean_average_precision(scores, targets)
