"""Closing of idle connections, and a stalled engine."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from labelwise.inference.prediction import Prediction
from labelwise.serving.batcher import Batcher
from labelwise.serving.connections import ConnectionSweep
from labelwise.serving.limits import Limits, Refused
from labelwise.serving.metrics import ServerMetrics


@dataclass(eq=False)
class Connection:
    """A connection that records whether it was closed."""

    cycle: Any = None
    closed: bool = False
    transport: Any = field(init=False)

    def __post_init__(self) -> None:
        self.transport = SimpleNamespace(abort=lambda: setattr(self, "closed", True))


def request(done: bool = False) -> Any:
    return SimpleNamespace(response_complete=done)


def test_a_connection_without_a_request_is_closed_in_time() -> None:
    sweep, silent, served = (
        ConnectionSweep(Limits(head_seconds=10)),
        Connection(),
        Connection(request(done=True)),
    )
    for now in (0, 5, 9.9):
        assert sweep.look([silent, served], now) == 0
    assert sweep.look([silent, served], 10.1) == 2
    assert silent.closed
    assert served.closed


def test_a_request_restarts_the_clock() -> None:
    sweep, one = ConnectionSweep(Limits(head_seconds=10, seconds=30)), Connection()
    sweep.look([one], 0)
    one.cycle = request()
    sweep.look([one], 9)
    assert sweep.look([one], 68) == 0
    one.cycle = request(done=True)
    assert sweep.look([one], 69) == 0
    assert sweep.look([one], 78) == 0
    assert sweep.look([one], 79.1) == 1


def test_a_response_that_is_not_received_is_dropped() -> None:
    sweep, one = ConnectionSweep(Limits(seconds=30)), Connection(request())
    sweep.look([one], 0)
    assert sweep.look([one], 60) == 0
    assert sweep.look([one], 60.5) == 1


def test_of_too_many_the_longest_waiting_are_closed() -> None:
    sweep = ConnectionSweep(Limits(connections=3))
    waiting, busy = [Connection() for _ in range(4)], [Connection(request()) for _ in range(2)]
    for i in range(len(waiting)):
        sweep.look([*waiting[: i + 1], *busy], i)
    assert [one.closed for one in waiting] == [True, True, True, False]
    assert not any(one.closed for one in busy)


def test_connections_that_are_gone_are_forgotten() -> None:
    sweep = ConnectionSweep(Limits())
    sweep.look([Connection() for _ in range(5)], 0)
    sweep.look([], 1)
    assert not sweep._states


def test_a_stalled_engine_is_reported_and_recovers() -> None:
    free = threading.Event()

    def answer(queries: Any) -> list[Any]:
        free.wait(20)
        return [Prediction("", {}, {}) for _ in queries]

    async def scenario() -> None:
        batcher = Batcher(
            lambda _: torch.zeros(3, 4, 4, dtype=torch.uint8), answer, Limits(seconds=0.2), ServerMetrics()
        )
        batcher.start()
        with batcher.admitted(1):
            task = asyncio.create_task(batcher.submit(b"", False, {}))
            await asyncio.sleep(0.5)
            assert batcher.stalled
            with pytest.raises(Refused, match="an engine that stalls") as refused, ExitStack() as stack:
                stack.enter_context(batcher.admitted(1))
            assert (refused.value.status, refused.value.retry_after) == (503, 30)
            free.set()
            await asyncio.wait_for(task, 20)
        assert not batcher.stalled
        with batcher.admitted(1):
            await asyncio.wait_for(batcher.submit(b"", False, {}), 20)
        await batcher.close()

    asyncio.run(scenario())
