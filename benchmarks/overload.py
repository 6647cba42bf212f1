"""A server beyond its capacity: answers in time, and how fast the others are refused, before and now.

Run: python benchmarks/overload.py RUN_OR_EXPORT PHOTOS [--before OLD/src] [--within 2] [--seconds 60] [--csv FILE]

Every request has a connection of its own. Capacity is the rate of answers to 64 clients that each wait for their answer
before the next request. Then requests arrive at even intervals at multiples of that rate, and each is given up after
`--within` seconds. Goodput is the rate of answers within that time. This process makes the load on the same cores, in
every part alike.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from pathlib import Path

from labelwise.runs.run import WEIGHTS
from measuring import keep, show
from serving import message, server

CLIENTS = 64
SOURCE = Path(__file__).resolve().parents[1] / "src"


async def one(port: int, content: bytes, within: float) -> tuple[int, float]:
    """Status and seconds of a request; status 0 for one without an answer in time."""
    started, writer = time.perf_counter(), None
    try:
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(content)
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split(maxsplit=2)[1])
            if status == 200:
                await reader.read()
    except (TimeoutError, OSError, asyncio.IncompleteReadError):
        status = 0
    finally:
        if writer is not None:
            writer.close()
    return status, time.perf_counter() - started


async def capacity_of(port: int, messages: list[bytes], seconds: float) -> float:
    """Answers per second to clients that wait for each answer."""
    end = time.perf_counter() + seconds

    async def client(place: int) -> int:
        count = 0
        while time.perf_counter() < end:
            status, _ = await one(port, messages[place % len(messages)], 60.0)
            count, place = count + (status == 200), place + CLIENTS
        return count

    return sum(await asyncio.gather(*(client(i) for i in range(CLIENTS)))) / seconds


async def arrivals(
    port: int, messages: list[bytes], rate: float, seconds: float, within: float
) -> list[tuple[int, float]]:
    """Requests at even intervals."""
    started, calls = time.perf_counter(), []
    for i in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, started + i / rate - time.perf_counter()))
        calls.append(asyncio.ensure_future(one(port, messages[i % len(messages)], within)))
    return await asyncio.gather(*calls)


def main() -> None:
    """Runs each build in turn and writes a row for each load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--before", type=Path, help="src of another build, which has no --answer-within")
    parser.add_argument("--within", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--loads", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    files = sorted(str(p) for p in given.photos.iterdir())[:512]
    messages = [
        message(file).replace(b"Host: localhost", b"Host: localhost\r\nConnection: close") for file in files
    ]
    rows = []
    builds = [("before", given.before, []), ("now", SOURCE, ["--answer-within", str(given.within)])]
    for side, source, options in builds:
        if source is None:
            continue
        os.environ["PYTHONPATH"] = str(source)
        with server(given.run, 16, options) as (port, _):
            asyncio.run(capacity_of(port, messages, 5.0))
            capacity = asyncio.run(capacity_of(port, messages, given.seconds / 2))
            for share in given.loads:
                answers = asyncio.run(arrivals(port, messages, share * capacity, given.seconds, given.within))
                good = sorted(seconds for status, seconds in answers if status == 200)
                refused = sorted(seconds for status, seconds in answers if status == 429)
                row = {
                    "model": "run" if (Path(given.run) / WEIGHTS).exists() else "export",
                    "side": side,
                    "load": share,
                    "capacity_per_second": round(capacity, 1),
                    "requests": len(answers),
                    "goodput_per_second": round(len(good) / given.seconds, 1),
                    "share_of_capacity": round(len(good) / given.seconds / capacity, 3),
                    "median_seconds": round(statistics.median(good), 3) if good else "",
                    "refused": len(refused),
                    "median_refusal_ms": round(1000 * statistics.median(refused), 1) if refused else "",
                    "p99_refusal_ms": round(1000 * refused[int(0.99 * len(refused))], 1) if refused else "",
                    "without_answer": sum(status not in (200, 429) for status, _ in answers),
                    "within_seconds": given.within,
                    "cores": os.cpu_count(),
                    "load_average": round(os.getloadavg()[0], 1),
                }
                show(row)
                rows.append(row)
    keep(given.csv, rows)


if __name__ == "__main__":
    main()
