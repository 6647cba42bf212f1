from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed as dist

import tiny_runs
from labelwise import metrics as metrics_package
from labelwise.errors import LabelwiseError
from labelwise.metrics import AttributeMetrics, CalibrationError, MeanAveragePrecision, ThresholdMetrics
from labelwise.metrics import functional as F

LABELS = 4


def case(images: int = 50):
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(images, LABELS, generator=generator)
    targets = (torch.rand(images, LABELS, generator=generator) < 0.4).long()
    return scores, targets, torch.rand(images, LABELS, generator=generator) < 0.8


def build() -> dict[str, object]:
    return {
        "ap": MeanAveragePrecision(),
        "threshold": ThresholdMetrics(LABELS, top_k=2),
        "attributes": AttributeMetrics(LABELS, f1="mean-instance"),
        "ece": CalibrationError(LABELS, bins=10),
    }


def numbers(metrics) -> list[float]:
    values = []
    for metric in metrics.values():
        result = metric.compute()
        values += [v.item() for v in (result.values() if isinstance(result, dict) else [result])]
    return values


def expected() -> list[float]:
    scores, targets, known = case()
    return [
        F.mean_average_precision(scores, targets, known),
        *F.threshold_metrics(scores, targets, known, top_k=2).values(),
        *F.attribute_metrics(scores, targets, known, f1="mean-instance").values(),
        F.calibration_error(scores, targets, known, bins=10).mean().item(),
    ]


def test_batches_equal_the_whole():
    scores, targets, known = case()
    metrics = build()
    for rows in (slice(0, 7), slice(7, 8), slice(8, 50)):
        for metric in metrics.values():
            metric.update(scores[rows], targets[rows], known[rows])
    assert numbers(metrics) == pytest.approx(expected(), abs=1e-12)
    assert metrics["ap"].per_label().shape == (LABELS,)


def test_unknown_cells_and_missing_mask():
    scores, targets, known = case()
    noise, lies = scores.masked_fill(~known, torch.nan), targets.masked_fill(~known, 7)
    metrics, plain = build(), build()
    for metric in metrics.values():
        metric.update(noise, lies, known)
    assert numbers(metrics) == pytest.approx(expected(), abs=1e-12)
    for metric in plain.values():
        metric.update(scores, targets)
    assert plain["ap"].compute().item() == pytest.approx(F.mean_average_precision(scores, targets))


def test_reset_forward_and_state_size():
    scores, targets, known = case()
    metric = MeanAveragePrecision(empty="zero")
    first = metric(scores[:10].half(), targets[:10], known[:10])  # the value of the batch alone
    assert first.item() == pytest.approx(
        F.mean_average_precision(scores[:10].half(), targets[:10], known[:10], empty="zero")
    )
    assert [state[0].element_size() for state in (metric.scores, metric.targets, metric.known)] == [4, 1, 1]
    metric.reset()
    metric.update(scores, targets, known)
    assert metric.compute().item() == pytest.approx(expected()[0])


@pytest.mark.parametrize("empty", ["skip", "zero"])
def test_labels_without_a_negative_are_left_out_in_batches_too(empty: str):
    scores, targets, known = case()
    targets[:, 0], targets[:, 1] = 1, 0
    metric = MeanAveragePrecision(empty=empty)
    for rows in (slice(0, 20), slice(20, 50)):
        metric.update(scores[rows], targets[rows], known[rows])
    assert torch.isnan(metric.per_label()).tolist() == [True, True, False, False]
    expected = F.mean_average_precision(scores, targets, known, empty=empty)
    assert metric.compute().item() == pytest.approx(expected, abs=1e-12)


def work(folder: str) -> None:
    """One process: uneven rows, and for one metric rows on the first process only."""
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    scores, targets, known = case()
    start, stop = ((0, 31), (31, 50))[rank]
    metrics = build()
    for first in range(start, stop, 8):
        rows = slice(first, min(first + 8, stop))
        for metric in metrics.values():
            metric.update(scores[rows], targets[rows], known[rows])
    alone = MeanAveragePrecision()
    if rank == 0:
        alone.update(scores, targets, known)
    np.save(f"{folder}/{rank}.npy", [*numbers(metrics), alone.compute().item()])
    dist.destroy_process_group()


def test_processes_with_uneven_rows(tmp_path: Path):
    tiny_runs.together(2, work, str(tmp_path))
    whole = expected()
    for rank in range(2):
        values = np.load(tmp_path / f"{rank}.npy").tolist()
        assert values == pytest.approx([*whole, whole[0]], abs=1e-12)


def test_importing_the_functions_does_not_import_torchmetrics():
    code = "from labelwise.metrics import functional; sys.exit('torchmetrics' in sys.modules)"
    assert tiny_runs.forked(script=tiny_runs.WITHOUT_PACKAGE + code).code == 0
    with pytest.raises(AttributeError, match="has no attribute 'Accuracy'"):
        metrics_package.Accuracy  # noqa: B018


def test_errors():
    with pytest.raises(
        LabelwiseError, match=r"scores of shape \(3, 2\); expected \[images, 4\]; build the metric"
    ):
        ThresholdMetrics(LABELS).update(torch.zeros(3, 2), torch.zeros(3, 2))
    with pytest.raises(LabelwiseError, match="kind 'best'; expected one of"):
        MeanAveragePrecision(kind="best")
    with pytest.raises(LabelwiseError, match="f1 'best'; expected one of"):
        AttributeMetrics(LABELS, f1="best")
    with pytest.raises(LabelwiseError, match="target 3 at row 0, column 1"):
        MeanAveragePrecision().update(torch.zeros(1, 2), torch.tensor([[0, 3]]))
    with (
        pytest.warns(UserWarning, match="compute"),
        pytest.raises(LabelwiseError, match="a metric without data; expected at least one batch"),
    ):
        MeanAveragePrecision().compute()
