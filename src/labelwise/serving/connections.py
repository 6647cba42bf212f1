"""Closes idle connections after a timeout, or when there are too many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Any

from labelwise.serving.limits import Limits

PERIOD = 0.25
"""Seconds between two checks."""


class ConnectionSweep:
    """Checks all connections and closes those that keep the server waiting.

    A connection is waiting while no complete request head has arrived since it opened or since its last response; it
    may wait for `limits.head_seconds`. A connection with a request may take `2 limits.seconds` until its response is
    received. Above `limits.connections`, waiting connections are closed at once, the longest waiting first.

    A connection is one of uvicorn's: its `cycle` is the last request, its `transport` closes it.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._states: dict[Any, tuple[object, float]] = {}

    def look(self, connections: Collection[Any], now: float) -> int:
        """Closes overdue connections and returns their number."""
        states = {connection: self._states.get(connection, (None, now)) for connection in connections}
        waiting: list[tuple[float, Any]] = []
        closed = 0
        for connection, (last_request, start) in states.items():
            request = _current_request(connection)
            if request is not last_request:
                states[connection] = (request, now)
                start = now
            longest = self._limits.head_seconds if request is None else 2 * self._limits.seconds
            if now - start > longest:
                connection.transport.abort()
                closed += 1
            elif request is None:
                waiting.append((start, connection))
        excess = max(0, len(states) - closed - self._limits.connections)
        for _, connection in sorted(waiting, key=lambda pair: pair[0])[:excess]:
            connection.transport.abort()
            closed += 1
        self._states = states
        return closed

    async def run(self, connections: Collection[Any]) -> None:
        """Checks periodically until cancelled."""
        while True:
            self.look(list(connections), time.monotonic())
            await asyncio.sleep(PERIOD)


def _current_request(connection: Any) -> object:
    """The current request, `None` between requests."""
    cycle = connection.cycle
    return None if cycle is None or cycle.response_complete else cycle
