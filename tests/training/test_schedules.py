"""Schedules: values by hand and torch's own, resumption, and what is refused."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import tiny_runs
from labelwise.errors import LabelwiseError
from labelwise.runs.config import make_config
from labelwise.runs.run import WEIGHTS
from labelwise.runs.sections import OptimSettings
from labelwise.training import loop
from labelwise.training.fit import train
from labelwise.training.schedules import RateSchedule, rate_factor


def test_cosine_step_by_step() -> None:
    settings = OptimSettings(schedule="cosine", warmup=0.2)
    expected = [1 / 3, 2 / 3] + [0.5 + 0.5 * math.cos(math.pi * i / 8) for i in range(8)]
    assert [rate_factor(s, 10, settings) for s in range(10)] == pytest.approx(expected)


def test_constant_rises_and_stays() -> None:
    settings = OptimSettings(schedule="constant", warmup=0.2)
    assert [rate_factor(s, 10, settings) for s in range(10)] == pytest.approx([1 / 3, 2 / 3] + [1.0] * 8)


def test_one_cycle_is_that_of_torch() -> None:
    steps, parameter = 40, nn.Parameter(torch.zeros(1))
    oracle = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        oracle, max_lr=1.0, total_steps=steps + 1, pct_start=0.25, div_factor=25, final_div_factor=1e4
    )
    settings = OptimSettings(schedule="one-cycle", warmup=0.25)
    for step in range(steps):
        # torch counts the last step as the end of the fall, and so the rise ends one step earlier.
        ours = rate_factor(step, steps, settings)
        assert ours == pytest.approx(schedule.get_last_lr()[0], abs=0.08)
        oracle.step()
        schedule.step()
    assert rate_factor(0, steps, settings) == pytest.approx(1 / 25)
    assert rate_factor(10, steps, settings) == pytest.approx(1.0)
    assert rate_factor(40, steps, settings) == pytest.approx(1e-4 / 25)


@given(
    st.integers(1, 500),
    st.floats(0, 0.99),
    st.sampled_from(["cosine", "one-cycle", "constant", "plateau"]),
    st.data(),
)
def test_the_factor_is_positive_and_at_most_one(
    steps: int, warmup: float, schedule: str, data: st.DataObject
) -> None:
    settings = OptimSettings(schedule=schedule, warmup=warmup)
    factor = rate_factor(data.draw(st.integers(0, steps - 1)), steps, settings)
    assert 0 < factor <= 1


@pytest.mark.parametrize("per_epoch", [1, 3])
def test_steps_are_those_of_torch(per_epoch: int) -> None:
    oracle = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.MultiStepLR(oracle, milestones=[2, 5, 6], gamma=0.3)
    settings = OptimSettings(schedule="step", milestones=[2, 5, 6], factor=0.3, warmup=0.0)
    schedule = RateSchedule(settings, 8, per_epoch)
    for epoch in range(8):
        for step in range(per_epoch):
            assert schedule.factor(epoch * per_epoch + step) == pytest.approx(theirs.get_last_lr()[0])
        oracle.step()
        theirs.step()


def test_steps_fall_after_the_rise() -> None:
    settings = OptimSettings(schedule="step", milestones=[1, 2], factor=0.5, warmup=0.25)
    factors = [RateSchedule(settings, 3, 4).factor(step) for step in range(12)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1.0] + [0.5] * 4 + [0.25] * 4)


def test_a_plateau_lowers_the_rate_after_its_patience() -> None:
    settings = OptimSettings(schedule="plateau", factor=0.5, plateau_patience=1, warmup=0.0)
    schedule = RateSchedule(settings, 9, 2)
    factors = []
    for epoch, figure in enumerate([0.1, 0.3, 0.3, 0.2, 0.1, 0.4, None, 0.4, 0.5]):
        factors.append(schedule.factor(2 * epoch))
        schedule.judged(figure)
    # Two epochs in a row that are no better, the third and fourth, then the seventh and eighth.
    assert factors == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25]


def _rates(out: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {e["step"]: e["lr"] for e in lines if e["kind"] == "step"}


@pytest.mark.parametrize(
    "optim",
    [
        {"schedule": "plateau", "plateau_patience": 1, "factor": 0.5, "warmup": 0.0},
        {"schedule": "step", "milestones": [1, 3], "factor": 0.5, "warmup": 0.0},
    ],
    ids=["plateau", "step"],
)
@pytest.mark.usefixtures("unjudged")
def test_a_resumed_run_goes_on_at_the_rate_it_had(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch, optim: dict[str, Any]
) -> None:
    figures = [0.5, 0.4, 0.3, 0.2, 0.1, 0.6]
    monkeypatch.setattr(loop.Trainer, "_validate", lambda self: figures[self.progress.epoch])
    config = make_config(
        tiny_runs.settings(f"parquet:{table}", epochs=6, optim=optim, save_every=1, batch_size=24)
    )
    train(config, tmp_path / "whole", quiet=True)
    honest, done = loop.Trainer._step, [0]

    def step(self: loop.Trainer, batches: Any) -> Any:
        if done[0] == 5:
            raise KeyboardInterrupt
        done[0] += 1
        return honest(self, batches)

    resume = False
    for _ in range(2):  # 12 steps, at most 5 of them at a time
        done[0] = 0
        with monkeypatch.context() as patch:
            patch.setattr(loop.Trainer, "_step", step)
            with pytest.raises(KeyboardInterrupt):
                train(config, tmp_path / "parts", quiet=True, resume=resume)
        resume = True
    train(config, tmp_path / "parts", quiet=True, resume=True)
    assert (tmp_path / "parts" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()
    rates = _rates(tmp_path / "whole")
    assert _rates(tmp_path / "parts") == rates
    falls = {"plateau": [1, 1, 1, 0.5, 0.5, 0.25], "step": [1, 0.5, 0.5, 0.25, 0.25, 0.25]}[optim["schedule"]]
    assert [rates[2 * epoch + 1] for epoch in range(6)] == pytest.approx([1e-3 * fall for fall in falls])


@pytest.mark.parametrize(
    ("optim", "given"),
    [
        ({"schedule": "step"}, r"optim.milestones = \[\] with optim.schedule = step"),
        ({"milestones": [3]}, r"optim.milestones = \[3\] with optim.schedule = cosine"),
        ({"schedule": "step", "milestones": [4, 4]}, r"optim.milestones = \[4, 4\] with"),
        ({"schedule": "step", "milestones": [0, 4]}, r"optim.milestones = \[0, 4\] with"),
        (
            {"schedule": "step", "milestones": [12, 14]},
            r"optim.milestones = \[12, 14\] in a run of 12 epochs",
        ),
        ({"factor": 1}, r"optim.factor = 1; expected input should be less than 1"),
    ],
)
def test_schedules_that_say_nothing_are_refused(optim: dict[str, Any], given: str) -> None:
    with pytest.raises(LabelwiseError, match=given):
        make_config({"data": {"source": "digits:"}, "optim": optim})


def test_a_plateau_without_validation_is_refused(tmp_path: Path) -> None:
    file = tiny_runs.photographs(tmp_path / "photos", 8, 0, 4)
    with open(file, newline="") as stream:
        assert "val" not in {row[-1] for row in csv.reader(stream)}
    message = tiny_runs.command(
        *("train", "--data", f"csv:{file}", "--out", tmp_path / "run", *tiny_runs.TINY),
        *("--set", "optim.schedule=plateau"),
    ).message
    assert message == (
        "labelwise: optim.schedule = plateau, and no val images to judge an epoch by; expected a val split with a "
        "known positive and a known negative of a label, since the rate follows its mAP; add one, or set "
        "optim.schedule=cosine"
    )
