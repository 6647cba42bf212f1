"""What tests of the server share: one over loopback in a thread, and scenes in files."""

from __future__ import annotations

import csv
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI

import labelwise as lw
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
