"""`labelwise serve` as a program: refusals, start and stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

import tiny_runs
from live_server import is_ready, program
from tiny_runs import command
from tolerance import ANSWERS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "digits:"], "--data without --review; expected an audit to review"),
        (["--review", "none.csv"], "audit none.csv (No such file or directory)"),
        (["--max-files", "40", "--queue", "8"], "a queue of 8 images for requests of up to 40"),
        (["--max-mb", "0"], "file_bytes 0; expected a number over 0"),
    ],
)
def test_invalid_options_are_refused(run_folder: Path, options: list[str], message: str) -> None:
    assert message in command("serve", run_folder, *options).message


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    assert "expected the folder that `labelwise train --out`" in command("serve", tmp_path).message


def test_a_port_in_use_is_refused(run_folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} of 127.0.0.1" in command("serve", run_folder, "--port", str(port)).message


STALLING = """
import itertools, threading
from labelwise.cli import main
from labelwise.serving.answers import Answers

original, calls = Answers.answer, itertools.count()


def answer(self, queries):
    if next(calls) >= 2:  # after the warm-up
        threading.Event().wait()
    return original(self, queries)


Answers.answer = answer
main()
"""


def test_an_engine_that_stalls_does_not_keep_the_program_from_ending(
    run_folder: Path, tmp_path: Path
) -> None:
    tiny_runs.photographs(tmp_path, 1, 0, 0)
    photo = next(tmp_path.glob("*.jpg"))
    with program(run_folder, "--timeout", "1", script=STALLING) as (process, log, client):
        codes = [client.post("/predict", files={"files": photo.read_bytes()}).status_code]
        while codes[-1] != 503 and len(codes) < 20:  # refused once the engine has been running for a second
            time.sleep(0.5)
            codes.append(client.post("/predict", files={"files": photo.read_bytes()}).status_code)
        assert codes[0] == 504
        assert codes[-1] == 503
        assert not is_ready(client)
        events = _stopped(process, log, 1)
    assert events[-1] == "stalled"


def test_the_threads_of_others_are_left_alone(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that runs the server in its own process, next to a pool of the same name, continues afterwards."""

    async def nothing(*_: object, **__: object) -> None: ...

    monkeypatch.setattr("uvicorn.Server.serve", nothing)
    with ThreadPoolExecutor(1, "engine") as pool:
        pool.submit(int).result()
        assert command("serve", run_folder, "--port", "0").code == 0


def test_the_program_answers_as_predict_does_and_stops_clean(run_folder: Path, tmp_path: Path) -> None:
    tiny_runs.photographs(tmp_path, 3, 0, 0)
    photos = sorted(tmp_path.glob("*.jpg"))
    with program(run_folder) as (process, log, client):
        files = [("files", (p.name, p.read_bytes())) for p in photos]
        lines = client.post("/predict", files=files).raise_for_status().json()["predictions"]
        events = _stopped(process, log, 0)
    assert events[-1] == "stopped"
    said = command("predict", run_folder, *photos, "--json")
    for line, other in zip(lines, map(json.loads, said.out.splitlines()), strict=True):
        scores = {label["name"]: label["score"] for label in line["labels"]}
        assert scores == pytest.approx({x["name"]: x["score"] for x in other["labels"]}, abs=ANSWERS)
        assert [x["selected"] for x in line["labels"]] == [x["selected"] for x in other["labels"]]


def _stopped(process: BaseProcess, log: Path, code: int) -> list[str]:
    """Stops a server, checks its exit code and returns the events of its log."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    process.join(30)
    _, *events = log.read_text().splitlines()
    assert process.exitcode == code, events
    return [json.loads(line)["event"] for line in events]
