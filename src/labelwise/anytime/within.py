"""Training within a stated time: what it is given and what it refuses, before the networks' libraries are loaded."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from labelwise.errors import LabelwiseError
from labelwise.training.config import Config, make_config
from labelwise.training.files import read_json
from labelwise.training.opening import open_data
from labelwise.training.stopping import StopRequest

if TYPE_CHECKING:
    from labelwise.training.run import Run

PLAN = "plan.json"
PRESETS = {"fast": 180.0, "good": 1200.0, "best": 5400.0}
"""Seconds of each preset."""
SHORTEST = 20.0
"""Seconds under which no plan is made."""
_UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds_of(text: str) -> float:
    """A time such as `90s`, `10m` or `1.5h`, in seconds.

    Raises:
        LabelwiseError: another text, or a time too short for any plan.

    >>> seconds_of("10m"), seconds_of("1.5h")
    (600.0, 5400.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", text.strip())
    if match is None:
        raise LabelwiseError(f"--time {text}", "a number and a unit, such as 90s, 10m or 1.5h", "correct it")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds < SHORTEST:
        raise LabelwiseError(f"--time {text}", f"at least {SHORTEST:.0f}s", "give it more time")
    return seconds


def train_within(
    config: Config,
    seconds: float,
    out: Path,
    given: frozenset[str] = frozenset(),
    *,
    resume: bool = False,
    quiet: bool = False,
    stop: StopRequest | None = None,
) -> Run:
    """Train for a stated time.

    Each stage is trained into `out/stages/NAME` and judged on the validation split. A later stage is chosen where it is
    better than the chosen one in at least 90 % of paired draws of the validation images, else the simpler one stays.
    From the first stage on `out` is a run. The test split is judged once, by the stage that is chosen at the end.

    Args:
        config: settings; what is not in `given` is for the plan to choose.
        seconds: for all of it, with the measuring of the machine.
        out: the run's folder.
        given: dotted names of the settings that the person chose.
        resume: go on with the plan in `out`, whose settings are those that it began with, see `settings_of_plan`.
        quiet: print nothing.
        stop: a request to stop, as for `train`.

    Raises:
        LabelwiseError: no validation split to choose by, or a folder that holds another run.
        Stopped: after a request to stop; what has ended stays usable.
    """
    began = time.perf_counter()
    _refuse(config, out, resume)
    opened = open_data(config)
    if not opened.dataset.splits().get("val"):
        raise LabelwiseError(
            "training in stages, for data without a val split",
            "validation images to choose by",
            "mark some rows val, or give --epochs for one training alone",
        )
    from labelwise.anytime.ladder import climb_all  # loads the networks' libraries

    return climb_all(opened, config, seconds, out, given, resume, quiet, stop, began)


def _refuse(config: Config, out: Path, resume: bool) -> None:
    """Raises `LabelwiseError` for what cannot be trained in stages."""
    if not resume and ((out / PLAN).exists() or (out / "config.yaml").exists()):
        raise LabelwiseError(f"{out} holds a run", "a new folder", "use --resume or another --out")
    if resume and not (out / PLAN).exists():
        raise LabelwiseError(
            f"{out} without {PLAN}", "a run that was trained in stages", "leave --resume out"
        )
    if conflict := conflict_of(config):
        raise LabelwiseError(
            f"--time or --preset with {conflict}",
            "pretrained weights in one process, for the stages rest on a frozen backbone",
            "leave one of the two out",
        )


def conflict_of(config: Config) -> str | None:
    """The setting or condition that rules out training in stages, if any."""
    conflicts = {
        "--weights none": config.backbone.weights == "none",
        "--init-from": config.init_from,
        "--teacher": config.teacher.run,
        "several processes": int(os.environ.get("WORLD_SIZE", "1")) > 1,
    }
    return next((name for name, there in conflicts.items() if there), None)


def settings_of_plan(out: Path) -> tuple[Config, float] | None:
    """Settings and seconds that a run within a time began with; `None` for another folder."""
    if not (out / PLAN).is_file():
        return None
    stored = read_json(out / PLAN)
    return make_config(stored["settings"]), stored["seconds"]
