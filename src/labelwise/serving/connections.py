"""Connections that take a place without using it: closed after a while, or when there are too many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Any

from labelwise.serving.limits import Limits

PERIOD = 0.25
"""Seconds between two looks."""


class Sweep:
    """Looks at all connections, and closes those that keep the server waiting.

    A connection waits while no whole request head has come since it opened or since its last answer: for
    `limits.head_seconds`. One with a request may take `2 limits.seconds` until its answer is taken. Beyond
    `limits.connections` those that wait are closed at once, the longest waiting first.

    A connection is one of uvicorn's: its `cycle` is the last request, its `transport` closes it.

    Args:
        limits: bounds.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._since: dict[Any, tuple[object, float]] = {}

    def look(self, connections: Collection[Any], now: float) -> int:
        """Close what is overdue; how many that were."""
        held = {c: self._since.get(c, (None, now)) for c in connections}
        waiting: list[tuple[float, Any]] = []
        closed = 0
        for connection, (before, since) in held.items():
            work = _work(connection)
            if work is not before:
                held[connection] = (work, now)
                since = now
            longest = self._limits.head_seconds if work is None else 2 * self._limits.seconds
            if now - since > longest:
                connection.transport.abort()
                closed += 1
            elif work is None:
                waiting.append((since, connection))
        excess = max(0, len(held) - closed - self._limits.connections)
        for _, connection in sorted(waiting, key=lambda pair: pair[0])[:excess]:
            connection.transport.abort()
            closed += 1
        self._since = held
        return closed

    async def run(self, connections: Collection[Any]) -> None:
        """Look again and again, until cancelled."""
        while True:
            self.look(list(connections), time.monotonic())
            await asyncio.sleep(PERIOD)


def _work(connection: Any) -> object:
    """The request that is under way, `None` between requests."""
    cycle = connection.cycle
    return None if cycle is None or cycle.response_complete else cycle
