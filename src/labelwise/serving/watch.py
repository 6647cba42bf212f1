"""Middleware of every request: its id, the token, the size of its body, one log line and the metrics."""

from __future__ import annotations

import hmac
import json
import logging
import re
import time
import traceback
import uuid
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from labelwise.serving.limits import Limits, Refused
from labelwise.serving.metrics import ServerMetrics

LOG = logging.getLogger("labelwise.serving")
OPEN = (
    "/healthz",
    "/readyz",
    "/v2/health/live",
    "/v2/health/ready",
    "/",
    "/review",
    "/collection",
    "/docs",
    "/openapi.json",
)
"""Paths that do not require the token: health checks, and pages, which hold no data of their own."""


def log_line(event: str, **fields: Any) -> None:
    """One line of JSON in the log."""
    LOG.info(json.dumps({"time": round(time.time(), 3), "event": event, **fields}, ensure_ascii=False))


class ServerMiddleware:
    """Middleware of the server.

    Args:
        app: the wrapped application.
        limits: provides the maximum body size.
        metrics: metrics to update.
        token: required as `Authorization: Bearer TOKEN`; `None` requires none.
    """

    def __init__(self, app: ASGIApp, limits: Limits, metrics: ServerMetrics, token: str | None) -> None:
        self._app, self._limits, self._metrics, self._token = app, limits, metrics, token
        self._bytes_held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        fields: dict[str, Any] = {"id": _request_id(headers), "status": 0, "bytes": 0}
        scope.setdefault("state", {})["log_fields"] = fields
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields["status"] = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", fields["id"].encode())]
            await send(message)

        try:
            self._check(scope["path"], headers)
            await self._app(scope, self._counting(receive, fields), send_with_id)
        except Refused as error:
            refused = JSONResponse({"error": str(error)}, error.status, error.headers)
            await self._respond(refused, fields, scope, receive, send_with_id)
        except Exception:
            log_line("failure", id=fields["id"], path=scope["path"], traceback=traceback.format_exc())
            failed = JSONResponse({"error": f"the server failed on request {fields['id']}; see its log"}, 500)
            await self._respond(failed, fields, scope, receive, send_with_id)
        finally:
            self._bytes_held -= fields["bytes"]
            self._record(scope, fields, time.perf_counter() - started)

    async def _respond(
        self, response: JSONResponse, fields: dict[str, Any], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Sends a response, unless one has begun."""
        if not fields["status"]:
            await response(scope, receive, send)

    def _check(self, path: str, headers: dict[str, str]) -> None:
        """Refuses requests without the token, and requests whose declared length is too large."""
        if self._token is not None and path not in OPEN and not path.startswith("/assets/"):
            authorization = headers.get("authorization", "")
            if not hmac.compare_digest(authorization.encode(), f"Bearer {self._token}".encode()):
                raise Refused(
                    401, "a request without the token", "Authorization: Bearer TOKEN", "send the token"
                )
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._limits.request_bytes:
            raise self._too_large(int(length))

    def _counting(self, receive: Receive, fields: dict[str, Any]) -> Receive:
        """`receive` that counts bytes, and refuses too many."""

        async def receiving() -> Message:
            message = await receive()
            byte_count = len(message.get("body", b""))
            fields["bytes"] += byte_count
            self._bytes_held += byte_count
            if fields["bytes"] > self._limits.request_bytes:
                raise self._too_large(fields["bytes"])
            if self._bytes_held > self._limits.held_bytes:
                raise Refused(
                    429,
                    f"a request with {self._bytes_held:,} bytes of all requests in memory",
                    f"at most {self._limits.held_bytes:,} at a time",
                    "send it again later",
                    5,
                )
            return message

        return receiving

    def _too_large(self, size: int) -> Refused:
        return Refused(
            413,
            f"a request of {size:,} bytes",
            f"at most {self._limits.request_bytes:,}",
            "send the images in parts",
        )

    def _record(self, scope: Scope, fields: dict[str, Any], seconds: float) -> None:
        """Updates the metrics and writes the line of a request."""
        # Routes are counted, not paths, so that no client can fill the registry with names.
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.requests.labels(route, str(fields["status"])).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        log_line("request", method=scope["method"], path=scope["path"], ms=round(1000 * seconds, 1), **fields)


def _request_id(headers: dict[str, str]) -> str:
    identifier = headers.get("x-request-id", "")
    return identifier if re.fullmatch(r"[\w.-]{1,64}", identifier) else uuid.uuid4().hex
