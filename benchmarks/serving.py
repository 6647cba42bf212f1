"""Throughput of the server under load on loopback, compared with offline prediction of the same photographs.

Run: python benchmarks/serving.py RUN PHOTOS [--connections 64] [--seconds 60] [--csv FILE]

Each connection sends one photograph after the other, as a form, and waits for its response. This process generates the
load, so that on a small machine it uses CPU time that is available to the offline prediction.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from measuring import conditions, keep, show

BOUNDARY = "photograph"


WORKER = """
import itertools, json, sys, time
import labelwise as lw
from labelwise.memory import keep_freed_memory
keep_freed_memory()  # as the program does
run, batch, files = json.loads(sys.stdin.readline())
predictor = lw.load(run)
list(predictor.predict(files[:batch], batch_size=batch))
print("ready", flush=True)
for line in sys.stdin:
    count, started = 0, time.perf_counter()
    endless = [files[i % len(files)] for i in range(100_000)]
    for _ in predictor.predict(endless, batch_size=batch, workers=1):
        count += 1
        if count % batch == 0 and time.perf_counter() - started > float(line):
            break
    print(count / (time.perf_counter() - started), flush=True)
"""


class Offline:
    """`predict` on files in a separate process with one decoding process."""

    def __init__(self, run: str, files: list[str], batch: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._ask(json.dumps([run, batch, files])) == "ready"

    def rate(self, seconds: float) -> float:
        """Images per second over a number of seconds."""
        return float(self._ask(str(seconds)))

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@contextlib.contextmanager
def server(run: str, batch: int, options: Sequence[str] = ()) -> Iterator[tuple[int, int]]:
    """Runs `labelwise serve` in a separate process; yields its port and the id of the process."""
    command = [sys.executable, "-m", "labelwise", "serve", run, "--port", "0", "--batch-size", str(batch)]
    command += options
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    start = ""
    while not (match := re.search(r"http://127\.0\.0\.1:(\d+) ", start)):
        line = process.stderr.readline()
        start += line
        if not line:
            raise SystemExit(start)
    port = int(match[1])
    # The log is discarded, so that the server never blocks on a full pipe.
    drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
    try:
        while not ready(port):
            time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        print(f"stopped with exit code {process.wait(60)}")
        drain.terminate()


def ready(port: int) -> bool:
    """Whether the server is ready."""
    try:
        return fetch(port, "/readyz") != ""
    except OSError:
        return False


def fetch(port: int, path: str) -> str:
    """The response of the server for a path."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(f"http://127.0.0.1:{port}{path}", timeout=30).read().decode()


def memory(port: int) -> float:
    """Resident memory of the server in MiB."""
    match = re.search(r"^process_resident_memory_bytes (\S+)", fetch(port, "/metrics"), re.MULTILINE)
    assert match is not None
    return float(match[1]) / 2**20


def message(file: str) -> bytes:
    """A complete request with one photograph."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{Path(file).name}"\r\n\r\n'
    )
    body = head.encode() + Path(file).read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()
    return (
        "POST /predict HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def connection(port: int, messages: list[bytes], start: int, end: float) -> tuple[list[float], int]:
    """Seconds of each response on one connection until a time, and the number of responses other than 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times, failed, i = [], 0, start
    while time.perf_counter() < end:
        started = time.perf_counter()
        writer.write(messages[i % len(messages)])
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        assert length is not None
        await reader.readexactly(int(length[1]))
        times.append(time.perf_counter() - started)
        failed += b" 200 " not in head[:16]
        i += 1
    writer.close()
    return times, failed


async def load(
    port: int, messages: list[bytes], connections: int, seconds: float
) -> tuple[list[float], int, float]:
    """Times of all responses, failures, and the total seconds."""
    started = time.perf_counter()
    step = max(1, len(messages) // connections)
    results = await asyncio.gather(
        *(connection(port, messages, c * step, started + seconds) for c in range(connections))
    )
    took = time.perf_counter() - started
    return [t for times, _ in results for t in times], sum(failed for _, failed in results), took


def main() -> None:
    """Runs the benchmark and prints its results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    files = sorted(str(p) for p in args.photos.iterdir())[: args.images]
    messages = [message(file) for file in files]
    offline = Offline(args.run, files, args.batch)
    part = args.seconds / args.rounds
    times, failed, took, rates, shares = [], 0, 0.0, [], []
    with server(args.run, args.batch) as (port, _):
        asyncio.run(load(port, messages, args.connections, min(3.0, part)))
        first = memory(port)
        # Both alternate, so that other load affects both.
        for _ in range(args.rounds):
            rates.append(offline.rate(part))
            answered, bad, spent = asyncio.run(load(port, messages, args.connections, part))
            times, failed, took = times + answered, failed + bad, took + spent
            shares.append(len(answered) / spent / rates[-1])
        last = memory(port)
    offline.close()
    times.sort()
    row = {
        "connections": args.connections,
        "seconds": round(took, 1),
        "requests": len(times),
        "failed": failed,
        "p50_ms": round(1000 * times[len(times) // 2], 1),
        "p99_ms": round(1000 * times[int(len(times) * 0.99)], 1),
        "images_per_second": round(len(times) / took, 1),
        "offline_images_per_second": round(statistics.median(rates), 1),
        "share_of_offline": round(statistics.median(shares), 3),
        "shares": " ".join(f"{share:.2f}" for share in shares),
        "memory_before_mib": round(first),
        "memory_after_mib": round(last),
        **conditions(),
    }
    show(row)
    keep(args.csv, [row])


if __name__ == "__main__":
    main()
