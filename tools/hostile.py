"""Attacks a server on loopback, and measures well-behaved clients with and without the attack.

Run: python tools/hostile.py RUN PHOTO [--requests 10000] [--seconds 20] [--csv results/hostile.csv]

The attack: slow and half-open connections held throughout, and a mix of requests that are too large, of wrong types,
damaged, truncated or cancelled. Required: the server stays up, its memory constant, and the 99th percentile of
well-behaved requests within twice that without the attack. Bounded in number and time, and on loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from kept import keep, show
from serving import connection, memory, message, ready, server

HELD = 200
PACE = 0.02
"""Seconds between two hostile requests of one client, so that the server is measured, not this machine."""
ATTACKS = ("oversize", "claims", "types", "damaged", "json", "cancelled", "cut", "garbage", "head", "path")
KINDS = ("image/jpeg", "text/plain", "multipart/form-data", "a; charset=idna")
BODIES = (b"[" * 5000, b"{}", b'{"image_base64": "*"}', b'{"url": "http://[::1"}', b"\xff")
HOSTS = "Host: localhost\r\n"


def mixed(photo: bytes, chance: random.Random) -> tuple[str, bytes, bool]:
    """Name of an attack, the bytes to send, and whether the connection is closed before the answer."""
    body, kind, length = b"", "application/json", None
    name = chance.choice(ATTACKS)
    cut = name in ("cancelled", "cut")
    if name == "oversize":
        length = 10**12
    elif name == "claims":
        body, length = b"[]", 1 << 20
        cut = True
    elif name == "types":
        body, kind = photo, chance.choice(KINDS)
    elif name == "json":
        body = chance.choice(BODIES)
    elif name == "garbage":
        return name, chance.randbytes(300), False
    elif name == "head":
        return name, b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000, True
    elif name == "path":
        return name, f"GET /assets/..%2f{chance.random()} HTTP/1.1\r\n{HOSTS}\r\n".encode(), False
    else:
        picture = photo if name == "cancelled" else photo[: chance.randrange(len(photo))]
        part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        body, kind = part + picture + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"
    size = len(body) if length is None else length
    head = f"POST /predict HTTP/1.1\r\n{HOSTS}Content-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
    sent = head.encode() + body
    return name, sent[: chance.randrange(len(sent))] if name == "cut" else sent, cut


async def attack(port: int, photo: bytes, number: int, chance: random.Random, seen: Counter[str]) -> None:
    """Sends a number of hostile requests one after the other."""
    for _ in range(number):
        name, data, cut = mixed(photo, chance)
        status = "cut"
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 10)
            writer.write(data)
            if cut:
                await asyncio.sleep(chance.random() * 0.01)
            else:
                line = await asyncio.wait_for(reader.readline(), 40)
                status = line.split()[1].decode() if len(line.split()) > 1 else "closed"
            writer.transport.abort()
        seen[f"{name} {status}"] += 1
        await asyncio.sleep(PACE)


async def hold(port: int, end: float, slow: bool) -> None:
    """Keeps a connection open without a complete request; slow ones send a byte per second, and all reconnect."""
    while time.perf_counter() < end:
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 10)
            while slow and time.perf_counter() < end and not reader.at_eof():
                writer.write(b"G")
                await asyncio.sleep(1)
            left = max(0.1, end - time.perf_counter())
            await asyncio.wait_for(reader.read(), left)
            writer.transport.abort()
        await asyncio.sleep(0.2)


async def watched(
    port: int,
    messages: list[bytes],
    clients: int,
    seconds: float,
    also: Callable[[float], list[Awaitable[None]]],
) -> tuple[list[float], int]:
    """Times of well-behaved requests during other tasks, and the number of answers other than 200."""
    end = time.perf_counter() + seconds
    others = asyncio.gather(*also(end))
    results = await asyncio.gather(*(connection(port, messages, i, end) for i in range(clients)))
    await others
    return sorted(t for times, _ in results for t in times), sum(failed for _, failed in results)


def hostile(
    port: int, photo: bytes, requests: int, seen: Counter[str]
) -> Callable[[float], list[Awaitable[None]]]:
    """The complete attack, until a time."""

    def parts(end: float) -> list[Awaitable[None]]:
        share = [attack(port, photo, requests // 16, random.Random(i), seen) for i in range(16)]
        return [*share, *(hold(port, end, i % 2 == 0) for i in range(HELD))]

    return parts


def milliseconds(times: list[float], share: float) -> float:
    """A percentile of sorted times."""
    return round(1000 * times[min(len(times) - 1, int(len(times) * share))], 1)


def main() -> int:
    """Prints the results and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("photo", help="an image file that well-behaved clients send")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20, help="of each of the two measurements")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    messages, photo = [message(args.photo)], Path(args.photo).read_bytes()
    seen: Counter[str] = Counter()
    with server(args.run, 16) as (port, _):
        asyncio.run(watched(port, messages, args.clients, 3, lambda _: []))
        quiet, failed = asyncio.run(watched(port, messages, args.clients, args.seconds, lambda _: []))
        # The first attack fills caches; memory that grows after it would grow without bound.
        asyncio.run(watched(port, messages, args.clients, 1, hostile(port, photo, args.requests // 10, seen)))
        before = memory(port)
        under, lost = asyncio.run(
            watched(port, messages, args.clients, args.seconds, hostile(port, photo, args.requests, seen))
        )
        time.sleep(1)
        row = {
            "hostile_requests": sum(seen.values()),
            "held_connections": HELD,
            "well_behaved": len(under),
            "not_answered": failed + lost,
            "p50_ms_quiet": milliseconds(quiet, 0.5),
            "p50_ms": milliseconds(under, 0.5),
            "p99_ms_quiet": milliseconds(quiet, 0.99),
            "p99_ms": milliseconds(under, 0.99),
            "p99_ratio": round(milliseconds(under, 0.99) / milliseconds(quiet, 0.99), 2),
            "memory_before_mib": round(before),
            "memory_after_mib": round(memory(port)),
            "up": ready(port),
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "machine": platform.machine(),
        }
    show(row)
    print(json.dumps(dict(sorted(seen.items()))))
    keep(args.csv, [row])
    failures = sum(n for key, n in seen.items() if key.endswith(" 500"))
    grown = row["memory_after_mib"] - row["memory_before_mib"]
    return int(bool(failures) or not row["up"] or bool(row["not_answered"]) or grown > 100)


if __name__ == "__main__":
    sys.exit(main())
