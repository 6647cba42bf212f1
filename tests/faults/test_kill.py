"""kill -9 at any moment: going on gives the very run that was never killed."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import tiny_runs
from labelwise.runs.config import Config, make_config
from labelwise.runs.run import WEIGHTS
from labelwise.training.checkpoint import STATE, load_state
from labelwise.training.fit import train

STEPS = 18


def _config(table: Path) -> Config:
    settings = tiny_runs.settings(f"parquet:{table}", epochs=3, save_every=1, ema=0.999)
    settings["augment"] = {"flip": 0.5, "multi_scale": [1.0, 0.8], "pad": 2, "cutout": 0.2}
    settings["extractor"]["dropout"] = 0.5
    return make_config(settings)


def _killed(config: Config, out: Path, moment: str, chance: random.Random) -> bool:
    """Train in a process that is killed at a moment after it has saved something; whether it was in time."""
    before = (out / STATE).stat().st_mtime_ns if (out / STATE).exists() else 0
    process = tiny_runs.forks().Process(
        target=train, args=(config, out), kwargs={"resume": True, "quiet": True}
    )
    process.start()
    parts = [(out / name).with_name(f".{Path(name).name}.part") for name in (STATE, WEIGHTS)]
    ends = time.monotonic() + 60
    while process.is_alive() and time.monotonic() < ends:
        saved = (out / STATE).exists() and (out / STATE).stat().st_mtime_ns > before
        if saved and moment == "any":
            time.sleep(chance.uniform(0, 0.05))
            break
        if saved and moment == "saving" and any(part.exists() for part in parts):
            break
        time.sleep(0.0005)  # which leaves the processor to the one that is waited for
    process.kill()
    process.join()
    return process.exitcode == -9


def _curve(out: Path) -> list[dict]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in e.items() if k not in ("seconds", "images_per_second")} for e in lines]


def test_killed_runs_end_as_the_run_that_was_left_alone(tmp_path: Path, table: Path) -> None:
    config, chance = _config(table), random.Random(0)
    whole, out = tmp_path / "whole", tmp_path / "killed"
    train(config, whole, quiet=True)
    done = []
    for moment in ("any", "saving", "any"):
        assert _killed(config, out, moment, chance), "the run ended before it could be killed"
        done.append(load_state(out / STATE)[0].step)  # the state is whole at every moment
        (out / ".labels.json.part").write_text("{half")
    assert done == sorted(done)
    assert 0 < done[0] < done[-1] < STEPS, done
    train(config, out, quiet=True, resume=True)
    assert (out / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert _curve(out) == _curve(whole)
    results = [json.loads((path / "results.json").read_text())["splits"] for path in (out, whole)]
    assert results[0] == results[1]
    assert not list(out.rglob("*.part"))


def test_a_run_killed_before_its_first_state_starts_anew(tmp_path: Path, table: Path) -> None:
    config, out = _config(table).model_copy(update={"epochs": 1, "save_every": 200}), tmp_path / "run"
    process = tiny_runs.forks().Process(target=train, args=(config, out), kwargs={"quiet": True})
    process.start()
    while not (out / "metrics.jsonl").exists() and process.is_alive():
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -9
    assert not (out / STATE).exists()
    train(config, out, quiet=True, resume=True)
    train(config, tmp_path / "whole", quiet=True)
    assert (out / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()
