"""The plan that docs/experiments.md shows, trained small."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from documents import ROOT, blocks, photographs
from labelwise.experiments.sweep import SweepPlan, run_sweep
from labelwise.runs.config import make_config


def plan_of_the_page() -> SweepPlan:
    (text,) = blocks(ROOT / "docs/experiments.md", "yaml")
    return SweepPlan.of(yaml.safe_load(text))


def test_every_run_of_the_plan_has_settings() -> None:
    plan = plan_of_the_page()
    runs = plan.runs(Path("out"))
    assert len(runs) == 3 * 2 * 3
    assert [run.path.name for run in runs[:4]] == [
        "dlfl-known0.5-seed0",
        "dlfl-uniform-known0.5-seed0",
        "baseline-mlp-known0.5-seed0",
        "dlfl-known1-seed0",
    ]
    assert [run.seed for run in runs] == [0] * 6 + [1] * 6 + [2] * 6
    config = make_config(plan.of_run(runs[1], {}))
    assert (config.data.known_proportion, config.controls) == (0.5, ["uniform-attention"])


def test_the_plan_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photographs(tmp_path)
    monkeypatch.chdir(tmp_path)
    plan, small = plan_of_the_page(), {"name": "test_resnet", "weights": "none"}
    short = SweepPlan(plan.rows, plan.seeds[:1], plan.settings, plan.proportions)
    over = {"backbone": small, "image_size": 32, "epochs": 1, "workers": 0}
    sweep = run_sweep(short, Path("runs"), over, only="baseline-mlp")
    assert [run.path.name for run in sweep.runs] == [
        "baseline-mlp-known0.5-seed0",
        "baseline-mlp-known1-seed0",
    ]
    with open("runs/results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["known_proportion"] for row in rows] == ["0.5", "1.0"]
    assert float(rows[0]["attention_entropy"]) > 0
    assert rows[0]["pointing"] == ""  # the table has no boxes
    assert [line.split()[1] for line in sweep.table().splitlines()] == ["known", "0.5", "1", "mean"]
    assert sweep.against("baseline-mlp") == []
