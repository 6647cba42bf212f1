"""Several processes do what one does: training to the same curve, judging each image once."""

from __future__ import annotations

import gc
import json
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

import tiny_runs
from labelwise.data.readers import read
from labelwise.runs.config import make_config
from labelwise.runs.run import WEIGHTS
from labelwise.training.fit import train
from labelwise.training.loop import Trainer
from labelwise.training.processes import is_first, joined_processes


def _plain(source: str | Path, **changes: Any) -> dict[str, Any]:
    """Settings under which a step depends on its global batch alone: no augmentation, no dropout, no batch norm."""
    settings = tiny_runs.settings(source, augment={"flip": 0.0, "multi_scale": []}, epochs=2)
    settings["extractor"] |= {"dropout": 0.0, "map_dropout": 0.0}
    return {**settings, **changes}


def _curve(out: Path) -> tuple[list[float], list[float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [e["loss"] for e in lines if e["kind"] == "step"]
    return steps, [e["val"]["mAP"] for e in lines if e["kind"] == "epoch"]


def _judge(run: str, source: str, out: str) -> None:
    """Judge on this process's share, and write what this process was given."""
    from labelwise.evaluation import evaluate

    with joined_processes() as first:
        assert first is is_first()
        found = evaluate(run, read(source), batch_size=3, angles=True)
        rank = os.environ["RANK"]
        np.save(Path(out) / f"{rank}.npy", found.scores.rows)
        (Path(out) / f"{rank}.json").write_text(json.dumps(found.to_json()))


LOOSER = {"angles": 1e-2, "pointing": 1e-3}
"""Angles are in degrees, of float32 features; near ties of places share a hit, and go with the rounding."""


def _same(one: Any, other: Any, within: float = 1e-6) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            _same(one[key], other[key], LOOSER.get(key.partition("_")[0], within))
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            _same(a, b, within)
    elif isinstance(one, float):
        assert one == pytest.approx(other, abs=within)
    else:
        assert one == other


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the processes compute: another number of threads rounds otherwise, and near ties change places."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("world", [2, 5])
def test_processes_judge_each_image_once_and_agree(
    tmp_path: Path, run_folder: Path, table: Path, world: int
) -> None:
    from labelwise.evaluation import evaluate

    alone = evaluate(run_folder, read(f"parquet:{table}"), batch_size=3, angles=True)
    assert 17 % world
    tiny_runs.together(world, _judge, str(run_folder), f"parquet:{table}", str(tmp_path))
    for rank in range(world):
        assert np.load(tmp_path / f"{rank}.npy").tolist() == list(range(17))
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        found["conditions"]["labelwise_commit"] = alone.conditions["labelwise_commit"]  # may change meanwhile
        _same(found, json.loads(json.dumps(alone.to_json())))


def test_more_processes_than_images(tmp_path: Path, run_folder: Path, table: Path) -> None:
    from labelwise.data.table import write_table

    data = read(f"parquet:{table}")
    few = data.take(data.rows_of("test")[:2])
    write_table(few, tmp_path / "few.parquet")
    tiny_runs.together(3, _judge, str(run_folder), f"parquet:{tmp_path}/few.parquet", str(tmp_path))
    for rank in range(3):
        assert np.load(tmp_path / f"{rank}.npy").tolist() == [0, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"backbone": {"name": "test_convnext", "weights": "none", "lr_factor": 1.0}, "batch_size": 10},
        {"optim": {"accumulate": 2, "name": "sgd"}, "batch_size": 4},
        {"data": {"source": "", "known_proportion": 0.4}},
    ],
    ids=["vit", "convnext", "accumulate", "partial"],
)
def test_two_processes_train_as_one(tmp_path: Path, table: Path, changes: dict[str, Any]) -> None:
    source = f"parquet:{table}"
    if "data" in changes:
        changes = {**changes, "data": {**changes["data"], "source": source}}
    config = make_config(_plain(source, **changes))
    train(config, tmp_path / "one", quiet=True)
    tiny_runs.together(2, train, config, tmp_path / "two")
    (one, one_map), (two, two_map) = (_curve(tmp_path / name) for name in ("one", "two"))
    assert len(one) == len(two) >= 8
    np.testing.assert_allclose(two, one, atol=1e-4, rtol=0)
    np.testing.assert_allclose(two_map, one_map, atol=0.02)
    assert json.loads((tmp_path / "two" / "results.json").read_text())["training"]["processes"] == 2


def _train_warm(config: Any, out: Path) -> None:
    """Train, and write whether each step looked for unused parameters, and how many wrappers joined gradients."""
    wrappers: list[weakref.ref[Any]] = []
    seen: list[tuple[bool, int]] = []
    honest = Trainer._step

    def step(self: Trainer, batches: Any) -> Any:
        if not any(one() is self.stepper for one in wrappers):
            wrappers.append(weakref.ref(self.stepper))
        gc.collect()
        seen.append((self.stepper.find_unused_parameters, sum(one() is not None for one in wrappers)))
        return honest(self, batches)

    Trainer._step = step  # type: ignore[method-assign]
    train(config, out)
    out.with_suffix(f".{os.environ['RANK']}.json").write_text(json.dumps(seen))


def test_processes_look_for_unused_parameters_while_the_backbone_rests(tmp_path: Path, table: Path) -> None:
    weights = tmp_path / "weights.pt"
    torch.manual_seed(0)
    torch.save(timm.create_model("test_vit", num_classes=0, img_size=32).state_dict(), weights)
    backbone = {"name": "test_vit", "weights": str(weights), "stage": 1, "lr_factor": 1.0, "warm_epochs": 1}
    config = make_config(_plain(f"parquet:{table}", backbone=backbone, epochs=2))
    train(config, tmp_path / "one", quiet=True)
    tiny_runs.together(2, _train_warm, config, tmp_path / "two")
    (one, one_map), (two, two_map) = (_curve(tmp_path / name) for name in ("one", "two"))
    np.testing.assert_allclose(two, one, atol=1e-4, rtol=0)
    np.testing.assert_allclose(two_map, one_map, atol=0.02)
    for rank in (0, 1):
        seen = json.loads((tmp_path / f"two.{rank}.json").read_text())
        assert seen == [[True, 1]] * 6 + [[False, 1]] * 6


def test_a_frozen_backbone_over_two_processes(tmp_path: Path, table: Path) -> None:
    frozen = {"name": "test_convnext", "weights": "none", "freeze": True}
    config = make_config(_plain(f"parquet:{table}", backbone=frozen, epochs=2))
    tiny_runs.together(2, train, config, tmp_path / "two")
    train(config, tmp_path / "one", quiet=True)
    np.testing.assert_allclose(_curve(tmp_path / "two")[0], _curve(tmp_path / "one")[0], atol=1e-4, rtol=0)


def test_unreadable_photographs_do_not_part_the_processes(tmp_path: Path) -> None:
    file = tiny_runs.photographs(tmp_path / "photos")
    for i in (1, 4, 5, 8):
        (file.parent / f"train{i}.jpg").write_bytes(b"")
    data = {"source": f"csv:{file}", "max_unreadable": 0.5}
    config = make_config(_plain("", data=data, batch_size=4))
    train(config, tmp_path / "one", quiet=True)
    tiny_runs.together(2, train, config, tmp_path / "two")
    np.testing.assert_allclose(_curve(tmp_path / "two")[0], _curve(tmp_path / "one")[0], atol=1e-4, rtol=0)


def test_torchrun_trains_and_writes_one_run_and_one_report(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = ["--standalone", "--nproc-per-node", "2", "-m", "labelwise"]
    words = ["train", "--data", f"parquet:{table}", "--out", str(tmp_path / "two"), *tiny_runs.TINY]
    words += ["--batch-size", "8", "--set", "extractor.dropout=0"]
    words += ["--set", "extractor.map_dropout=0", "--set", "log_every=1"]
    words += ["--set", "augment.flip=0", "--set", "augment.multi_scale=[]"]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = tiny_runs.forked(*launch, *words, script="from torch.distributed.run import main\nmain()")
    assert found.code == 0, found.err
    assert found.err.count("epoch 1/1") == 1
    assert "steps on 2 processes" in found.err
    assert (tmp_path / "two" / "report.html").is_file()
    assert tiny_runs.command(*words[:4], str(tmp_path / "one"), *words[5:]).code == 0
    np.testing.assert_allclose(_curve(tmp_path / "two")[0], _curve(tmp_path / "one")[0], atol=1e-4, rtol=0)
    assert (tmp_path / "two" / WEIGHTS).stat().st_size == (tmp_path / "one" / WEIGHTS).stat().st_size
