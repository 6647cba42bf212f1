"""The Open Inference Protocol (KServe v2) over gRPC, beside its routes over HTTP."""

from __future__ import annotations

import hmac
import math
import sys
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import grpc
import numpy as np

from labelwise import __version__
from labelwise.inference.prediction import Prediction
from labelwise.serving.grpc_messages import MESSAGES, SERVICE
from labelwise.serving.kserve import model_metadata
from labelwise.serving.limits import Limits, Refused
from labelwise.serving.listen import bound
from labelwise.serving.metrics import ServerMetrics
from labelwise.serving.tensors import Inference, elements, inference, protocol_error, raw, tensors_of
from labelwise.serving.watch import log_line

if TYPE_CHECKING:
    from labelwise.serving.intake import Upload

STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""The status of gRPC for each status of HTTP."""
OPEN = ("ServerLive", "ServerReady")
"""Methods that do not require the token."""
_IDENTITY_ONLY = 1
_CONTENTS = {"FP32": "fp32_contents", "BOOL": "bool_contents", "BYTES": "bytes_contents"}


class Served(Protocol):
    """What is served, see `labelwise.serving.app.Server`."""

    limits: Limits
    title: str
    metrics: ServerMetrics
    names: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether an image would be accepted now."""

    def infer(
        self, request: None, uploads: Sequence[Upload], maps: bool, within: float
    ) -> Awaitable[list[Prediction | str]]:
        """The predictions of images within some seconds, or the reasons why they cannot be read."""


class Grpc:
    """A second address of a server, for gRPC.

    Args:
        host: address to listen on.
        port: port to listen on; 0 chooses a free one.
        token: required as the metadata `authorization: Bearer TOKEN`; `None` requires none.

    Raises:
        LabelwiseError: the address is not this machine's, or the port is in use.
    """

    def __init__(self, host: str, port: int, token: str | None) -> None:
        with bound(host, port, "--grpc-port") as free_socket:
            self.port = int(free_socket.getsockname()[1])
        self._host, self._token = host, token
        self._bytes_held = 0

    @asynccontextmanager
    async def serving(self, server: Served) -> AsyncIterator[None]:
        """Answers until the block ends, and then the calls that have begun."""
        self._server, limits = server, server.limits
        options = (
            ("grpc.max_receive_message_length", limits.request_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
            # A compressed message could be far larger than its limit.
            ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
        )
        listener = grpc.aio.server(options=options, maximum_concurrent_rpcs=limits.connections)
        listener.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(SERVICE, {name: self._handler(name) for name in _METHODS})]
        )
        host = f"[{self._host}]" if ":" in self._host else self._host
        listener.add_insecure_port(f"{host}:{self.port}")
        await listener.start()
        print(f"KServe v2 over gRPC: {host}:{self.port}", file=sys.stderr, flush=True)
        try:
            yield
        finally:
            await listener.stop(limits.seconds + 1)

    def _handler(self, name: str) -> Any:
        """What answers the calls of a method."""

        async def call(body: bytes, context: Any) -> bytes:
            return await self._call(name, body, context)

        # Bytes are read by `_call`, as gRPC would report another form as a fault of the server.
        return grpc.unary_unary_rpc_method_handler(call)

    async def _call(self, name: str, body: bytes, context: Any) -> bytes:
        """One call: checks, its answer, a line in the log, and the metrics."""
        fields: dict[str, Any] = {"id": uuid.uuid4().hex, "status": "CANCELLED", "bytes": len(body)}
        started, self._bytes_held = time.perf_counter(), self._bytes_held + len(body)
        try:
            self._check(name, context)
            answer = await _METHODS[name](self, _request_of(f"{name}Request", body), fields, context)
            fields["status"] = "OK"
            return bytes(answer.SerializeToString())
        except Refused as error:
            code = STATUS[error.status]
            fields["status"] = code.name
            headers = () if error.retry_after is None else (("retry-after", str(error.retry_after)),)
            await context.abort(code, str(error), headers)
            raise
        except Exception:
            log_line("failure", id=fields["id"], path=name, traceback=traceback.format_exc())
            fields["status"] = "INTERNAL"
            await context.abort(
                grpc.StatusCode.INTERNAL, f"the server failed on request {fields['id']}; see its log"
            )
            raise
        finally:
            self._bytes_held -= len(body)
            seconds, metrics = time.perf_counter() - started, self._server.metrics
            metrics.requests.labels(f"grpc {name}", fields["status"]).inc()
            metrics.seconds.labels(f"grpc {name}").observe(seconds)
            log_line(
                "request", method="grpc", path=f"/{SERVICE}/{name}", ms=round(1000 * seconds, 1), **fields
            )

    def _check(self, name: str, context: Any) -> None:
        """Refuses a call without the token, or with too many bytes in memory."""
        if self._token is not None and name not in OPEN:
            authorization = dict(context.invocation_metadata() or ()).get("authorization", "")
            if not hmac.compare_digest(str(authorization).encode(), f"Bearer {self._token}".encode()):
                raise Refused(
                    401,
                    "a call without the token",
                    "the metadata authorization: Bearer TOKEN",
                    "send the token",
                )
        if self._bytes_held > self._server.limits.held_bytes:
            raise Refused(
                429,
                f"a call with {self._bytes_held:,} bytes of all calls in memory",
                f"at most {self._server.limits.held_bytes:,} at a time",
                "send it again later",
                5,
            )

    def _check_model(self, name: str, version: str) -> None:
        """Refuses another model, and any version."""
        if name != self._server.title or version:
            given = f"model {name!r}" + (f" of version {version!r}" if version else "")
            raise Refused(404, given, f"{self._server.title!r} without a version", "correct the name")

    async def _live(self, request: Any, fields: dict[str, Any], context: Any) -> Any:
        return MESSAGES["ServerLiveResponse"](live=True)

    async def _ready(self, request: Any, fields: dict[str, Any], context: Any) -> Any:
        return MESSAGES["ServerReadyResponse"](ready=self._server.ready)

    async def _model_ready(self, request: Any, fields: dict[str, Any], context: Any) -> Any:
        self._check_model(request.name, request.version)
        return MESSAGES["ModelReadyResponse"](ready=self._server.ready)

    async def _server_metadata(self, request: Any, fields: dict[str, Any], context: Any) -> Any:
        return MESSAGES["ServerMetadataResponse"](name="labelwise", version=__version__)

    async def _model_metadata(self, request: Any, fields: dict[str, Any], context: Any) -> Any:
        self._check_model(request.name, request.version)
        return MESSAGES["ModelMetadataResponse"](**model_metadata(self._server.title, self._server.names))

    async def _infer(self, request: Any, fields: dict[str, Any], context: Any) -> Any:
        self._check_model(request.model_name, request.model_version)
        requested = read_grpc_request(request, self._server.limits)
        fields["images"] = len(requested.images)
        remaining = context.time_remaining()
        within = math.inf if remaining is None else max(remaining, 0.001)
        predictions = await self._server.infer(None, requested.images, "maps" in requested.outputs, within)
        return grpc_response(requested, predictions, self._server.names, self._server.title, request)


_METHODS: dict[str, Callable[[Grpc, Any, dict[str, Any], Any], Awaitable[Any]]] = {
    "ServerLive": Grpc._live,
    "ServerReady": Grpc._ready,
    "ModelReady": Grpc._model_ready,
    "ServerMetadata": Grpc._server_metadata,
    "ModelMetadata": Grpc._model_metadata,
    "ModelInfer": Grpc._infer,
}


def read_grpc_request(request: Any, limits: Limits) -> Inference:
    """The images and the requested outputs of a `ModelInferRequest`.

    Raises:
        Refused: 400 for content that is not of the protocol, 413 for too many images.
    """
    inputs, data = [], b""
    for index, tensor in enumerate(request.inputs):
        data = _input_bytes(tensor, request.raw_input_contents[index:])
        entry = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        inputs.append({**entry, "parameters": {"binary_data_size": len(data)}})
    if len(request.raw_input_contents) > len(inputs):
        raise protocol_error("more raw_input_contents than inputs", "one for each input")
    outputs = [{"name": output.name} for output in request.outputs]
    return inference({"inputs": inputs, "outputs": outputs, "id": request.id}, data, limits)


def _input_bytes(tensor: Any, contents: Sequence[bytes]) -> bytes:
    """The binary data of an input, which has them in the request or is typed."""
    filled_fields = {field.name for field, _ in tensor.contents.ListFields()}
    if contents:
        if filled_fields:
            raise protocol_error("contents beside raw_input_contents", "one of the two")
        return contents[0]
    field = "bytes_contents" if tensor.datatype == "BYTES" else "uint_contents"
    if filled_fields - {field}:
        raise protocol_error(f"{tensor.datatype} in {', '.join(sorted(filled_fields))}", field)
    if field == "bytes_contents":
        return elements(tensor.contents.bytes_contents)
    numbers = np.asarray(tensor.contents.uint_contents, np.uint32)
    if numbers.size and numbers.max() > 255:
        raise protocol_error("uint_contents that are not 0 to 255", "whole numbers from 0 to 255")
    return numbers.astype(np.uint8).tobytes()


def grpc_response(
    requested: Inference,
    predictions: Sequence[Prediction | str],
    names: tuple[str, ...],
    model: str,
    request: Any,
) -> Any:
    """The `ModelInferResponse`; its tensors are raw, or typed if the request's were.

    Raises:
        Refused: 422, an image that cannot be read.
    """
    for index, prediction in enumerate(predictions):
        if isinstance(prediction, str):
            raise Refused(422, f"image {index}: {prediction}", "images that can be read", "leave it out")
    answer = MESSAGES["ModelInferResponse"](model_name=model, id=request.id)
    for name, kind, tensor in tensors_of(requested, predictions, names):
        output = answer.outputs.add(name=name, datatype=kind, shape=tensor.shape)
        if request.raw_input_contents:
            answer.raw_output_contents.append(raw(kind, tensor))
        else:
            values = tensor.ravel().tolist()
            elements_of_kind = [text.encode() for text in values] if kind == "BYTES" else values
            getattr(output.contents, _CONTENTS[kind]).extend(elements_of_kind)
    return answer


def _request_of(name: str, body: bytes) -> Any:
    """The message of a name in a body."""
    from google.protobuf.message import DecodeError

    try:
        return MESSAGES[name].FromString(body)
    except DecodeError:
        raise protocol_error(f"bytes that are no {name}", f"a {name}") from None
