"""What tests of the server share: one over loopback in a thread, and scenes in files."""

from __future__ import annotations

import csv
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI

import labelwise as lw
import tiny_runs
from labelwise.serving.listen import bound


@contextmanager
def live(app: FastAPI) -> Iterator[httpx.Client]:
    """A client of the app, which listens on a free port until the block ends."""
    place = bound("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    with httpx.Client(
        base_url=f"http://127.0.0.1:{place.getsockname()[1]}", timeout=30, trust_env=False
    ) as client:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield client
        finally:
            server.should_exit = True
            thread.join(20)
            place.close()
    assert not thread.is_alive()


@contextmanager
def program(*words: str | Path, script: str = "") -> Iterator[tuple[BaseProcess, Path, httpx.Client]]:
    """`labelwise serve` with these words in a process of its own, ready to answer, its log, and a client of it."""
    with tiny_runs.started("serve", *words, "--port", "0", script=script) as (process, _, log):
        while not (log.exists() and "\n" in log.read_text()):
            assert process.is_alive()
            time.sleep(0.02)
        match = re.search(r"page (http://127\.0\.0\.1:\d+) ", log.read_text())
        assert match is not None, log.read_text()
        with httpx.Client(base_url=match[1], trust_env=False, timeout=60) as client:
            while not is_ready(client):
                assert process.is_alive(), log.read_text()
                time.sleep(0.02)
            yield process, log, client


def is_ready(client: httpx.Client) -> bool:
    """Whether a server says that it is ready."""
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False


def scene_files(table: Path, folder: Path) -> str:
    """The scenes of a table as image files with a CSV of the same labels and splits."""
    data = lw.read(f"parquet:{table}")
    rows = [["image", *data.labels, "split"]]
    for i in range(len(data)):
        name = f"scene{i}.png"
        (folder / name).write_bytes(data.encoded(i))
        rows.append([name, *data.values[i].tolist(), data.split_names[data.split_of[i]]])
    with open(folder / "scenes.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return f"csv:{folder / 'scenes.csv'}"
