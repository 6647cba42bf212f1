"""The server against its own OpenAPI schema: responses to allowed and forbidden requests match the schema."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

import labelwise as lw
import tiny_runs
from labelwise.serving.app import create_app
from labelwise.serving.limits import MIB, Limits
from live_server import live

QUIET = settings(
    max_examples=25,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def client(run_folder: Path) -> Iterator[httpx.Client]:
    """A client of a server with small limits."""
    limits = Limits(file_bytes=MIB, request_bytes=2 * MIB, pixels=100_000, files=3, waiting=64)
    with live(create_app(lw.load(run_folder), limits)) as client:
        yield client


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A photograph."""
    folder = tmp_path_factory.mktemp("photo")
    tiny_runs.photographs(folder, 1, 0, 0)
    return (folder / "train0.jpg").read_bytes()


@pytest.mark.parametrize(
    "route",
    [
        "GET /healthz",
        "GET /readyz",
        "GET /labels",
        "GET /metrics",
        "POST /predict",
        "GET /v2",
        "GET /v2/health/live",
        "GET /v2/health/ready",
        "GET /v2/models/{name}",
        "GET /v2/models/{name}/ready",
        "POST /v2/models/{name}/infer",
    ],
)
def test_generated_requests_are_answered_as_the_schema_says(client: httpx.Client, route: str) -> None:
    schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    method, path = route.split()

    @QUIET
    @given(case=schema[path][method].as_strategy())
    def answered(case: Any) -> None:
        response = case.call(base_url=str(client.base_url))
        # Bytes that fit the schema need not be an image.
        case.validate_response(response, excluded_checks=[positive_data_acceptance])
        assert response.status_code < 500

    answered()


def test_the_schema_lists_every_route(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    v2 = {
        "",
        "/health/live",
        "/health/ready",
        *(f"/models/{{name}}{end}" for end in ("", "/ready", "/infer")),
    }
    own = {"/healthz", "/readyz", "/labels", "/metrics", "/predict"}
    assert set(schema["paths"]) == own | {f"/v2{path}" for path in v2}


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)


@QUIET
@given(
    body=st.dictionaries(
        st.sampled_from(["image_base64", "url", "name", "states", "other"]), PLAIN, max_size=4
    )
    | PLAIN
)
def _any_json(client: httpx.Client, body: Any) -> None:
    text = json.dumps(body)  # includes NaN and lone surrogates
    answer = client.post("/predict", content=text, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 403, 415, 422), text
    assert set(answer.json()) <= {"error", "predictions"}


def test_any_json_is_refused_and_nothing_fails(client: httpx.Client) -> None:
    _any_json(client)


@QUIET
@given(body=st.binary(max_size=400), boundary=st.text("ab'()+_,-./:=?\" ;", max_size=12))
def _any_form(client: httpx.Client, body: bytes, boundary: str) -> None:
    start = f"--{boundary}\r\nContent-Disposition: form-data; name=files; filename=a\r\n\r\n".encode()
    kind = f"multipart/form-data; boundary={boundary}".rstrip()
    for content in (body, start + body, start + body + f"\r\n--{boundary}--\r\n".encode()):
        answer = client.post("/predict", content=content, headers={"content-type": kind})
        assert answer.status_code in (400, 413, 415, 422)


def test_any_form_is_refused_and_nothing_fails(client: httpx.Client) -> None:
    _any_form(client)


@pytest.mark.parametrize(
    "charset", ["utf-7", "idna", "unicode_escape", "punycode", "zlib", "nonsense", "'utf-16'"]
)
def test_other_character_sets_are_refused(client: httpx.Client, photo: bytes, charset: str) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="\\ud800"\r\n\r\n'
        + photo
        + b"\r\n--x--\r\n"
    )
    base = "multipart/form-data; boundary=x; "
    for content_type in (f"{base}charset={charset}", f'{base}CHARSET="{charset}"'):
        answer = client.post("/predict", content=body, headers={"content-type": content_type})
        assert answer.status_code == 415, answer.text
        assert "character set" in answer.json()["error"]
    usual = client.post("/predict", content=body, headers={"content-type": f"{base}charset=UTF-8"})
    assert usual.status_code == 200


@pytest.mark.parametrize("name", ["\ud800", "a" * 100_000, "<script>", "a\nb\x00", "../../x"])
def test_odd_names_come_back_as_plain_text(client: httpx.Client, photo: bytes, name: str) -> None:
    body = json.dumps({"image_base64": base64.b64encode(photo).decode(), "name": name})
    answer = client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0]["image"] == name[:1024].encode("utf-8", "replace").decode()


@pytest.mark.parametrize(
    "address", ["http://[::1", "http://\ud800/", "http://a:99999999/", "x" * 10_000, 7, None, []]
)
def test_odd_addresses_are_refused(client: httpx.Client, address: Any) -> None:
    body = json.dumps({"url": address})
    answer = client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 403), answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../app.py",
        "/assets/%2e%2e/app.py",
        "/assets/..%2fapp.py",
        "/assets//etc/passwd",
        "/assets/%00",
    ],
)
def test_pages_lead_nowhere_else(client: httpx.Client, path: str) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), 10) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.split(b" ", 2)[1] in (b"404", b"400"), answer[:200]
