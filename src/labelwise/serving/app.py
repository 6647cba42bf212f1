"""The HTTP interface: predictions, labels, health checks, metrics, and the pages."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles

from labelwise import __version__
from labelwise.data.pixels import UnreadableImage
from labelwise.inference.prediction import Prediction
from labelwise.inference.predictor import Predictor
from labelwise.serving.answers import Answers, as_json
from labelwise.serving.batcher import Batcher, QueuedImage
from labelwise.serving.intake import PredictRequest, Upload, read_request
from labelwise.serving.kserve import routes as kserve_routes
from labelwise.serving.limits import REFUSALS, Limits, Refused
from labelwise.serving.metrics import ServerMetrics
from labelwise.serving.watch import ServerMiddleware, log_line

if TYPE_CHECKING:
    from labelwise.data.review import Review
    from labelwise.serving.kserve_grpc import Grpc
    from labelwise.serving.searching import Searches

T = TypeVar("T")
PAGE = Path(__file__).parent / "page"
POLICY = "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_IMAGE = {"type": "string", "format": "binary"}
_STATES = {
    "type": "object",
    "additionalProperties": {"type": "boolean"},
    "description": "label -> present or absent, for methods that accept it",
}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {"files": {"type": "array", "items": _IMAGE}, "states": {"type": "string"}},
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "image_base64": {"type": "string"},
                        "url": {"type": "string", "description": "only of hosts that the server was allowed"},
                        "name": {"type": "string"},
                        "states": _STATES,
                    },
                }
            },
        },
    }
}


class Server:
    """The state shared by the routes.

    Args:
        predictor: the loaded model.
        limits: bounds.
        title: display name of the model.
        grpc: a second address for gRPC.
    """

    def __init__(self, predictor: Predictor, limits: Limits, title: str, grpc: Grpc | None = None) -> None:
        self.limits, self.title, self.metrics, self._grpc = limits, title, ServerMetrics(), grpc
        self.answers = Answers(predictor, limits)
        self.names = self.answers.names
        self.batcher = Batcher(self.answers.decode, self.answers.answer, limits, self.metrics)
        self._started = False
        self._size = predictor.transform.config.input_size

    @property
    def ready(self) -> bool:
        """Whether an image would be accepted now."""
        return self._started and not self.batcher.full and not self.batcher.stalled

    @asynccontextmanager
    async def running(self, _app: FastAPI) -> AsyncIterator[None]:
        """Warms up the engine, serves, and at the end answers every accepted image."""
        blank = QueuedImage(np.zeros((3, *self._size), np.uint8), False, {})
        # The largest batch too, so that its memory is allocated at the start.
        for count in (self.limits.batch, 1):
            await asyncio.to_thread(self.answers.answer, [blank] * count)
        self.batcher.start()
        self._started = True
        async with self._grpc.serving(self) if self._grpc else nullcontext():
            yield
        self._started = False
        await self.batcher.close()
        log_line("stopped")

    async def predict(self, request: Request, maps: bool) -> list[dict[str, Any]]:
        """The answers of a request, in the order of its images."""
        within = self.limits.within_of(request.headers)
        self.batcher.check(0, within)  # before its images are received

        async def answers() -> list[dict[str, Any]]:
            content: PredictRequest = await read_request(request, self.limits)
            predictions = await self._predict(request, content.uploads, maps, content.states, within)
            return [
                {"image": upload.name, "error": p} if isinstance(p, str) else as_json(p, upload.name)
                for upload, p in zip(content.uploads, predictions, strict=True)
            ]

        return await self._in_time(answers(), within)

    async def infer(
        self, request: Request | None, uploads: Sequence[Upload], maps: bool, within: float = math.inf
    ) -> list[Prediction | str]:
        """The predictions of images that were read from a request, or the reasons why they cannot be read.

        Without a request, the caller notes the images and cancels the call when its client is gone; it may give the
        seconds in which the client expects the answer.
        """
        within = min(within, self.limits.within_of(request.headers if request is not None else {}))
        return await self._in_time(self._predict(request, uploads, maps, {}, within), within)

    async def _in_time(self, answers: Awaitable[T], seconds: float) -> T:
        try:
            return await asyncio.wait_for(answers, seconds)
        except asyncio.TimeoutError:
            raise Refused(
                504,
                f"a request not answered in {seconds:g} s",
                "an answer in time",
                "send fewer images, or later",
            ) from None

    async def _predict(
        self,
        request: Request | None,
        uploads: Sequence[Upload],
        maps: bool,
        states: Mapping[str, bool],
        within: float,
    ) -> list[Prediction | str]:
        self.answers.check(maps, states)
        if request is not None:
            request.state.log_fields["images"] = len(uploads)
        with self.batcher.admitted(len(uploads), within):
            answers = asyncio.gather(*(self._predict_one(upload, maps, states) for upload in uploads))
            return await (answers if request is None else _until_disconnect(request, answers))

    async def _predict_one(self, upload: Upload, maps: bool, states: Mapping[str, bool]) -> Prediction | str:
        error = upload.error
        if error is None:
            try:
                prediction = await self.batcher.submit(await upload.data(), maps, states)
                self.metrics.images.labels("answered").inc()
                return prediction
            except UnreadableImage as unreadable:
                error = str(unreadable)
        self.metrics.images.labels("unreadable").inc()
        return error


async def _until_disconnect(request: Request, answers: asyncio.Future[list[T]]) -> list[T]:
    """The answers; cancels them when the client closes its connection, since unused work would delay others.

    Raises:
        Refused: 499, which appears only in the log and the metrics.
    """
    disconnect = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((answers, disconnect), return_when=asyncio.FIRST_COMPLETED)
        if not answers.done():
            raise Refused(
                499, "a client that closed its connection", "one that waits", "nothing is to be done"
            )
        return answers.result()
    finally:
        disconnect.cancel()
        answers.cancel()
        answers.add_done_callback(_retrieve)


def _retrieve(answers: asyncio.Future[Any]) -> None:
    """Retrieves the error of abandoned answers, since asyncio logs errors that were never retrieved."""
    if not answers.cancelled():
        answers.exception()


async def _disconnected(request: Request) -> None:
    """Returns when the client closes its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def create_app(
    predictor: Predictor,
    limits: Limits | None = None,
    *,
    title: str = "model",
    token: str | None = None,
    review: Review | None = None,
    searches: Searches | None = None,
    grpc: Grpc | None = None,
) -> FastAPI:
    """The server as an ASGI application.

    Args:
        predictor: a loaded run or exported folder.
        limits: bounds; the defaults suit a machine with a few cores.
        title: display name of the model.
        token: required as `Authorization: Bearer TOKEN`; `None` requires none.
        review: a queue of suspicious labels to decide on, at `/review`.
        searches: a collection to search, at `/collection`.
        grpc: a second address, for gRPC.
    """
    server = Server(predictor, limits or Limits(), title, grpc)
    app = FastAPI(
        title=f"Labelwise: {title}",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=server.running,
    )
    app.state.batcher = server.batcher
    app.add_middleware(ServerMiddleware, limits=server.limits, metrics=server.metrics, token=token)
    app.add_exception_handler(RequestValidationError, _invalid_parameters)
    pages = {"review": review is not None, "collection": searches is not None}
    _add_api(app, server, pages)
    _add_page(app, "/", "index.html", pages)
    _add_page(app, "/docs", "docs.html", pages)
    model = server.answers
    app.include_router(kserve_routes(server.infer, model.names, title, server.limits, lambda: server.ready))
    if review is not None:
        from labelwise.serving.review_routes import review_routes

        _add_page(app, "/review", "review.html", pages)
        app.include_router(review_routes(review, server.answers, server.batcher))
    if searches is not None:
        from labelwise.serving.collection_routes import collection_routes

        _add_page(app, "/collection", "collection.html", pages)
        app.include_router(collection_routes(searches, server.limits, review))
    app.mount("/assets", StaticFiles(directory=PAGE))
    return app


def _invalid_parameters(_request: Request, error: Exception) -> JSONResponse:
    """Invalid parameters in the form of every other refusal."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return JSONResponse({"error": f"{'.'.join(map(str, first['loc']))}: {first['msg']}"}, 422)


def _add_api(app: FastAPI, server: Server, pages: Mapping[str, bool]) -> None:
    """Add the routes of health, labels, metrics and predictions."""

    @app.get("/healthz", summary="Whether the process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(
        "/readyz", summary="Whether images are answered now", responses={503: {"description": "not now"}}
    )
    async def readyz() -> JSONResponse:
        return JSONResponse({"ready": server.ready}, 200 if server.ready else 503)

    @app.get("/labels", summary="Labels in their order, with what decides about them")
    async def labels() -> dict[str, Any]:
        return {"model": server.title, **pages, **server.answers.describe()}

    @app.get("/metrics", summary="Counters in Prometheus' text format", response_class=Response)
    async def metrics() -> Response:
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.post("/predict", summary="Labels of images", openapi_extra=BODY, responses=REFUSALS)
    async def predict(request: Request, maps: bool = False) -> JSONResponse:
        answers = await server.predict(request, maps)
        return JSONResponse({"predictions": answers}, 422 if all("error" in a for a in answers) else 200)


def _add_page(app: FastAPI, path: str, file: str, pages: Mapping[str, bool]) -> None:
    text = (PAGE / file).read_bytes()
    for name in (name for name, exists in pages.items() if exists):
        text = text.replace(b' id="to-%s" hidden' % name.encode(), b"")

    @app.get(path, include_in_schema=False)
    async def page() -> Response:
        headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
        return Response(text, media_type="text/html; charset=utf-8", headers=headers)
