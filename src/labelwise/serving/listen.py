"""Binding the server to an address, and stopping it without losing an answer."""

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
from labelwise.serving.connections import Sweep
from labelwise.serving.limits import Limits
from labelwise.serving.watch import LOG, log_line

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens at an address.

    Raises:
        LabelwiseError: the address is not this machine's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise LabelwiseError(
            f"port {port} of {host} ({error.strerror or error})",
            "a free port of this machine",
            "give another one with --port",
        ) from None
    return found


def listen(app: FastAPI, host: str, port: int, title: str, *, guarded: bool, limits: Limits) -> None:
    """Serve until told to stop (SIGTERM or Ctrl-C); requests under way are answered first.

    Args:
        app: what answers, of `create_app`.
        host: address to listen on.
        port: 0 takes a free one.
        title: name of the model for people.
        guarded: whether a token is asked for.
        limits: bounds on connections, and how long stopping may wait for requests under way.
    """
    place = bound(host, port)
    LOG.addHandler(logging.StreamHandler(sys.stderr))
    LOG.setLevel(logging.INFO)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{place.getsockname()[1]}"
    print(f"serving {title}: page {address}  API {address}/docs", file=sys.stderr, flush=True)
    if host not in LOOPBACK and not guarded:
        print("anyone who reaches this address is answered; --token asks for a token", file=sys.stderr)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=int(limits.seconds) + 1,
        server_header=False,
    )
    # uvicorn repeats the signal that stopped it once everything is answered: a stop that was asked for is no failure.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(uvicorn.Server(config), place, limits))
    if app.state.batcher.abandoned:
        # The interpreter would wait for the engine's thread for ever.
        log_line("stalled")
        os._exit(1)


async def _serve(server: uvicorn.Server, place: socket.socket, limits: Limits) -> None:
    sweep = asyncio.create_task(Sweep(limits).run(server.server_state.connections))
    try:
        await server.serve(sockets=[place])
    finally:
        sweep.cancel()
