"""Entry point of training within a time limit; it checks the settings before torch is loaded."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from labelwise.errors import LabelwiseError
from labelwise.runs.config import Config, make_config
from labelwise.runs.files import read_json
from labelwise.training.opening import open_data
from labelwise.training.stopping import StopRequest

if TYPE_CHECKING:
    from labelwise.runs.run import Run

PLAN = "plan.json"
PRESETS = {"fast": 180.0, "good": 1200.0, "best": 5400.0}
"""Seconds of each preset."""
SHORTEST = 20.0
"""Shortest accepted time in seconds."""
_UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds_of(text: str) -> float:
    """Parse a time such as `90s`, `10m` or `1.5h`; returns seconds.

    Raises:
        LabelwiseError: another format, or a time below `SHORTEST`.

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
    """Train in stages within a time limit.

    Each stage is trained into `out/stages/NAME` and evaluated on the validation split. A later stage replaces the
    chosen one if it is better in at least 1 - .1 / n of the paired bootstrap samples of the validation images, for n
    later stages; between two heads with a feature per label, in half of them. `out` is a usable run from the first
    stage on. The test split is evaluated once, by the stage that is chosen at the end.

    Args:
        config: settings; the plan chooses those that are not in `given`.
        seconds: total time, including the measurement of the machine.
        out: the run's folder.
        given: dotted names of the settings that the user set.
        resume: continue the plan in `out` under its stored settings, see `settings_of_plan`.
        quiet: print nothing.
        stop: a request to stop, as for `train`.

    Raises:
        LabelwiseError: the data have no validation split, or the folder holds another run.
        Stopped: after a request to stop; finished stages stay usable.
    """
    began = time.perf_counter()
    _refuse(config, out, resume)
    opened = open_data(config)
    if not opened.dataset.splits().get("val"):
        raise LabelwiseError(
            "training in stages, for data without a val split",
            "validation images to choose by",
            "mark some rows val, or give --epochs for a single training",
        )
    from labelwise.anytime.ladder import train_stages  # loads torch

    return train_stages(opened, config, seconds, out, given, resume, quiet, stop, began)


def _refuse(config: Config, out: Path, resume: bool) -> None:
    """Raise `LabelwiseError` for settings or folders that cannot be trained in stages."""
    if not resume and ((out / PLAN).exists() or (out / "config.yaml").exists()):
        raise LabelwiseError(f"{out} holds a run", "a new folder", "use --resume or another --out")
    if resume and not (out / PLAN).exists() and (out / "config.yaml").exists():
        raise LabelwiseError(f"{out} without {PLAN}", "a run that was trained in stages", "use another --out")
    if conflict := conflict_of(config):
        raise LabelwiseError(
            f"--time or --preset with {conflict}",
            "pretrained weights in one process, since the stages use a frozen backbone",
            "remove one of the two",
        )


def conflict_of(config: Config) -> str | None:
    """Return the setting or condition that rules out training in stages, if any."""
    conflicts = {
        "--weights none": config.backbone.weights == "none",
        "--init-from": config.init_from,
        "--teacher": config.teacher.run,
        "several processes": int(os.environ.get("WORLD_SIZE", "1")) > 1,
    }
    return next((name for name, present in conflicts.items() if present), None)


def settings_of_plan(out: Path) -> tuple[Config, float] | None:
    """Return the stored settings and seconds of a run trained in stages; `None` for another folder."""
    if not (out / PLAN).is_file():
        return None
    stored = read_json(out / PLAN)
    return make_config(stored["settings"]), stored["seconds"]
