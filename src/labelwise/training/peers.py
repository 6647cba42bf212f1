"""Ends a process of a distributed training when another one has died, instead of waiting for it."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from torch import distributed as dist

GRACE = 20.0
"""Seconds in which a process may end by itself, with its own message, after another one has died."""
_PATIENCE = 60.0  # seconds until all processes have met
_DONE = b"."


@contextmanager
def watched_peers(grace: float = GRACE) -> Iterator[None]:
    """End this process with one line if another process ends before its work is done, for example by a signal.

    A collective may wait half an hour for a dead process. So each process holds a connection to the first one, which
    the system closes when either ends, whatever the reason. Does nothing for a single process.

    Args:
        grace: seconds from then until this process is ended.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        yield
        return
    connections = _connected()
    for connection in connections:
        threading.Thread(target=_watch, args=(connection, grace), daemon=True).start()
    yield
    for connection in connections:  # left open: the thread at the other end reads the byte first
        with suppress(OSError):
            connection.sendall(_DONE)


def _connected() -> list[socket.socket]:
    """In the first process, connections to all others; else the one to the first. Empty if they cannot connect."""
    is_first, host = dist.get_rank() == 0, os.environ.get("MASTER_ADDR", "127.0.0.1")
    server = None
    if is_first:
        with suppress(OSError):
            server = socket.create_server((host, 0))
            server.settimeout(_PATIENCE)
    offer = [(0 if server is None else server.getsockname()[1], secrets.token_bytes(16))]
    dist.broadcast_object_list(offer)
    port, token = offer[0]
    connections: list[socket.socket] = []
    if not port:
        return connections
    with suppress(OSError):
        if server is None:
            connection = socket.create_connection((host, port), _PATIENCE)
            connection.sendall(token)
            connections.append(connection)
        else:
            deadline = time.monotonic() + _PATIENCE
            while len(connections) < dist.get_world_size() - 1 and time.monotonic() < deadline:
                connection, _ = server.accept()
                connection.settimeout(_PATIENCE)
                if secrets.compare_digest(connection.recv(len(token), socket.MSG_WAITALL), token):
                    connections.append(connection)
    if server is not None:
        server.close()
    for connection in connections:
        connection.settimeout(None)
    return connections


def _watch(connection: socket.socket, grace: float) -> None:
    """End this process `grace` seconds after the other end of a connection has died; return if it is done."""
    try:
        done = connection.recv(1)
    except OSError:
        done = b""
    if done:
        return
    time.sleep(grace)
    sys.stderr.write(
        "labelwise: another of the processes that train together has ended; this one ends too; "
        "go on from the last saved state with --resume\n"
    )
    sys.stderr.flush()
    os._exit(1)
