"""Learners on maps made here: what stops goes on, what grows knows its labels, replay keeps what fine-tuning loses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from labelwise.continual.judging import best_threshold, figures_at_threshold, summary, task_matrix
from labelwise.continual.learner import Learner
from labelwise.continual.regularisers import former_features
from labelwise.continual.strategies import STRATEGIES
from labelwise.continual.streams import make_stream
from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError
from labelwise.runs.config import make_config
from labelwise.training.maps import MapSource
from labelwise.types import LabelSet

LABELS = 6


class Width(nn.Module):
    """Stands for a frozen backbone: it has a width and nothing to learn."""

    out_channels, stride = 12, 8


def rows(count: int, seed: int) -> tuple[Dataset, np.ndarray]:
    """Maps in which each label that is present shows as a direction at one place."""
    rng = np.random.default_rng(seed)
    values = (rng.random((count, LABELS)) < 0.25).astype(np.uint8)
    values[np.arange(count), rng.integers(0, LABELS, count)] = 1
    directions = np.random.default_rng(99).normal(size=(LABELS, 12))
    maps = 0.3 * rng.random((count, 12, 2, 2))
    for i, j in np.argwhere(values):
        maps[i, :, rng.integers(2), rng.integers(2)] += directions[j]
    images = pa.array([f"{'xyz'[i % 3]}/{seed}-{i}.jpg" for i in range(count)])
    data = Dataset(
        LabelSet(tuple("abcdef")), images, None, values, np.ones(values.shape, bool), source="made"
    )
    return data, maps.astype(np.float16)


def learner(
    out: Path,
    strategy: str,
    setting: str = "online",
    method: str = "dlfl",
    images: tuple[int, int] = (120, 90),
    regions: dict[str, Any] | None = None,
    **more: Any,
) -> Learner:
    """Three tasks of two labels on some training and test images."""
    train, train_maps = rows(images[0], 0)
    test, test_maps = rows(images[1], 1)
    both = Dataset(
        train.labels,
        pa.concat_arrays([train.images, test.images]),
        None,
        np.concatenate([train.values, test.values]),
        np.concatenate([train.known, test.known]),
        source="made",
    ).with_split(np.repeat([0, 1], images), ("train", "test"))
    sizes = [] if setting == "domain-incremental" else [2, 2, 2]
    stream = make_stream(both, setting, sizes)
    extractor = {"dim": 8, "ffn": 8} if method == "dlfl" else {}
    config = make_config({
        "data": {"source": "made"}, "method": method, "extractor": extractor, "loss": {"name": "bce"},
        "regions": regions or {},
        "optim": {"name": "adam", "lr": 0.02, "weight_decay": 0.0}, "save_every": 3,
        "continual": {"setting": setting, "strategy": strategy, "tasks": sizes, "memory": 30,
                      "fisher_images": 8, **more},
    })  # fmt: skip
    sources = [MapSource(train_maps, stream.train), MapSource(test_maps, stream.test)]
    return Learner(stream, config, Width(), *sources, out)


def quiet(_: str) -> None:
    """Says nothing."""


@pytest.mark.parametrize("setting", ["online", "class-incremental", "domain-incremental"])
@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_every_strategy_goes_on_where_it_stopped(strategy: str, setting: str, tmp_path: Path) -> None:
    few = (60, 24)
    whole = learner(tmp_path / "whole", strategy, setting, images=few)
    expected = whole.learn(quiet)
    stop = 2 * whole.progress.step // 3
    learner(tmp_path / "cut", strategy, setting, images=few).learn(quiet, stop_after=stop)
    again = learner(tmp_path / "cut", strategy, setting, images=few)
    again.resume()
    assert 0 < again.progress.step <= stop
    assert again.learn(quiet) == expected
    for key, value in whole.method.state_dict().items():
        assert value.equal(again.method.state_dict()[key]), key
    assert len(expected) == (1 if strategy == "joint" else 3)
    assert whole.method.model.classifier.weight.shape[0] == LABELS


def test_regions_of_labels_that_come_later_wait_for_them(tmp_path: Path) -> None:
    regions = {"outside": 0.1, "labels": {"a": [0, 0.5], "f": [0.5, 1]}}
    made = learner(tmp_path, "er", "class-incremental", images=(60, 24), regions=regions)
    assert made.method.model.extractor.prior.declared == {"a": (0, 0.5, 0, 1)}
    made.learn(quiet)
    assert set(made.method.model.extractor.prior.declared) == {"a", "f"}
    with pytest.raises(LabelwiseError, match=r"regions.labels of 'g'; expected a label or a group of labels"):
        learner(tmp_path, "er", regions={"labels": {"g": [0, 0.5]}})


def test_the_model_grows_by_each_tasks_labels(tmp_path: Path) -> None:
    made = learner(tmp_path, "er", "class-incremental")
    first = made.stream.tasks[0].train
    batch = made._batch(first[:4], np.zeros(4, np.int64))
    assert batch.targets.values.shape == (4, 2)
    made.learn(quiet)
    assert [len(h["tasks"]) for h in made.history] == [1, 2, 3]
    made.progress.epoch = 2
    batch = made._batch(first[:4], np.array([0, 1, 2, 0]))
    assert batch.targets.known.int().tolist() == [
        [1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1], [1, 1, 0, 0, 0, 0],
    ]  # fmt: skip
    assert not batch.targets.values[~batch.targets.known].any()


def test_replay_keeps_what_fine_tuning_loses(tmp_path: Path) -> None:
    results = {
        name: summary(learner(tmp_path / name, name, method="baseline-gap", passes=4).learn(quiet), 3)
        for name in ("finetune", "er", "joint")
    }
    at = {name: result["pooled"]["OF1"] for name, result in results.items()}
    assert at["finetune"] < at["er"] < at["joint"] + 0.02
    assert results["finetune"]["forgetting"]["OF1"] > results["er"]["forgetting"]["OF1"]
    assert results["joint"]["forgetting"] is None
    assert results["er"]["fitted"] is not None
    assert results["finetune"]["fitted"] is None


@pytest.mark.parametrize("method", ["dlfl", "baseline-mlp"])
def test_rows_of_old_labels_are_frozen_and_their_features_stay_near(method: str, tmp_path: Path) -> None:
    moved = {}
    for weight in (0.0, 20.0):
        made = learner(
            tmp_path / f"{weight}", "features", "class-incremental", method, passes=4, feature_weight=weight
        )
        made.learn(quiet, stop_after=len(made._steps(0)))
        assert made.former is not None
        first = made.former.model
        made.learn(quiet)
        last = made.method.model.eval()
        before, after = first.state_dict(), last.state_dict()
        rows = [name for name, value in after.items() if value.shape != before[name].shape]
        assert "classifier.weight" in rows
        assert all(after[name][:2].equal(before[name]) for name in rows)
        images = made._batch(made.stream.tasks[0].train[:40], np.zeros(40, np.int64)).images
        with torch.no_grad():
            new, old = (m(images, is_map=True).features[:, :2] for m in (last, first))
        moved[weight] = former_features(new, old).item()
    assert moved[20.0] < 0.5 * moved[0.0]


def test_joint_training_takes_as_many_steps_and_images_as_replay(tmp_path: Path) -> None:
    replay, joint = (learner(tmp_path / s, s, passes=2) for s in ("er", "joint"))
    steps = sum(len(replay._steps(t)) for t in range(3))
    plan = joint._steps(0)
    assert len(plan) == steps
    assert {len(step) for step in plan} == {20}
    visits = np.bincount(np.concatenate(plan), minlength=120)
    assert visits.max() - visits.min() <= 1


def test_each_image_of_an_online_stream_is_offered_once(tmp_path: Path) -> None:
    made = learner(tmp_path, "er", passes=3)
    made.learn(quiet)
    assert made.memory is not None
    assert made.memory.offered == sum(len(t.train) for t in made.stream.tasks)


def test_figures_call_what_is_over_one_half() -> None:
    p, y = np.array([[0.5, 0.9], [0.6, 0.1]]), np.array([[1, 1], [1, 0]], bool)
    metrics = figures_at_threshold(p, y, np.ones_like(y))
    assert metrics["OF1"] == pytest.approx(0.8)  # two of three found, none wrongly: .5 is not over one half
    assert best_threshold(p, y, np.ones_like(y)) == 0.5


def test_the_table_of_a_history() -> None:
    history = [{"tasks": [{"mAP": 0.5}]}, {"tasks": [{"mAP": 0.4}, {"mAP": 0.8}]}]
    scores = task_matrix(history, "mAP")
    assert np.isnan(scores[0, 1])
    assert scores[1].tolist() == [0.4, 0.8]
