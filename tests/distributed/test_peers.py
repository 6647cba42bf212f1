"""Where one of several processes is gone, the others end too."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest
from torch import distributed as dist

import tiny_runs
from labelwise.training.peers import watched_peers


def member(rank: int, port: int, fate: str, file: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "3", "RANK": str(rank)}
    os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    dist.init_process_group("gloo")
    with watched_peers(grace=0.2):
        if rank == {"last killed": 2, "first killed": 0}.get(fate, -1):
            os.kill(os.getpid(), signal.SIGKILL)
        if fate == "failing" and rank == 2:
            raise SystemExit(2)
        time.sleep(1 if fate == "done" else 90)
    time.sleep(2 * (rank == 0))


@pytest.mark.parametrize("fate", ["last killed", "first killed", "failing", "done"])
def test_processes_end_where_one_is_gone(fate: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = tmp_path / "errors"
    started = time.monotonic()
    processes = [
        tiny_runs.forks().Process(target=member, args=(rank, port, fate, str(file))) for rank in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(75)
    codes = [process.exitcode for process in processes]
    assert (
        codes
        == {
            "last killed": [1, 1, -9],
            "first killed": [-9, 1, 1],
            "failing": [1, 1, 2],
            "done": [0, 0, 0],
        }[fate]
    )
    assert time.monotonic() - started < 60
    said = [line for line in file.read_text().splitlines() if line.startswith("labelwise: ")]
    assert len(said) == (0 if fate == "done" else 2)
    assert all("another of the processes that train together has ended" in line for line in said)
