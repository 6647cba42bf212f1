"""Binds the server to an address, and stops it gracefully."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys

import uvicorn
from fastapi import FastAPI

from labelwise.errors import LabelwiseError
from labelwise.serving.connections import ConnectionSweep
from labelwise.serving.limits import Limits
from labelwise.serving.watch import LOG, log_line

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def bound(host: str, port: int, option: str = "--port") -> socket.socket:
    """A socket bound to an address, whose port is that of an option.

    Raises:
        LabelwiseError: the address is not this machine's, or the port is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small pieces at once only on sockets that name their protocol; others wait 40 ms for the client.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise LabelwiseError(
            f"port {port} of {host} ({error.strerror or error})",
            "a free port of this machine",
            f"give another one with {option}",
        ) from None
    return listener


def listen(app: FastAPI, host: str, port: int, title: str, *, guarded: bool, limits: Limits) -> None:
    """Serves until SIGTERM or Ctrl-C; current requests are answered before the server stops.

    Args:
        app: the application of `create_app`.
        host: address to listen on.
        port: port to listen on; 0 chooses a free one.
        title: display name of the model.
        guarded: whether a token is required.
        limits: bounds on connections, and on the time that stopping may wait for current requests.
    """
    listener = bound(host, port)
    LOG.addHandler(logging.StreamHandler(sys.stderr))
    LOG.setLevel(logging.INFO)
    host_text = f"[{host}]" if ":" in host else host
    address = f"http://{host_text}:{listener.getsockname()[1]}"
    print(f"serving {title}: page {address}  API {address}/docs", file=sys.stderr, flush=True)
    if host not in LOOPBACK and not guarded:
        print("anyone who reaches this address is answered; --token requires a token", file=sys.stderr)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=int(limits.seconds) + 1,
        server_header=False,
    )
    # uvicorn raises the signal again after a graceful stop; a requested stop is not a failure.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(uvicorn.Server(config), listener, limits))
    if app.state.batcher.abandoned:
        # The interpreter would wait for the engine's thread forever.
        log_line("stalled")
        os._exit(1)


async def _serve(server: uvicorn.Server, listener: socket.socket, limits: Limits) -> None:
    sweep = asyncio.create_task(ConnectionSweep(limits).run(server.server_state.connections))
    try:
        await server.serve(sockets=[listener])
    finally:
        sweep.cancel()
