"""Small pictures of photographs, made once and in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from labelwise.cores import usable_cores
from labelwise.serving.kept_pictures import KeptPictures


class Thumbnails:
    """Makes pictures by as many threads as there are cores, in the order in which they are asked for.

    Args:
        kept: those that were made before.
    """

    def __init__(self, kept: KeptPictures) -> None:
        self._pictures, self._lock = kept, threading.Lock()
        self._pool = ThreadPoolExecutor(usable_cores(), "thumbnail")
        self._futures: dict[str, Future[bytes]] = {}

    def begin(self, wanted: Iterable[tuple[str, Callable[[], bytes]]]) -> None:
        """Makes pictures that will be asked for soon; those that cannot be made fail when they are asked for.

        Args:
            wanted: a key and what makes the picture.
        """
        for key, make in wanted:
            self._future(key, make)

    def get(self, key: str, make: Callable[[], bytes]) -> bytes:
        """The picture of a key, kept, on its way, or made now by `make`."""
        content = self._pictures.get(key)
        return self._future(key, make).result() if content is None else content

    def _future(self, key: str, make: Callable[[], bytes]) -> Future[bytes]:
        """The picture on its way, begun if it is not."""
        with self._lock:
            if key not in self._futures:
                self._futures[key] = self._pool.submit(self._make, key, make)
            return self._futures[key]

    def _make(self, key: str, make: Callable[[], bytes]) -> bytes:
        try:
            return self._pictures.made(key, make)
        finally:
            with self._lock:
                del self._futures[key]
