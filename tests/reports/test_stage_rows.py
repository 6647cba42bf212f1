"""The report's rows of the stages of a training with a time limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

from labelwise.reports.ladder import ladder, name_of_run
from labelwise.reports.record import RunRecord


def stage(name: str, chosen: bool, gain: float = 0.0, low: float = 0.0, high: float = 0.0) -> dict[str, Any]:
    ends = {} if name == "1-probe" else {"gain": gain, "low": low, "high": high, "against": "1-probe"}
    return {"stage": name, "seconds": 3.4, "val_mAP": 0.5, "chosen": chosen, **ends}


def test_what_became_of_each_stage(tmp_path: Path) -> None:
    rows = [
        stage("1-probe", True),
        stage("2-mlp", False, -0.02, -0.03, -0.01),
        stage("3-csra", False, 0.004, -0.01, 0.02),
        stage("4-ssgrl", True, 0.02, 0.01, 0.03),
        {"stage": "5-dlfl", "left_out": "needs about 9 s, 4 s are left"},
    ]
    (tmp_path / "plan.json").write_text(json.dumps({"ladder": rows}))
    (tmp_path / "stages" / "4-ssgrl").mkdir(parents=True)
    run = create_autospec(RunRecord, instance=True)
    run.path = tmp_path / "stages" / "4-ssgrl"
    shown = ladder(run)
    fates = [
        "replaced",
        "worse",
        "not better beyond noise",
        "chosen",
        "left out: needs about 9 s, 4 s are left",
    ]
    assert [row["outcome"] for row in shown] == fates
    assert shown[1]["gain"] == "-2.0 (-3.0 to -1.0) over 1-probe"
    assert (shown[0]["seconds"], shown[0]["gain"], shown[4]["seconds"]) == ("3", "", "")
    assert name_of_run(run) == tmp_path.name
