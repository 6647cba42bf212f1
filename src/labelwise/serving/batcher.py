"""Dynamic batching of single images from many connections, with a bound on waiting."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from labelwise.cores import usable_cores
from labelwise.inference.prediction import Prediction
from labelwise.serving.limits import Limits, Refused
from labelwise.serving.metrics import ServerMetrics

MARGIN = 0.8
"""Share of the time to answer that the estimate of admission may fill; the rest covers its error."""


@dataclass(frozen=True)
class QueuedImage:
    """One image and its options.

    Args:
        image: `[3, H, W]` uint8, the input of the engine, an array or a tensor.
        maps: whether to return evidence maps.
        states: label -> present or absent, for labels known beforehand.
    """

    image: Any
    maps: bool
    states: Mapping[str, bool]


@dataclass
class _Waiting:
    """An image in the queue: when it arrived, since when it is decoded, and its answer."""

    query: QueuedImage
    arrived: float
    decoded: float
    answer: asyncio.Future[Prediction]


class Batcher:
    """Decodes in a pool of threads while one other thread runs the engine on the waiting images.

    A batch starts when the engine is free and the batch is full, or no other image is being decoded, or its first
    image has waited for `limits.wait_ms`. A single image therefore never waits, and a busy server fills its batches.

    Images that would probably not be answered in time are refused at once, so that a server with more requests than
    it can answer works on those that it can.

    Args:
        decode: bytes of a file, or pixels -> input of the engine; called in the pool.
        answer: a batch -> one prediction per image; called in the engine's thread.
        limits: bounds on the batch and the queue.
        metrics: counters to update.
    """

    def __init__(
        self,
        decode: Callable[[Any], Any],
        answer: Callable[[Sequence[QueuedImage]], list[Prediction]],
        limits: Limits,
        metrics: ServerMetrics,
    ) -> None:
        self._decode, self._answer, self._limits, self._metrics = decode, answer, limits, metrics
        self._decoders = ThreadPoolExecutor(usable_cores(), "decode")
        self._engine = ThreadPoolExecutor(1, "engine")
        self._waiting: deque[_Waiting] = deque()
        self._arrival = asyncio.Event()
        self._admitted, self._decoding = 0, 0
        # Seconds between the answers of two images while others wait, and the end of the last batch.
        self._image_seconds, self._last_end = 0.0, 0.0
        self._task: asyncio.Task[None] | None = None
        self._started: float | None = None
        self.abandoned = False

    def start(self) -> None:
        """Starts answering; called inside the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Answers all accepted images, then stops the threads; a stalled engine is abandoned, see `abandoned`."""
        while self._admitted and not self.stalled:
            await asyncio.sleep(0.01)
        self.abandoned = self.stalled
        if self._task is not None:
            self._task.cancel()
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._engine.shutdown(wait=not self.abandoned, cancel_futures=True)

    @property
    def full(self) -> bool:
        """Whether no further image would be accepted."""
        return self._admitted >= self._limits.waiting

    @property
    def stalled(self) -> bool:
        """Whether the engine has been running one batch for longer than a request may take."""
        return self._started is not None and time.perf_counter() - self._started > self._limits.seconds

    def check(self, count: int, seconds: float = math.inf) -> None:
        """Refuses images that cannot be answered in time.

        Args:
            count: number of images; 0 for a request whose images are not received yet.
            seconds: time in which they are to be answered; at most `limits.within`.

        Raises:
            Refused: 429, the queue is full or too long for that time; 503, the engine stalls.
        """
        if self.stalled:
            self._metrics.images.labels("refused").inc(max(1, count))
            raise Refused(
                503, "an engine that stalls", "one that answers", "restart the server; see its log", 30
            )
        wait, seconds = self._admitted * self._image_seconds, min(seconds, self._limits.within)
        if self._admitted + max(1, count) > self._limits.waiting:
            expected = f"at most {self._limits.waiting} at a time"
        elif self._admitted and wait + count * self._image_seconds > MARGIN * seconds:
            expected = f"a queue that is answered in {seconds:g} s"
        else:
            return
        self._metrics.images.labels("refused").inc(max(1, count))
        raise Refused(
            429,
            f"more images with {self._admitted} waiting",
            expected,
            "send them again later",
            max(1, math.ceil(wait)),
        )

    @contextmanager
    def admitted(self, count: int, seconds: float = math.inf) -> Iterator[None]:
        """Reserves places in the queue for a number of images and releases them at the end; see `check`."""
        self.check(count, seconds)
        self._reserve(count)
        try:
            yield
        finally:
            self._reserve(-count)

    async def submit(self, data: Any, maps: bool, states: Mapping[str, bool]) -> Prediction:
        """The prediction for one admitted image.

        Raises:
            UnreadableImage: not an image, damaged, or too many pixels.
        """
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        self._decoding += 1
        try:
            image = await loop.run_in_executor(self._decoders, self._decode, data)
            waiting = _Waiting(QueuedImage(image, maps, states), arrived, loop.time(), loop.create_future())
            self._waiting.append(waiting)
        finally:
            self._decoding -= 1
            self._arrival.set()
        return await waiting.answer

    async def _work(self) -> None:
        """Answers batch after batch."""
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._next_batch()
            if not batch:
                continue
            self._started = started = time.perf_counter()
            try:
                answers = await loop.run_in_executor(self._engine, self._answer, [w.query for w in batch])
            except Exception as error:  # a failing batch must not stop the server
                for w in batch:
                    _settle(w.answer, error)
                continue
            finally:
                self._started = None
            self._measure(batch, started)
            for w, prediction in zip(batch, answers, strict=True):
                _settle(w.answer, prediction)

    async def _next_batch(self) -> list[_Waiting]:
        """Waits for a batch; cancelled queries are left out."""
        self._arrival.clear()
        if not self._waiting:
            await self._arrival.wait()
        while self._waiting and self._decoding and len(self._waiting) < self._limits.batch:
            wait = self._waiting[0].decoded + self._limits.wait_ms / 1000 - asyncio.get_running_loop().time()
            if wait <= 0:
                break
            self._arrival.clear()
            try:
                await asyncio.wait_for(self._arrival.wait(), wait)
            except asyncio.TimeoutError:
                break
        count = min(len(self._waiting), self._limits.batch)
        batch = [w for w in (self._waiting.popleft() for _ in range(count)) if not w.answer.done()]
        now = asyncio.get_running_loop().time()
        for w in batch:
            self._metrics.queue.observe(now - w.arrived)
        return batch

    def _reserve(self, count: int) -> None:
        """Changes the number of admitted images."""
        self._admitted += count
        self._metrics.waiting.set(self._admitted)

    def _measure(self, batch: Sequence[_Waiting], started: float) -> None:
        """Measures a batch that has just been answered."""
        now = time.perf_counter()
        self._metrics.batch.observe(len(batch))
        self._metrics.engine.observe(now - started)
        # A batch that waited for the one before it shows the pace of everything, decoding and requests included.
        waited = asyncio.get_running_loop().time() - min(w.arrived for w in batch)
        pace = min(now - self._last_end, waited) / len(batch)
        self._image_seconds += (0.2 if self._image_seconds else 1.0) * (pace - self._image_seconds)
        self._last_end = now


def _settle(answer: asyncio.Future[Prediction], result: Prediction | Exception) -> None:
    """Sets the answer of an image, unless its request was cancelled."""
    if answer.done():
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
