"""Thumbnails and uploaded photographs on disk, within a budget."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

TOUCHED = 3600
"""Seconds after which another use of a file is noted."""
SHARE = 0.9
"""Share of the budget that is left after files were removed."""


class KeptPictures:
    """Files by their keys in one SQLite database; those unused for longest are removed when the budget is exceeded.

    Several processes may use one database. Where it cannot be written, nothing is kept, and files are made each time.

    Args:
        file: the database, created where it is missing; a damaged one is replaced.
        budget: largest sum of the sizes of all files, in bytes.
    """

    def __init__(self, file: Path, budget: int) -> None:
        self._budget, self._lock = budget, threading.Lock()
        self._database: sqlite3.Connection | None = None
        try:
            self._database = _open_database(file)
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.OperationalError):
                with suppress(OSError, sqlite3.Error):
                    file.unlink()
                    self._database = _open_database(file)
        except OSError:
            pass
        self._total = self.total()

    def total(self) -> int:
        """Sum of the sizes of all files, in bytes."""
        rows = self._run("SELECT COALESCE(SUM(size), 0) FROM pictures")
        return rows[0][0] if rows else 0

    def get(self, key: str) -> bytes | None:
        """The content of a file; `None` for a key that is not kept."""
        rows = self._run("SELECT content, used FROM pictures WHERE key = ?", key)
        if not rows:
            return None
        if time.time() - rows[0][1] > TOUCHED:
            self._run("UPDATE pictures SET used = ? WHERE key = ?", time.time(), key)
        return bytes(rows[0][0])

    def put(self, key: str, content: bytes) -> None:
        """Keeps a file; one larger than the budget is not kept."""
        if len(content) > self._budget:
            return
        self._run(
            "INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?)", key, content, len(content), time.time()
        )
        self._total += len(content)
        if self._total > self._budget:
            self._shrink()

    def made(self, key: str, make: Callable[[], bytes]) -> bytes:
        """The file of a key, made by `make` if it is not kept."""
        content = self.get(key)
        if content is None:
            content = make()
            self.put(key, content)
        return content

    def _shrink(self) -> None:
        """Removes the files unused for longest, until `SHARE` of the budget is left."""
        total = self.total()
        if total > self._budget:
            excess = total - SHARE * self._budget
            self._run(
                "DELETE FROM pictures WHERE key IN (SELECT key FROM (SELECT key, "
                "SUM(size) OVER (ORDER BY used, key) - size AS before FROM pictures) WHERE before < ?)",
                excess,
            )
        self._total = self.total()

    def _run(self, command: str, *values: object) -> list[tuple]:
        """The rows of a command; none where the database cannot be used."""
        # A full disk or a lock held for long by another process costs time, not the answer.
        with self._lock, suppress(sqlite3.Error):
            if self._database is not None:
                with self._database:
                    return self._database.execute(command, values).fetchall()
        return []


def _open_database(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(file, timeout=5, check_same_thread=False)
    database.execute("PRAGMA journal_mode=WAL")
    # The last files may be lost in a power cut; they are made again.
    database.execute("PRAGMA synchronous=NORMAL")
    with database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS pictures (key TEXT PRIMARY KEY, content BLOB, size INTEGER, used REAL)"
        )
        database.execute("CREATE INDEX IF NOT EXISTS by_use ON pictures (used, key, size)")
    return database
