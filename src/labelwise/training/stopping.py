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
    """SIGTERM and SIGINT, noted while steps are made and obeyed at once elsewhere.

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
        """Take the place of the signals' handlers for a while; outside the main thread nothing changes."""
        try:
            before = {number: signal.signal(number, self._take) for number in _SIGNALS}
        except ValueError:  # signals reach the main thread alone
            yield self
            return
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """A stretch of work that looks at `by` itself; elsewhere a signal ends the work at once."""
        self._noting = True
        try:
            yield
        finally:
            self._noting = False
        if self.by:
            raise self.stopped("")

    def watching(self, items: Iterable[_T]) -> Iterator[_T]:
        """The same items until a request comes, which then raises `Stopped`."""
        for item in items:
            if self.by:
                raise self.stopped("")
            yield item

    def stopped(self, where: str) -> Stopped:
        """What to raise: the signal, and where the work stood."""
        return Stopped(f"stopped by {self.by}{where}")

    def _take(self, number: int, frame: FrameType | None) -> None:
        again, self.by = bool(self.by), signal.Signals(number).name
        if not self._noting and not again:  # a launcher's signal may follow the group's
            raise self.stopped("")


class Agreement:
    """Whether any process was asked to stop, known to all at the same step.

    Each step sends this process's answer and reads what was sent the step before, so that nobody waits.

    Args:
        request: this process's own.
        processes: how many there are.
    """

    def __init__(self, request: StopRequest, processes: int) -> None:
        self._request = request
        self._group: Any = torch.distributed.new_group(backend="gloo") if processes > 1 else None
        self._sent: tuple[Any, torch.Tensor] | None = None

    def reached(self) -> bool:
        """Called by every process once a step; `True` in all of them at once."""
        if self._group is None:
            return bool(self._request.by)
        found = self._read()
        flag = torch.tensor([float(bool(self._request.by))])
        self._sent = torch.distributed.all_reduce(flag, group=self._group, async_op=True), flag
        return found

    def _read(self) -> bool:
        if self._sent is None:
            return False
        work, flag = self._sent
        work.wait()
        self._sent = None
        return bool(flag)

    def close(self) -> None:
        """Read what is still on its way."""
        self._read()
