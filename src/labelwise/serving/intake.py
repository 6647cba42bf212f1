"""Images out of requests: multipart files, base64 in JSON, and addresses of hosts that were allowed."""

from __future__ import annotations

import asyncio
import base64
import binascii
import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from labelwise.serving.limits import Limits, Refused

_CHARSET = re.compile(r"charset\s*=\s*\"?([^\";\s]*)")
_CHARSETS = ("", "utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1")
LONGEST_NAME = 1024
FORMS = 'multipart `files`, or JSON {"image_base64": ...} or {"url": ...}'


@dataclass(frozen=True)
class Upload:
    """One image of a request, or why there is none.

    Args:
        name: the file's name, the address, or "".
        file: the encoded image, or the upload it is still in.
        error: what is wrong with it.
    """

    name: str
    file: bytes | UploadFile | None
    error: str | None = None

    async def data(self) -> bytes:
        """The encoded image."""
        return await self.file.read() if isinstance(self.file, UploadFile) else self.file or b""


@dataclass(frozen=True)
class Order:
    """What a request asks.

    Args:
        uploads: its images.
        states: label -> present or absent, told for every image of the request.
    """

    uploads: list[Upload]
    states: Mapping[str, bool] = field(default_factory=dict)


async def read_order(request: Request, limits: Limits) -> Order:
    """The images of a request and what is told of them.

    Raises:
        Refused: 400 for a body that cannot be read, 403 for an address, 413 for too much, 415 for another type.
    """
    told = request.headers.get("content-type", "").lower()
    kind = told.partition(";")[0].strip()
    charset = _CHARSET.search(told)
    if charset and charset[1] not in _CHARSETS:
        # Some of Python's codecs take quadratic time, or give what is no text.
        raise Refused(415, f"the character set {charset[1]!r}", "UTF-8", "leave charset out")
    try:
        if kind == "multipart/form-data":
            return await _from_form(request, limits)
        if kind == "application/json":
            return await _from_json(await request.body(), limits)
    except ClientDisconnect:
        raise Refused(400, "a request cut short", FORMS, "send it again") from None
    raise Refused(415, f"content type {kind or '(none)'!r}", FORMS, "set the content type")


async def _from_form(request: Request, limits: Limits) -> Order:
    try:
        form = await request.form(max_files=limits.files, max_fields=8)
    except HTTPException as error:
        if "files" in str(error.detail):
            raise Refused(
                413, "too many files", f"at most {limits.files} in a request", "send them in parts"
            ) from None
        raise Refused(400, f"a form that cannot be read ({error.detail})", FORMS, "correct it") from None
    files = [f for f in form.getlist("files") if isinstance(f, UploadFile)]
    if not files:
        raise Refused(400, "a form without `files`", FORMS, "name the field `files`")
    told = form.get("states")
    states = _states(_parsed(told.encode())) if isinstance(told, str) and told else {}
    return Order([_checked(f.filename or "", f, f.size or 0, limits) for f in files], states)


async def _from_json(body: bytes, limits: Limits) -> Order:
    given = _parsed(body)
    if not isinstance(given, dict) or ("image_base64" in given) == ("url" in given):
        raise Refused(400, "JSON without an image", FORMS, "give one of image_base64 and url")
    unknown = sorted(set(given) - {"image_base64", "url", "states", "name"})
    if unknown:
        raise Refused(400, f"the key {unknown[0]!r}", "image_base64 or url, name, states", "correct it")
    states = _states(given.get("states", {}))
    if "url" in given:
        address = str(given["url"])
        _allow(address, limits)
        return Order([await asyncio.to_thread(_fetched, address, limits)], states)
    text = given["image_base64"]
    try:
        # What browsers give starts with `data:image/jpeg;base64,`.
        data = base64.b64decode(str(text).rpartition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        raise Refused(
            400, "image_base64 that is no base64", "an image file in base64", "correct it"
        ) from None
    return Order([_checked(str(given.get("name", "")), data, len(data), limits)], states)


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refused(400, "JSON that cannot be read", FORMS, "correct it") from None


def _states(given: Any) -> dict[str, bool]:
    if not isinstance(given, dict) or not all(isinstance(v, bool) for v in given.values()):
        raise Refused(400, "states of another form", '{"label": true or false}', "correct them")
    return given


def _checked(name: str, file: bytes | UploadFile, size: int, limits: Limits) -> Upload:
    # The name goes back in the answer: half characters of JSON cannot.
    name = name[:LONGEST_NAME].encode("utf-8", "replace").decode()
    if size > limits.file_bytes:
        return Upload(
            name, None, f"file of {size:,} bytes; expected at most {limits.file_bytes:,}; shrink it"
        )
    return Upload(name, file)


def _allow(address: str, limits: Limits) -> None:
    """An address that was not allowed could be one that only this machine may see."""
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise Refused(400, f"an address that is none ({error})", "http://HOST/PATH", "correct it") from None
    if parts.scheme not in ("http", "https") or parts.hostname not in limits.url_hosts:
        allowed = ", ".join(limits.url_hosts) or "none"
        raise Refused(
            403,
            f"the address of {parts.hostname or 'no host'}",
            f"a host that was allowed: {allowed}",
            "send the file itself, or start the server with --allow-url HOST",
        )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_more: Any) -> None:
        return None


def _fetched(address: str, limits: Limits) -> Upload:
    try:
        opener = urllib.request.build_opener(_NoRedirects)
        with opener.open(address, timeout=min(10.0, limits.seconds)) as answer:
            data = answer.read(limits.file_bytes + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = f"status {error.code}" if isinstance(error, urllib.error.HTTPError) else str(error)
        return Upload(address, None, f"address not fetched ({reason}); expected an image file; correct it")
    return _checked(address, data, len(data), limits)
