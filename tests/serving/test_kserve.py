"""The Open Inference Protocol over real HTTP: tensors in JSON and in binary data, and bodies of other forms."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_schema import QUIET

from labelwise.data.fixed import FixedTransform
from labelwise.decisions import Decisions
from labelwise.export import Preprocessing
from labelwise.inference import Predictor
from labelwise.labels import LabelSet
from labelwise.serving.app import create_app
from labelwise.serving.limits import MIB, Limits
from labelwise.serving.tensors import HEADER
from live_server import live
from odd_files import odd_files

NAMES = ("red", "green", "blue")
FILES = odd_files()
INFER = "/v2/models/mine/infer"


class Means:
    """An engine whose logits are the means of the channels."""

    name, has_maps = "means", True

    def __call__(self, images: np.ndarray, want_maps: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        maps = images.astype(np.float32).reshape(len(images), 3, 4, 4, 4, 4).mean((3, 5))
        maps += 1
        return images.mean((2, 3), dtype=np.float32) / 64 - 2, maps / maps.sum((2, 3), keepdims=True)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """A model of 16 px with an exclusive group and calibration."""
    decisions = Decisions(
        np.array([0.5, 0.4, 0.6]), np.array([1.0, 1.5, 1.0]), np.array([0.0, 0.1, 0.0]), exclusive=((0, 1),)
    )
    transform = FixedTransform(Preprocessing((16, 16), "squash", (0.0,) * 3, (1.0,) * 3))
    return Predictor(LabelSet(NAMES), decisions, transform, Means())


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> Iterator[httpx.Client]:
    """A client of a server with small limits."""
    limits = Limits(file_bytes=MIB // 4, request_bytes=MIB, pixels=100_000, files=3, waiting=64)
    with live(create_app(predictor, limits, title="mine")) as client:
        yield client


def encoded(*names: str) -> dict[str, Any]:
    data = [base64.b64encode(FILES[name]).decode() for name in names]
    return {"inputs": [{"name": "image", "shape": [len(names)], "datatype": "BYTES", "data": data}]}


def tensors(answer: httpx.Response) -> dict[str, np.ndarray]:
    """The outputs of an answer, read as the protocol describes them."""
    assert answer.status_code == 200, answer.text
    head, rest = answer.content, b""
    if HEADER in answer.headers:
        head, rest = head[: int(answer.headers[HEADER])], head[int(answer.headers[HEADER]) :]
    found, types = {}, {"FP32": "<f4", "BOOL": "?"}
    for output in json.loads(head)["outputs"]:
        kind, shape = output["datatype"], output["shape"]
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            found[output["name"]] = np.array(output["data"]).reshape(shape)
            continue
        part, rest = rest[:size], rest[size:]
        if kind == "BYTES":
            values = []
            while part:
                (length,) = struct.unpack("<I", part[:4])
                values.append(part[4 : 4 + length].decode())
                part = part[4 + length :]
            found[output["name"]] = np.array(values).reshape(shape)
        else:
            found[output["name"]] = np.frombuffer(part, types[kind]).reshape(shape)
    assert rest == b""
    return found


def test_the_server_and_the_model_describe_themselves(client: httpx.Client) -> None:
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/mine/ready"):
        assert client.get(path).status_code == 200
    about = client.get("/v2/models/mine").json()
    assert [(t["name"], t["datatype"]) for t in about["inputs"]] == [("image", "BYTES"), ("pixels", "UINT8")]
    assert about["outputs"][0] == {"name": "scores", "datatype": "FP32", "shape": [-1, 3]}
    for path in ("/v2/models/other", "/v2/models/other/ready"):
        assert client.get(path).status_code == 404
    assert client.post("/v2/models/other/infer", json=encoded("RGB.png")).status_code == 404


def test_files_in_json_and_in_binary_data_are_answered_as_the_predictor_does(
    client: httpx.Client, predictor: Predictor
) -> None:
    names = ("RGB.png", "turn6.jpg", "LA.png")
    expected = list(predictor.predict([FILES[name] for name in names], maps=True))
    wanted = ["scores", "selected", "maps", "labels"]
    in_json = client.post(
        INFER, json={**encoded(*names), "id": "7", "outputs": [{"name": n} for n in wanted]}
    )
    assert in_json.json()["id"] == "7"
    rest = b"".join(struct.pack("<I", len(FILES[n])) + FILES[n] for n in names)
    head = {
        "inputs": [
            {
                "name": "image",
                "shape": [3],
                "datatype": "BYTES",
                "parameters": {"binary_data_size": len(rest)},
            }
        ],
        "outputs": [{"name": n} for n in wanted],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(head).encode()
    binary = client.post(INFER, content=text + rest, headers={HEADER: str(len(text))})
    for answer in (in_json, binary):
        seen = tensors(answer)
        assert list(seen["labels"]) == list(NAMES)
        for row, p in enumerate(expected):
            np.testing.assert_allclose(seen["scores"][row], [p.scores[n] for n in NAMES], atol=1e-6)
            assert [n for n, on in zip(NAMES, seen["selected"][row], strict=True) if on] == sorted(
                p.selected, key=NAMES.index
            )
            np.testing.assert_allclose(seen["maps"][row], p.maps, atol=1e-6)
    assert HEADER in binary.headers
    assert set(tensors(client.post(INFER, json=encoded("RGB.png")))) == {"scores", "selected"}


def test_pixels_are_answered_as_the_file_that_holds_them(client: httpx.Client, predictor: Predictor) -> None:
    pixels = predictor.transform.decode(FILES["RGB.png"]).transpose(1, 2, 0)[None]
    (expected,) = predictor.predict(FILES["RGB.png"])
    entry = {"name": "pixels", "shape": list(pixels.shape), "datatype": "UINT8"}
    in_json = client.post(INFER, json={"inputs": [{**entry, "data": pixels.tolist()}]})
    head = json.dumps({"inputs": [{**entry, "parameters": {"binary_data_size": pixels.size}}]}).encode()
    binary = client.post(INFER, content=head + pixels.tobytes(), headers={HEADER: str(len(head))})
    for answer in (in_json, binary):
        np.testing.assert_allclose(
            tensors(answer)["scores"], [[expected.scores[n] for n in NAMES]], atol=1e-6
        )


def change(**entry: Any) -> dict[str, Any]:
    whole = encoded("RGB.png")
    return {"inputs": [{**whole["inputs"][0], **entry}]}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "a request without one input"),
        ({"inputs": []}, 400, "a request without one input"),
        (change(name="x"), 400, "`image` of BYTES or `pixels` of UINT8"),
        (change(datatype="FP32"), 400, "the input 'image' of 'FP32'"),
        (change(shape=[2]), 400, "1 images of shape"),
        (change(shape=[-1]), 400, "positive sizes"),
        (change(shape=[True]), 400, "positive sizes"),
        (change(data=["?"]), 400, "no base64"),
        (change(parameters={"binary_data_size": 3}), 400, "the 0 bytes after the JSON"),
        (change(name="pixels", datatype="UINT8", shape=[1, 1, 1, 3], data=[1, 2, 256]), 400, "not 0 to 255"),
        (change(name="pixels", datatype="UINT8", shape=[1, 2, 1, 3], data=[1, 2, 3]), 400, "3 values"),
        (change(name="pixels", datatype="UINT8", shape=[3], data=[1, 2, 3]), 400, "[N, H, W, 3] of pixels"),
        ({**change(), "outputs": [{"name": "logits"}]}, 400, "the output 'logits'"),
        (encoded(*["RGB.png"] * 4), 413, "4 images; expected at most 3"),
        (encoded("RGB.png", "cut.jpg"), 422, "image 1: "),
        (encoded("RGB.png", "text.jpg"), 422, "is not an image file"),
        (encoded("2000x9.png", "large.jpg"), 422, "image 1: image of"),
    ],
)
def test_other_requests_are_refused_in_one_line(
    client: httpx.Client, body: dict[str, Any], status: int, message: str
) -> None:
    answer = client.post(INFER, json=body)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_other_bodies_are_refused(client: httpx.Client) -> None:
    assert client.post(INFER, content=b"{").status_code == 400
    assert client.post(INFER, content=b"{}", headers={HEADER: "3"}).status_code == 400
    assert client.post(INFER, content=b"{}", headers={HEADER: "-1"}).status_code == 400
    assert client.post(INFER, content=b"{}", headers={"content-encoding": "gzip"}).status_code == 415


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["image", "pixels"]) | JSON,
        "datatype": st.sampled_from(["BYTES", "UINT8"]) | JSON,
        "shape": st.lists(st.integers(-2, 4) | JSON, max_size=5) | JSON,
        "data": JSON | st.lists(st.integers(0, 255), max_size=12),
        "parameters": st.dictionaries(st.just("binary_data_size"), JSON) | JSON,
    },
)


@QUIET
@given(
    body=st.fixed_dictionaries(
        {"inputs": st.lists(ENTRY, max_size=2) | JSON},
        optional={"outputs": JSON, "parameters": JSON, "id": JSON},
    )
    | JSON,
    rest=st.binary(max_size=30),
)
def _any_body(client: httpx.Client, body: Any, rest: bytes) -> None:
    text = json.dumps(body).encode()
    for content, headers in ((text, {}), (text + rest, {HEADER: str(len(text))})):
        answer = client.post(INFER, content=content, headers=headers)
        assert answer.status_code in (200, 400, 413, 422), (answer.status_code, text)
        assert answer.status_code == 200 or set(answer.json()) == {"error"}


def test_any_body_is_refused_and_nothing_fails(client: httpx.Client) -> None:
    _any_body(client)
