"""The Open Inference Protocol over gRPC: by its own messages, by a public client, and with calls of other forms."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from test_kserve import FILES, NAMES, Means

from labelwise.cli.serve import grpc_listener as listener
from labelwise.data.fixed import FixedTransform
from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.export import Preprocessing
from labelwise.inference import Predictor
from labelwise.labels import LabelSet
from labelwise.serving.app import create_app
from labelwise.serving.limits import MIB, Limits
from live_server import live

grpc = pytest.importorskip("grpc", reason="grpcio is not installed")

from labelwise.serving.grpc_messages import MESSAGES, SERVICE  # noqa: E402
from labelwise.serving.kserve_grpc import Grpc  # noqa: E402


class Gated(Means):
    """An engine that waits while its gate is closed."""

    gate = threading.Event()
    gate.set()

    def __call__(self, images: np.ndarray, want_maps: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        self.gate.wait(60)
        return super().__call__(images, want_maps)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """A model of 16 px with an exclusive group."""
    decisions = Decisions(np.array([0.5, 0.4, 0.6]), np.ones(3), np.zeros(3), exclusive=((0, 1),))
    transform = FixedTransform(Preprocessing((16, 16), "squash", (0.0,) * 3, (1.0,) * 3))
    return Predictor(LabelSet(NAMES), decisions, transform, Gated())


@pytest.fixture(scope="module")
def servers(predictor: Predictor) -> Iterator[tuple[httpx.Client, str]]:
    """A client over HTTP and the address for gRPC of a server with small limits."""
    limits = Limits(file_bytes=MIB // 4, request_bytes=MIB, pixels=100_000, files=3, waiting=4, seconds=60)
    beside = Grpc("127.0.0.1", 0, None)
    with live(create_app(predictor, limits, title="mine", grpc=beside)) as client:
        yield client, f"127.0.0.1:{beside.port}"


def call(address: str, name: str, request: Any, metadata: tuple[tuple[str, str], ...] = ()) -> Any:
    """The answer to a message or to bytes."""
    with grpc.insecure_channel(address) as channel:
        method = channel.unary_unary(f"/{SERVICE}/{name}")
        body = request if isinstance(request, bytes) else request.SerializeToString()
        return MESSAGES[f"{name}Response"].FromString(method(body, timeout=20, metadata=metadata))


def refusal(address: str, name: str, request: Any, **options: Any) -> tuple[str, str]:
    """Status and message of a refused call."""
    with pytest.raises(grpc.RpcError) as error:
        call(address, name, request, **options)
    assert "\n" not in error.value.details()
    return error.value.code().name, error.value.details()


def request(*files: bytes, outputs: tuple[str, ...] = (), **change: Any) -> Any:
    """A request with encoded images as typed contents."""
    made = MESSAGES["ModelInferRequest"](model_name="mine", id="7")
    made.inputs.add(name="image", datatype="BYTES", shape=[len(files)], contents={"bytes_contents": files})
    for name in outputs:
        made.outputs.add(name=name)
    for name, value in change.items():
        setattr(made, name, value)
    return made


def typed(answer: Any) -> dict[str, np.ndarray]:
    """The outputs of an answer with typed contents."""
    fields = {"FP32": "fp32_contents", "BOOL": "bool_contents", "BYTES": "bytes_contents"}
    return {
        o.name: np.array(list(getattr(o.contents, fields[o.datatype]))).reshape(list(o.shape))
        for o in answer.outputs
    }


def test_fields_are_those_of_the_public_client() -> None:
    theirs = pytest.importorskip("tritonclient.grpc.service_pb2", reason="tritonclient is not installed")

    def fields(message: Any) -> set[tuple[Any, ...]]:
        return {
            (f.name, f.number, f.type, f.is_repeated, f.message_type and f.message_type.full_name)
            for f in message.fields
        }

    for path, message in MESSAGES.items():
        other = theirs.DESCRIPTOR.pool.FindMessageTypeByName(f"inference.{path}")
        assert fields(message.DESCRIPTOR) == fields(other), path


def test_the_server_and_the_model_describe_themselves(servers: tuple[httpx.Client, str]) -> None:
    client, address = servers
    assert call(address, "ServerLive", b"").live
    assert call(address, "ServerReady", b"").ready
    named = MESSAGES["ModelReadyRequest"](name="mine")
    assert call(address, "ModelReady", named).ready
    about = call(address, "ModelMetadata", named)
    assert call(address, "ServerMetadata", b"").name == "labelwise"
    over_http = client.get("/v2/models/mine").json()
    for kind in ("inputs", "outputs"):
        ours = [
            {"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in getattr(about, kind)
        ]
        assert ours == over_http[kind]
    for other in (
        MESSAGES["ModelReadyRequest"](name="x"),
        MESSAGES["ModelReadyRequest"](name="mine", version="1"),
    ):
        for name in ("ModelReady", "ModelMetadata"):
            status, message = refusal(address, name, other)
            assert status == "NOT_FOUND"
            assert "expected 'mine' without a version" in message


def test_typed_and_raw_contents_are_answered_as_the_predictor_does(
    servers: tuple[httpx.Client, str], predictor: Predictor
) -> None:
    _, address = servers
    files = [FILES[name] for name in ("RGB.png", "turn6.jpg", "LA.png")]
    expected = list(predictor.predict(files, maps=True))
    seen = call(address, "ModelInfer", request(*files, outputs=("scores", "selected", "maps", "labels")))
    assert (seen.model_name, seen.id, len(seen.raw_output_contents)) == ("mine", "7", 0)
    tensors = typed(seen)
    assert [name.decode() for name in tensors["labels"]] == list(NAMES)
    for row, p in enumerate(expected):
        np.testing.assert_allclose(tensors["scores"][row], [p.scores[n] for n in NAMES], atol=1e-6)
        assert {n for n, on in zip(NAMES, tensors["selected"][row], strict=True) if on} == set(p.selected)
        np.testing.assert_allclose(tensors["maps"][row], p.maps, atol=1e-6)
    pixels = predictor.transform.decode(files[0]).transpose(1, 2, 0)[None]
    for raw in (False, True):
        made = MESSAGES["ModelInferRequest"](model_name="mine")
        tensor = made.inputs.add(name="pixels", datatype="UINT8", shape=pixels.shape)
        if raw:
            made.raw_input_contents.append(pixels.tobytes())
        else:
            tensor.contents.uint_contents.extend(pixels.ravel().tolist())
        answer = call(address, "ModelInfer", made)
        assert [o.name for o in answer.outputs] == ["scores", "selected"]
        if raw:
            scores = np.frombuffer(answer.raw_output_contents[0], "<f4")
            assert answer.raw_output_contents[1] == bytes(n in expected[0].selected for n in NAMES)
        else:
            scores = typed(answer)["scores"][0]
        np.testing.assert_allclose(scores, [expected[0].scores[n] for n in NAMES], atol=1e-6)


def test_the_public_client_is_answered(servers: tuple[httpx.Client, str], predictor: Predictor) -> None:
    public = pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
    _, address = servers
    files = [FILES[name] for name in ("RGB.png", "turn6.jpg")]
    with public.InferenceServerClient(address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("mine")
        assert client.get_model_metadata("mine").platform == "labelwise"
        tensor = public.InferInput("image", [2], "BYTES")
        tensor.set_data_from_numpy(np.array(files, object))
        wanted = [public.InferRequestedOutput(name) for name in ("scores", "selected", "maps", "labels")]
        answer = client.infer("mine", [tensor], outputs=wanted)
        assert [name.decode() for name in answer.as_numpy("labels")] == list(NAMES)
        for row, p in enumerate(predictor.predict(files, maps=True)):
            np.testing.assert_allclose(
                answer.as_numpy("scores")[row], [p.scores[n] for n in NAMES], atol=1e-6
            )
            np.testing.assert_allclose(answer.as_numpy("maps")[row], p.maps, atol=1e-6)
            chosen = answer.as_numpy("selected")[row]
            assert {n for n, on in zip(NAMES, chosen, strict=True) if on} == set(p.selected)
        with pytest.raises(public.InferenceServerException, match="model 'other'; expected 'mine'"):
            client.infer("other", [tensor])


def changed(**entry: Any) -> Any:
    made = request(FILES["RGB.png"])
    for name, value in entry.items():
        if name in ("shape",):
            made.inputs[0].ClearField("shape")
            made.inputs[0].shape.extend(value)
        else:
            setattr(made.inputs[0], name, value)
    return made


def with_raw(*contents: bytes, **entry: Any) -> Any:
    made = changed(**entry)
    made.raw_input_contents.extend(contents)
    return made


def untyped(*contents: bytes, **entry: Any) -> Any:
    made = with_raw(*contents, **entry)
    made.inputs[0].ClearField("contents")
    return made


@pytest.mark.parametrize(
    ("made", "status", "message"),
    [
        (b"\xff\xff", "INVALID_ARGUMENT", "bytes that are no ModelInferRequest"),
        (MESSAGES["ModelInferRequest"](model_name="mine"), "INVALID_ARGUMENT", "a request without one input"),
        (changed(name="x"), "INVALID_ARGUMENT", "`image` of BYTES or `pixels` of UINT8"),
        (changed(datatype="FP32"), "INVALID_ARGUMENT", "FP32 in bytes_contents; expected uint_contents"),
        (changed(shape=[2]), "INVALID_ARGUMENT", "1 images of shape"),
        (changed(shape=[-1]), "INVALID_ARGUMENT", "positive sizes"),
        (with_raw(b"x"), "INVALID_ARGUMENT", "contents beside raw_input_contents"),
        (untyped(b"x"), "INVALID_ARGUMENT", "an element that ends after the body"),
        (untyped(b"", b""), "INVALID_ARGUMENT", "more raw_input_contents than inputs"),
        (request(FILES["RGB.png"], outputs=("logits",)), "INVALID_ARGUMENT", "the output 'logits'"),
        (request(FILES["RGB.png"], FILES["cut.jpg"]), "INVALID_ARGUMENT", "image 1: "),
        (request(FILES["RGB.png"], FILES["large.jpg"]), "INVALID_ARGUMENT", "image 1: image of"),
        (request(*[FILES["RGB.png"]] * 4), "RESOURCE_EXHAUSTED", "4 images; expected at most 3"),
        (request(bytes(2 * MIB)), "RESOURCE_EXHAUSTED", "eceived message larger than max"),
        (request(FILES["RGB.png"], model_name="other"), "NOT_FOUND", "model 'other'"),
        (request(FILES["RGB.png"], model_version="1"), "NOT_FOUND", "of version '1'"),
    ],
)
def test_other_calls_are_refused_in_one_line(
    servers: tuple[httpx.Client, str], made: Any, status: str, message: str
) -> None:
    seen = refusal(servers[1], "ModelInfer", made)
    assert seen[0] == status, seen
    assert message in seen[1]


def test_other_numbers_methods_and_encodings_are_refused(servers: tuple[httpx.Client, str]) -> None:
    _, address = servers
    made = MESSAGES["ModelInferRequest"](model_name="mine")
    made.inputs.add(
        name="pixels", datatype="UINT8", shape=[1, 1, 1, 3], contents={"uint_contents": [1, 2, 256]}
    )
    assert refusal(address, "ModelInfer", made) == (
        "INVALID_ARGUMENT",
        "uint_contents that are not 0 to 255; expected whole numbers from 0 to 255; see the Open Inference Protocol",
    )
    with grpc.insecure_channel(address) as channel:
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary(f"/{SERVICE}/RepositoryIndex")(b"", timeout=20)
        assert error.value.code().name == "UNIMPLEMENTED"
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary(f"/{SERVICE}/ModelInfer")(
                request(bytes(MIB // 2)).SerializeToString(), timeout=20, compression=grpc.Compression.Gzip
            )
        assert error.value.code().name == "UNIMPLEMENTED"


def test_a_full_queue_is_refused_and_counted(servers: tuple[httpx.Client, str]) -> None:
    client, address = servers
    body = request(*[FILES["RGB.png"]] * 2).SerializeToString()
    Gated.gate.clear()
    try:
        with grpc.insecure_channel(address) as channel:
            method = channel.unary_unary(f"/{SERVICE}/ModelInfer")
            calls = [method.future(body, timeout=60) for _ in range(2)]
            while client.get("/readyz").status_code == 200:
                time.sleep(0.01)
            assert not call(address, "ServerReady", b"").ready
            with pytest.raises(grpc.RpcError) as error:
                method(body, timeout=60)
            assert error.value.code().name == "RESOURCE_EXHAUSTED"
            assert "more images with 4 waiting" in error.value.details()
            assert int(dict(error.value.trailing_metadata())["retry-after"]) >= 1
            Gated.gate.set()
            assert [MESSAGES["ModelInferResponse"].FromString(c.result()).id for c in calls] == ["7", "7"]
    finally:
        Gated.gate.set()
    text = client.get("/metrics").text
    assert 'labelwise_requests_total{route="grpc ModelInfer",status="RESOURCE_EXHAUSTED"}' in text
    assert 'labelwise_request_seconds_count{route="grpc ModelInfer"}' in text


def test_a_late_answer_is_refused_and_counted(predictor: Predictor) -> None:
    beside = Grpc("127.0.0.1", 0, None)
    with live(create_app(predictor, Limits(seconds=0.5), title="mine", grpc=beside)) as client:
        address, made = f"127.0.0.1:{beside.port}", request(FILES["RGB.png"])
        Gated.gate.clear()
        try:
            assert refusal(address, "ModelInfer", made)[0] == "DEADLINE_EXCEEDED"
        finally:
            Gated.gate.set()
        counted, until = 'route="grpc ModelInfer",status="DEADLINE_EXCEEDED"', time.monotonic() + 10
        while counted not in client.get("/metrics").text:  # the client's own deadline may end first
            assert time.monotonic() < until


def test_a_token_is_required(predictor: Predictor) -> None:
    beside = Grpc("127.0.0.1", 0, "secret")
    with live(create_app(predictor, title="mine", token="secret", grpc=beside)):
        address, made = f"127.0.0.1:{beside.port}", request(FILES["RGB.png"])
        assert call(address, "ServerLive", b"").live
        assert refusal(address, "ModelInfer", made)[0] == "UNAUTHENTICATED"
        wrong = (("authorization", "Bearer other"),)
        assert refusal(address, "ModelInfer", made, metadata=wrong)[0] == "UNAUTHENTICATED"
        right = (("authorization", "Bearer secret"),)
        assert call(address, "ModelInfer", made, metadata=right).outputs
        assert refusal(address, "ModelMetadata", b"")[0] == "UNAUTHENTICATED"


def test_a_port_in_use_and_a_missing_package_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            LabelwiseError, match=rf"port {port} of 127\.0\.0\.1 .* give another one with --grpc-port"
        ):
            Grpc("127.0.0.1", port, None)
    monkeypatch.setitem(sys.modules, "grpc", None)
    monkeypatch.delitem(sys.modules, "labelwise.serving.kserve_grpc")
    with pytest.raises(LabelwiseError, match=r"--grpc-port without the package grpc; .*'labelwise\[grpc\]'"):
        listener("127.0.0.1", 0, None)
