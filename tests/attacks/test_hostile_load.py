"""A short hostile load on `labelwise serve`: it stays up, answers others, and closes those who wait."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import tiny_runs

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import hostile
from live_server import program
from serving import fetch, memory, message, ready


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph."""
    folder = tmp_path_factory.mktemp("photo")
    tiny_runs.photographs(folder, 1, 0, 0)
    return folder / "train0.jpg"


@pytest.fixture(scope="module")
def port(run_folder: Path) -> Iterator[int]:
    """A server of its own."""
    with program(run_folder, "--batch-size", "8") as (_, _, client):
        yield client.base_url.port


def test_a_server_under_attack_answers_others(
    port: int, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostile, "HELD", 30)
    monkeypatch.setattr(hostile, "PACE", 0.0)
    seen: Counter[str] = Counter()
    parts = hostile.hostile(port, photo.read_bytes(), 160, seen)
    asyncio.run(hostile.watched(port, [message(str(photo))], 1, 0.3, lambda _: []))
    before = memory(port)
    times, failed = asyncio.run(hostile.watched(port, [message(str(photo))], 2, 2, parts))
    assert len(times) > 5
    assert failed == 0
    assert sum(seen.values()) == 160
    assert not [name for name in seen if name.endswith((" 500", " 504"))], seen
    assert {"oversize 413", "garbage 400", "path 404", "json 400"} <= set(seen), seen
    assert memory(port) - before < 150
    assert ready(port)
    assert 'status="500"' not in fetch(port, "/metrics")


def test_who_sends_no_request_is_closed_and_who_waits_for_an_answer_is_not(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as silent:
        started = time.monotonic()
        silent.settimeout(30)
        silent.sendall(b"POST /predict HTTP/1.1\r\nHost:")
        with contextlib.suppress(ConnectionResetError):
            assert silent.recv(100) == b""
        assert 9 < time.monotonic() - started < 25
        assert ready(port)


def test_what_is_sent_is_a_mix() -> None:
    names = {hostile.mixed(b"photo" * 9, random.Random(i))[0] for i in range(200)}
    assert len(names) == 10
