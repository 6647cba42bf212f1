"""Single images, answered in batches."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from labelwise.errors import LabelwiseError
from labelwise.inference.prediction import Prediction
from labelwise.serving.batcher import Batcher, QueuedImage
from labelwise.serving.limits import Limits, Refused
from labelwise.serving.metrics import ServerMetrics

LIMITS = Limits(files=4, waiting=200, batch=8, wait_ms=5)


def decode(data: bytes) -> Tensor:
    """`7` -> an image full of 7; `slow7` is slow; `bad` is not an image."""
    if data.startswith(b"bad"):
        raise LabelwiseError("no image", "an image", "send one")
    if data.startswith(b"slow"):
        time.sleep(0.15)
    return torch.full((3, 2, 2), int(data.removeprefix(b"slow")), dtype=torch.uint8)


class Engine:
    """Answers an image with its value, and records the sizes of its batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.seconds = 0.0
        self.free = threading.Event()
        self.free.set()

    def __call__(self, queries: Sequence[QueuedImage]) -> list[Prediction]:
        self.batches.append(len(queries))
        assert self.free.wait(10)
        time.sleep(self.seconds * len(queries))
        values = [float(q.image[0, 0, 0]) for q in queries]
        if 13.0 in values:
            raise RuntimeError("the engine broke")
        return [Prediction("", {"x": value / 255}, {"x": 0.5}) for value in values]


def run(
    work: Callable[[Batcher, Engine], Awaitable[Any]], limits: Limits = LIMITS
) -> tuple[Any, Engine, ServerMetrics]:
    """Runs a coroutine on a started batcher."""
    engine, metrics = Engine(), ServerMetrics()

    async def whole() -> Any:
        batcher = Batcher(decode, engine, limits, metrics)
        batcher.start()
        try:
            return await work(batcher, engine)
        finally:
            engine.free.set()
            await batcher.close()

    return asyncio.run(whole()), engine, metrics


def value(prediction: Prediction) -> int:
    return round(255 * prediction.scores["x"])


async def ask(batcher: Batcher, data: str) -> int:
    with batcher.admitted(1):
        return value(await batcher.submit(data.encode(), False, {}))


def test_images_that_would_wait_too_long_are_refused_at_once() -> None:
    async def flood(batcher: Batcher, engine: Engine) -> tuple[list[float], list[float]]:
        engine.seconds = 0.02  # per image
        for i in range(6):
            await ask(batcher, str(i))  # the pace is known now
        answered, refused = [], []
        reasons: set[tuple[int, bool]] = set()

        async def one(i: int) -> None:
            started = time.perf_counter()
            try:
                await ask(batcher, str(i % 9))
                answered.append(time.perf_counter() - started)
            except Refused as error:
                refused.append(time.perf_counter() - started)
                reasons.add((error.status, "a queue that is answered in 0.6 s" in str(error)))

        # Twice as many as it answers, for two seconds.
        calls = []
        for i in range(200):
            calls.append(asyncio.ensure_future(one(i)))
            await asyncio.sleep(0.01)
        await asyncio.gather(*calls)
        assert reasons == {(429, True)}
        with batcher.admitted(1):
            pass  # an empty queue accepts again
        return answered, refused

    (answered, refused), _, metrics = run(flood, dataclasses.replace(LIMITS, within=0.6))
    assert len(answered) > 0.5 * 100
    assert sum(seconds < 0.6 for seconds in answered) > 0.9 * len(answered)
    assert len(refused) > 40
    assert sorted(refused)[int(0.9 * len(refused))] < 0.05
    assert f'labelwise_images_total{{outcome="refused"}} {len(refused)}.0'.encode() in metrics.text()
    assert b"labelwise_queue_seconds_count" in metrics.text()


def test_a_slow_batch_does_not_refuse_later_images() -> None:
    async def slow(batcher: Batcher, engine: Engine) -> None:
        engine.seconds = 0.5
        await ask(batcher, "1")
        engine.seconds = 0.0
        for _ in range(3):
            await ask(batcher, "1")
            await ask(batcher, "2")

    run(slow, dataclasses.replace(LIMITS, within=0.1))


async def until(true: Callable[[], bool]) -> None:
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


def test_each_gets_its_own_answer_in_full_batches() -> None:
    async def work(batcher: Batcher, engine: Engine) -> list[Any]:
        engine.free.clear()
        tasks = [
            asyncio.ensure_future(ask(batcher, "bad" if i % 10 == 3 else str(100 + i))) for i in range(100)
        ]
        await until(lambda: len(batcher._waiting) + sum(engine.batches) == 90)
        engine.free.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers, engine, metrics = run(work)
    for i, answer in enumerate(answers):
        if i % 10 == 3:
            assert isinstance(answer, LabelwiseError)
        else:
            assert answer == 100 + i
    assert sum(engine.batches) == 90
    assert max(engine.batches) == 8
    assert sorted(engine.batches)[2:] == [8] * (len(engine.batches) - 2)
    assert b"labelwise_batch_images_sum 90.0" in metrics.text()
    assert b"labelwise_waiting_images 0.0" in metrics.text()


def test_a_lone_image_does_not_wait_for_others() -> None:
    async def work(batcher: Batcher, engine: Engine) -> float:
        started = time.perf_counter()
        assert await ask(batcher, "7") == 7
        return time.perf_counter() - started

    took, _, _ = run(work, Limits(files=1, batch=8, wait_ms=60_000))
    assert took < 5


@pytest.mark.parametrize(("wait_ms", "batches"), [(5000.0, [2]), (1.0, [1, 1])])
def test_the_wait_for_images_on_their_way_is_bounded(wait_ms: float, batches: list[int]) -> None:
    async def work(batcher: Batcher, engine: Engine) -> list[int]:
        slow = asyncio.ensure_future(ask(batcher, "slow9"))
        await asyncio.sleep(0.02)
        return [await ask(batcher, "8"), await slow]

    answers, engine, _ = run(work, Limits(files=1, batch=8, wait_ms=wait_ms))
    assert answers == [8, 9]
    assert engine.batches == batches


def test_a_full_queue_refuses_with_a_time_to_retry() -> None:
    async def work(batcher: Batcher, engine: Engine) -> Refused:
        engine.free.clear()
        tasks = [asyncio.ensure_future(ask(batcher, str(i))) for i in range(6)]
        await until(lambda: sum(engine.batches) + len(batcher._waiting) == 6)
        message = "more images with 6 waiting; expected at most 8"
        with pytest.raises(Refused, match=message) as refused, batcher.admitted(3):
            raise AssertionError("admitted")
        with batcher.admitted(2):
            engine.free.set()
        assert await asyncio.gather(*tasks) == list(range(6))
        assert await ask(batcher, "7") == 7
        return refused.value

    refused, _, metrics = run(work, Limits(files=1, waiting=8))
    assert refused.status == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert b'labelwise_images_total{outcome="refused"} 3.0' in metrics.text()


def test_a_batch_that_fails_fails_alone() -> None:
    async def work(batcher: Batcher, engine: Engine) -> None:
        with pytest.raises(RuntimeError, match="the engine broke"):
            await ask(batcher, "13")
        assert await ask(batcher, "14") == 14

    run(work)


def test_cancelled_queries_are_left_out() -> None:
    async def work(batcher: Batcher, engine: Engine) -> None:
        engine.free.clear()
        first = asyncio.ensure_future(ask(batcher, "1"))
        await until(lambda: sum(engine.batches) == 1)
        others = [asyncio.ensure_future(ask(batcher, str(i))) for i in (2, 3)]
        await until(lambda: len(batcher._waiting) == 2)
        others[0].cancel()
        await asyncio.sleep(0)
        engine.free.set()
        assert [await first, await others[1]] == [1, 3]

    _, engine, _ = run(work)
    assert engine.batches == [1, 1]


def test_closing_answers_all_accepted_images() -> None:
    async def work(batcher: Batcher, engine: Engine) -> list[int]:
        engine.free.clear()
        asked = [asyncio.ensure_future(ask(batcher, str(i))) for i in range(20, 40)]
        await until(lambda: sum(engine.batches) + len(batcher._waiting) == 20)
        asyncio.get_running_loop().call_later(0.05, engine.free.set)
        await batcher.close()
        assert all(a.done() for a in asked)
        return [a.result() for a in asked]

    assert run(work)[0] == list(range(20, 40))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"files": 0}, "files 0; expected a number over 0"),
        ({"waiting": 8}, "a queue of 8 images for requests"),
    ],
)
def test_limits_that_make_no_sense_are_refused(given: dict[str, int], message: str) -> None:
    with pytest.raises(LabelwiseError, match=message):
        Limits(**given)
