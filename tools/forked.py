"""Runs the program in forked processes, so that modules are imported once; for faults.py."""

from __future__ import annotations

import csv
import faulthandler
import io
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from labelwise import cli


def photographs(folder: Path, train: int = 32, val: int = 8, test: int = 9) -> None:
    """A CSV of small photographs with one or two of three colours."""
    colours = {"red": (220, 30, 30), "green": (20, 190, 40), "blue": (30, 40, 220)}
    folder.mkdir(parents=True)
    rng, rows = np.random.default_rng(0), []
    for split, count in (("train", train), ("val", val), ("test", test)):
        for i in range(count):
            held = {list(colours)[i % 3], list(colours)[int(rng.integers(3))]}
            picture = Image.fromarray(rng.integers(60, 120, (40, 48, 3), np.uint8))
            for place, name in enumerate(sorted(held)):
                picture.paste(colours[name], (2 + 24 * place, 5, 20 + 24 * place, 35))
            picture.save(folder / f"{split}{i}.jpg", quality=92)
            rows.append([f"{split}{i}.jpg", *(int(c in held) for c in colours), split])
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([["image", *colours, "split"], *rows])


def start(
    arguments: list[str], log: Path, prepare: Callable[[], None] | None = None, processes: int = 1
) -> list[int]:
    """Starts the program in forked processes, connected as by torchrun; returns their ids."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pids = []
    for rank in range(processes):
        pid = os.fork()
        if pid:
            pids.append(pid)
            continue
        code = 70
        try:
            with open(log, "ab", buffering=0) as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            faulthandler.register(signal.SIGUSR1)
            sys.stdout, sys.stderr = (
                io.TextIOWrapper(os.fdopen(n, "wb", 0), write_through=True) for n in (1, 2)
            )
            if processes > 1:
                group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
                os.environ |= {**group, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            if prepare is not None:
                prepare()
            sys.argv = ["labelwise", *arguments]
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    return pids


def ended(pids: list[int], within: float = 120) -> list[int]:
    """Exit codes, negative for signals; processes alive after `within` seconds are killed and reported as hanging.

    Of several processes, the others are killed 10 seconds after one has failed, as by torchrun.
    """
    codes, ends = dict.fromkeys(pids, 0), time.monotonic() + within
    left, failed = set(pids), False
    while left:
        for pid in sorted(left):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                codes[pid] = os.waitstatus_to_exitcode(status)
                left.discard(pid)
        if len(pids) > 1 and any(codes.values()) and ends > time.monotonic() + 10:
            ends, failed = time.monotonic() + 10, True
        if failed and time.monotonic() > ends:
            for pid in left:
                os.kill(pid, signal.SIGUSR1)  # prints its stack
                time.sleep(0.2)
                os.kill(pid, signal.SIGKILL)
        elif left and time.monotonic() > ends:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            raise TimeoutError(f"{len(left)} processes hang")
        time.sleep(0.002)
    return [codes[pid] for pid in pids]


def is_alive(pid: int) -> bool:
    """Whether a process is running, and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children_of(pid: int) -> list[int]:
    """Ids of the children of a process."""
    ids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(n) for n in ids]
