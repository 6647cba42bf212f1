"""Images of requests: multipart files, base64 in JSON, and URLs of allowed hosts."""

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

import numpy as np
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
    """One image of a request, or the reason for its absence.

    Args:
        name: the file's name, the URL, or "".
        file: the encoded image, the upload that holds it, or upright pixels `[H, W, 3]` uint8.
        error: the reason why there is no image.
    """

    name: str
    file: bytes | UploadFile | np.ndarray | None
    error: str | None = None

    async def data(self) -> bytes | np.ndarray:
        """The encoded image, or its pixels."""
        if isinstance(self.file, UploadFile):
            return await self.file.read()
        return b"" if self.file is None else self.file


@dataclass(frozen=True)
class PredictRequest:
    """The content of a request.

    Args:
        uploads: its images.
        states: label -> present or absent, for every image of the request.
    """

    uploads: list[Upload]
    states: Mapping[str, bool] = field(default_factory=dict)


async def read_request(request: Request, limits: Limits) -> PredictRequest:
    """The images of a request and their known label states.

    Raises:
        Refused: 400 for a body that cannot be read, 403 for an address, 413 for too much, 415 for another type.
    """
    content_type = request.headers.get("content-type", "").lower()
    kind = content_type.partition(";")[0].strip()
    charset = _CHARSET.search(content_type)
    if charset and charset[1] not in _CHARSETS:
        # Some of Python's codecs take quadratic time, or do not return text.
        raise Refused(415, f"the character set {charset[1]!r}", "UTF-8", "leave charset out")
    try:
        if kind == "multipart/form-data":
            return await _from_form(request, limits)
        if kind == "application/json":
            return await _from_json(await request.body(), limits)
    except ClientDisconnect:
        raise Refused(400, "a request cut short", FORMS, "send it again") from None
    raise Refused(415, f"content type {kind or '(none)'!r}", FORMS, "set the content type")


async def _from_form(request: Request, limits: Limits) -> PredictRequest:
    """The images of multipart files."""
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
    text = form.get("states")
    states = _states(_parsed_json(text.encode())) if isinstance(text, str) and text else {}
    return PredictRequest([_upload_within(f.filename or "", f, f.size or 0, limits) for f in files], states)


async def _from_json(body: bytes, limits: Limits) -> PredictRequest:
    """The image of a JSON body, in base64 or behind a URL."""
    content = _parsed_json(body)
    if not isinstance(content, dict) or ("image_base64" in content) == ("url" in content):
        raise Refused(400, "JSON without an image", FORMS, "give one of image_base64 and url")
    unknown = sorted(set(content) - {"image_base64", "url", "states", "name"})
    if unknown:
        raise Refused(400, f"the key {unknown[0]!r}", "image_base64 or url, name, states", "correct it")
    states = _states(content.get("states", {}))
    if "url" in content:
        address = str(content["url"])
        _check_host(address, limits)
        return PredictRequest([await asyncio.to_thread(_fetched_upload, address, limits)], states)
    text = content["image_base64"]
    try:
        # Data URLs from browsers start with `data:image/jpeg;base64,`.
        data = base64.b64decode(str(text).rpartition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        raise Refused(
            400, "image_base64 that is no base64", "an image file in base64", "correct it"
        ) from None
    return PredictRequest([_upload_within(str(content.get("name", "")), data, len(data), limits)], states)


def _parsed_json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refused(400, "JSON that cannot be read", FORMS, "correct it") from None


def _states(value: Any) -> dict[str, bool]:
    """Known label states, if the value has their form."""
    if not isinstance(value, dict) or not all(isinstance(v, bool) for v in value.values()):
        raise Refused(400, "states of another form", '{"label": true or false}', "correct them")
    return value


def _upload_within(name: str, file: bytes | UploadFile, size: int, limits: Limits) -> Upload:
    """An upload, or the reason why its file is too large."""
    # The name is part of the answer, which cannot hold lone surrogates from JSON.
    name = name[:LONGEST_NAME].encode("utf-8", "replace").decode()
    if size > limits.file_bytes:
        return Upload(
            name, None, f"file of {size:,} bytes; expected at most {limits.file_bytes:,}; shrink it"
        )
    return Upload(name, file)


def _check_host(address: str, limits: Limits) -> None:
    """Refuses a URL of another host, which could be reachable only from this machine."""
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
    """Follows no redirect, which could lead to a host that is not allowed."""

    def redirect_request(self, *_args: Any, **_more: Any) -> None:
        return None


def _fetched_upload(address: str, limits: Limits) -> Upload:
    """The file behind a URL, or the reason why it is missing."""
    try:
        opener = urllib.request.build_opener(_NoRedirects)
        with opener.open(address, timeout=min(10.0, limits.seconds)) as response:
            data = response.read(limits.file_bytes + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = f"status {error.code}" if isinstance(error, urllib.error.HTTPError) else str(error)
        return Upload(address, None, f"address not fetched ({reason}); expected an image file; correct it")
    return _upload_within(address, data, len(data), limits)
