"""A row of a sweep as teacher of another one: the run of the same seed and share, which is trained first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from documents import ROOT
from labelwise.errors import LabelwiseError
from labelwise.experiments.sweep import SweepPlan
from labelwise.runs.config import make_config
from labelwise.runs.plain_yaml import read_yaml

OUT = Path("runs")


def plan(teacher: Any, **more: Any) -> SweepPlan:
    rows = {"big": {"image_size": 64}, "small": {"teacher": teacher}, "last": None}
    return SweepPlan.of({"settings": {"data": {"source": "x"}}, "rows": rows, "seeds": [0, 1], **more})


@pytest.mark.parametrize("teacher", ["row:big", {"run": "row:big", "features": 0.5}])
def test_a_row_becomes_its_run(teacher: Any) -> None:
    p = plan(teacher, proportions=[0.5, 1.0])
    for run in p.runs(OUT):
        settings = make_config(p.of_run(run, {})).teacher
        if run.row != "small":
            assert settings.run == ""
            continue
        (taught_by,) = [
            r for r in p.runs(OUT) if (r.row, r.seed, r.proportion) == ("big", run.seed, run.proportion)
        ]
        assert settings.run == str(taught_by.path)
        assert p.runs(OUT).index(taught_by) < p.runs(OUT).index(run)
        assert settings.features == (0.0 if isinstance(teacher, str) else 0.5)


def test_a_run_of_ones_own_stays() -> None:
    p = plan("runs/of my own")
    assert make_config(p.of_run(p.runs(OUT)[1], {})).teacher.run == "runs/of my own"


@pytest.mark.parametrize("named", ["small", "last", "nobody"])
def test_only_a_row_above_can_teach(named: str) -> None:
    p = plan(f"row:{named}")
    with pytest.raises(LabelwiseError) as error:
        p.of_run(p.runs(OUT)[1], {})
    message = (
        f"teacher.run=row:{named} of row 'small'; expected row:NAME of a row above it: big; correct the plan"
    )
    assert str(error.value) == message


def test_the_recipe_of_distillation() -> None:
    p = SweepPlan.of(read_yaml(ROOT / "recipes/classification/voc-distillation.yaml"))
    taught = {
        r.path.name: make_config(p.of_run(r, {})).teacher.run
        for r in p.runs(OUT)
        if "teacher" in (p.rows[r.row] or {})
    }
    assert taught["both-seed1"] == str(OUT / "teacher-448-seed1")
    assert taught["logits-224-seed2"] == str(OUT / "alone-seed2")
    assert len(taught) == 12
