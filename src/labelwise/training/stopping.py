"""Requests to stop: signals that wait for the next step boundary, on which all processes agree."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from labelwise.errors import Stopped
from labelwise.lazy import torch

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_T = TypeVar("_T")


class StopRequest:
    """SIGTERM and SIGINT: recorded while steps run, and obeyed at once elsewhere.

    Example:
        >>> import os, signal
        >>> request = StopRequest()
        >>> try:
        ...     with request.listening(), request.noting():
        ...         os.kill(os.getpid(), signal.SIGTERM)
        ...         print("the step at hand is finished")
        ... except Stopped as stopped:
        ...     print(stopped.given)
        the step at hand is finished
        stopped by SIGTERM
    """

    def __init__(self) -> None:
        self.by = ""
        self._noting = False

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Replace the signals' handlers inside the block; outside the main thread nothing changes."""
        try:
            old_handlers = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        except ValueError:  # only the main thread receives signals
            yield self
            return
        try:
            yield self
        finally:
            for number, handler in old_handlers.items():
                signal.signal(number, handler)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """A block that checks `by` itself; outside of it, a signal ends the work at once."""
        self._noting = True
        try:
            yield
        finally:
            self._noting = False
        if self.by:
            raise self.stopped("")

    def watching(self, items: Iterable[_T]) -> Iterator[_T]:
        """Yield the same items; raises `Stopped` at the first item after a request."""
        for item in items:
            if self.by:
                raise self.stopped("")
            yield item

    def stopped(self, where: str) -> Stopped:
        """The exception to raise, with the signal and the progress of the work."""
        return Stopped(f"stopped by {self.by}{where}")

    def _receive(self, number: int, frame: FrameType | None) -> None:
        """Handler of the signals: records one, and raises `Stopped` outside of `noting`."""
        is_repeated, self.by = bool(self.by), signal.Signals(number).name
        if not self._noting and not is_repeated:  # a launcher's signal may follow the group's
            raise self.stopped("")


class Agreement:
    """Whether any process was asked to stop; all processes learn it at the same step.

    Each step starts an asynchronous all-reduce and reads that of the step before, so that no process waits.

    Args:
        request: the request to this process.
        processes: number of processes.
    """

    def __init__(self, request: StopRequest, processes: int) -> None:
        self._request = request
        self._group: Any = torch.distributed.new_group(backend="gloo") if processes > 1 else None
        self._sent: tuple[Any, torch.Tensor] | None = None

    def reached(self) -> bool:
        """Called by every process once a step; returns `True` in all of them at the same step."""
        if self._group is None:
            return bool(self._request.by)
        agreed = self._read()
        flag = torch.tensor([float(bool(self._request.by))])
        self._sent = torch.distributed.all_reduce(flag, group=self._group, async_op=True), flag
        return agreed

    def _read(self) -> bool:
        """Whether any process had a request at the step before; waits for the all-reduce of that step."""
        if self._sent is None:
            return False
        reduction, flag = self._sent
        reduction.wait()
        self._sent = None
        return bool(flag)

    def close(self) -> None:
        """Wait for the last all-reduce."""
        self._read()
