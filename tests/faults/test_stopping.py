"""SIGTERM and SIGINT: the step at hand ends, the state is saved, exit code 75, and going on loses nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tiny_runs
from labelwise.cli import RESUMABLE
from labelwise.errors import Stopped
from labelwise.runs.config import make_config
from labelwise.runs.run import WEIGHTS
from labelwise.training import loop as room
from labelwise.training.checkpoint import STATE, load_state
from labelwise.training.fit import train
from labelwise.training.stopping import StopRequest


def _program(words: list[str], log: Path) -> None:
    """The program in a group of its own, as a job of a scheduler is."""
    from labelwise.cli import main

    os.setsid()
    multiprocessing.set_start_method("fork", force=True)  # as on a command line, for the decoding workers
    with open(log, "w", buffering=1) as file:
        sys.stdout = sys.stderr = file
        sys.argv = ["labelwise", *words]
        main()


def _words(table: Path, out: Path, *more: str) -> list[str]:
    words = [w for w in tiny_runs.TINY if w not in ("--epochs", "1")]
    own = f"--data parquet:{table} --out {out} --epochs 3 --no-report --batch-size 8".split()
    return ["train", *words, *own, *more]


@pytest.fixture(scope="module")
def whole(table: Path, base: Path) -> bytes:
    """Weights of the run that nobody stops."""
    assert tiny_runs.command(*_words(table, base / "unstopped")).code == 0
    return (base / "unstopped" / WEIGHTS).read_bytes()


@pytest.mark.parametrize(("number", "group"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
def test_a_signal_saves_and_says_how_to_go_on(
    tmp_path: Path, table: Path, whole: bytes, number: signal.Signals, group: bool
) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    words = _words(table, out, "--set", "workers=1", "--set", "save_every=1000")
    process = tiny_runs.forks().Process(target=_program, args=(words, log))
    process.start()
    assert process.pid is not None
    while process.is_alive() and not (out / STATE).exists():  # the state of the first epoch
        time.sleep(0.005)
    before = load_state(out / STATE)[0].step
    asked = time.monotonic()
    (os.killpg if group else os.kill)(process.pid, number)
    process.join(60)
    message = log.read_text().splitlines()[-1]
    assert process.exitcode == RESUMABLE == 75, log.read_text()
    assert time.monotonic() - asked < 10
    step = load_state(out / STATE)[0].step
    assert before <= step < 18
    assert message == (
        f"labelwise: stopped by {number.name} at step {step} of 18, saved in {out}; "
        f"go on with: labelwise train --out {out} --resume --no-report"
    )
    assert tiny_runs.command(*message.rpartition("labelwise ")[2].split()).code == 0
    assert (out / WEIGHTS).read_bytes() == whole


def test_a_request_while_the_epoch_is_judged(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, request, honest = make_config(tiny_runs.settings(f"parquet:{table}")), StopRequest(), room.collect

    def collect(model: Any, loader: Iterator[Any], *rest: Any) -> Any:
        request.by = "SIGTERM"
        return honest(model, loader, *rest)

    monkeypatch.setattr(room, "collect", collect)
    with pytest.raises(Stopped, match="stopped by SIGTERM at step 6 of 12, saved in"):
        train(config, tmp_path / "run", quiet=True, stop=request)
    progress, _ = load_state(tmp_path / "run" / STATE)
    assert (progress.epoch, progress.step_in_epoch, progress.losses) == (0, 6, [])
    monkeypatch.undo()
    train(config, tmp_path / "run", quiet=True, resume=True)
    train(config, tmp_path / "whole", quiet=True)
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()


def _asked_of_one(config: Any, out: Path) -> None:
    """Train as one of two processes, of which only the second is asked to stop."""
    request, honest = StopRequest(), room.Trainer._step

    def step(self: Any, batches: Any) -> Any:
        if os.environ["RANK"] == "1" and self.progress.step == 3:
            request.by = "SIGTERM"
        return honest(self, batches)

    room.Trainer._step = step
    with pytest.raises(Stopped, match="saved in"):
        train(config, out, quiet=True, stop=request)
    (out / f"stopped{os.environ['RANK']}").touch()


def test_processes_stop_at_the_same_step(tmp_path: Path, table: Path) -> None:
    config = make_config(tiny_runs.settings(f"parquet:{table}"))
    tiny_runs.together(2, _asked_of_one, config, tmp_path / "two")
    assert (tmp_path / "two" / "stopped0").exists()
    assert (tmp_path / "two" / "stopped1").exists()
    assert load_state(tmp_path / "two" / STATE)[0].step == 5  # sent with step 4, read with step 5


def test_a_second_signal_does_not_break_the_ending() -> None:
    def stopped_twice() -> None:
        with StopRequest().listening():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped, match="stopped by SIGTERM"):
        stopped_twice()
    assert signal.getsignal(signal.SIGINT) is before
