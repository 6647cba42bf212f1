"""The report's table of the stages of a training with a time limit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from labelwise.reports.record import RunRecord
from labelwise.reports.sections import percent
from labelwise.runs.run import STAGES


def name_of_run(run: RunRecord) -> str:
    """The name of the run: its folder, or the folder of all its stages."""
    folder = run.path.resolve()
    return (folder.parent.parent if folder.parent.name == STAGES else folder).name


def ladder(run: RunRecord) -> list[dict[str, str]]:
    """A row for each stage: name, seconds, val mAP, its gain with the 95 % interval, and its outcome.

    Empty for a run that is not a stage.
    """
    file = run.path.resolve().parent.parent / "plan.json"
    if run.path.resolve().parent.name != STAGES or not file.is_file():
        return []
    stages = json.loads(file.read_text(encoding="utf-8"))["ladder"]
    last_chosen = [stage["stage"] for stage in stages if stage.get("chosen")][-1:]
    return [_row(stage, stage["stage"] in last_chosen) for stage in stages]


def _outcome(stage: Mapping[str, Any]) -> str:
    """The outcome of a stage that is not the chosen one."""
    if stage["chosen"]:
        return "replaced"
    return "worse" if stage["high"] < 0 else "not better beyond noise"


def _row(stage: Mapping[str, Any], is_final: bool) -> dict[str, str]:
    if "left_out" in stage:
        empty = {"seconds": "", "map": "", "gain": ""}
        return {"name": stage["stage"], **empty, "outcome": f"left out: {stage['left_out']}"}
    gain = ""
    if "gain" in stage:
        interval = " to ".join(f"{100 * stage[end]:+.1f}" for end in ("low", "high"))
        gain = f"{100 * stage['gain']:+.1f} ({interval}) over {stage['against']}"
    return {
        "name": stage["stage"],
        "seconds": f"{stage['seconds']:.0f}",
        "map": percent(stage["val_mAP"]),
        "gain": gain,
        "outcome": "chosen" if is_final else _outcome(stage),
    }
