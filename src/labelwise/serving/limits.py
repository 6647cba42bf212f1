"""Limits of the server, and its refusals."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labelwise.errors import LabelwiseError

MIB = 1024 * 1024
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "a body that cannot be read"},
    401: {"description": "no token where one is required"},
    403: {"description": "an address of a host that was not allowed"},
    413: {"description": "too many bytes or files"},
    415: {"description": "another content type"},
    404: {"description": "another model"},
    422: {"description": "no image of the request could be read; each says why"},
    429: {"description": "too many images or bytes waiting; Retry-After says when to come again"},
    503: {"description": "the engine stalls"},
    504: {"description": "not answered in time"},
}


class Refused(LabelwiseError):  # noqa: N818 - reads well in `raise`
    """A request that is refused with an HTTP status.

    Args:
        status: the HTTP status.
        given: what was received.
        expected: what would have been accepted.
        todo: what the client can do.
        retry_after: seconds until a retry, if a retry can succeed.
    """

    def __init__(
        self, status: int, given: str, expected: str, todo: str, retry_after: int | None = None
    ) -> None:
        super().__init__(given, expected, todo)
        self.status, self.retry_after = status, retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Headers that go with the status."""
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


@dataclass(frozen=True)
class Limits:
    """Bounds that keep the server responsive for any input.

    Args:
        file_bytes: maximum size of an image file.
        request_bytes: maximum size of a request body.
        pixels: maximum number of pixels of an image, read from its header before decoding.
        files: maximum number of images in a request.
        waiting: maximum number of accepted images without an answer; more are refused with 429.
        batch: maximum number of images in a batch.
        wait_ms: maximum time that an image waits for others to share its batch, in milliseconds.
        seconds: maximum time of a request with its upload; then 504.
        within: time in which accepted images are to be answered, in seconds; images that would probably take longer
            are refused at once with 429. At most `seconds`, which is the default.
        connections: maximum number of open connections; above it, those without a request are closed.
        head_seconds: maximum time that a connection may wait without a complete request head.
        held_bytes: maximum number of bytes of bodies in memory, over all requests; more are refused with 429.
        url_hosts: hosts whose URLs may be fetched; none by default.

    Raises:
        LabelwiseError: a bound that is not positive, or a queue that cannot hold one full request.

    >>> Limits(files=8).batch
    16
    """

    file_bytes: int = 20 * MIB
    request_bytes: int = 64 * MIB
    pixels: int = 50_000_000
    files: int = 32
    waiting: int = 256
    batch: int = 16
    wait_ms: float = 5.0
    seconds: float = 30.0
    within: float = math.inf
    connections: int = 512
    head_seconds: float = 10.0
    held_bytes: int = 512 * MIB
    url_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in set(self.__dataclass_fields__) - {"wait_ms", "url_hosts"}:
            if not getattr(self, name) > 0:
                raise LabelwiseError(
                    f"{name} {getattr(self, name)}", "a number over 0", "correct the server's limits"
                )
        if self.waiting < self.files:
            raise LabelwiseError(
                f"a queue of {self.waiting} images for requests of up to {self.files}",
                "a queue that holds one full request",
                "raise --queue or lower --max-files",
            )
        object.__setattr__(self, "within", min(self.within, self.seconds))

    def within_of(self, headers: Mapping[str, str]) -> float:
        """Seconds in which a request is to be answered: `within`, or less if its header `Prefer: wait=S` says so.

        Source: RFC 7240, 4.3.

        >>> Limits(within=5).within_of({"prefer": "respond-async, wait=2"})
        2.0
        """
        wait = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\b", headers.get("prefer", ""))
        return min(self.within, float(wait[1])) if wait and int(wait[1]) else self.within
