"""A server over loopback in a thread of the tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from fastapi import FastAPI

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
