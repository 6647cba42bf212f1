"""The Open Inference Protocol (KServe v2) over HTTP, with its extension for binary tensors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from labelwise import __version__
from labelwise.inference.prediction import Prediction
from labelwise.serving.intake import Upload
from labelwise.serving.limits import REFUSALS, Limits, Refused
from labelwise.serving.tensors import INPUTS, read_inference, response

Predict = Callable[[Request, Sequence[Upload], bool], Awaitable[list[Prediction | str]]]
"""Predictions of a request's images, or the reasons why they cannot be read."""
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"type": "string"},
        "parameters": {"type": "object"},
        "data": {"type": "array"},
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "parameters": {"type": "object"},
                        "inputs": {"type": "array", "items": _TENSOR},
                        "outputs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {"name": {"type": "string"}, "parameters": {"type": "object"}},
                            },
                        },
                    },
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def model_metadata(model: str, names: tuple[str, ...]) -> dict[str, Any]:
    """The inputs and outputs of a model."""
    return {
        "name": model,
        "platform": "labelwise",
        "inputs": list(INPUTS),
        "outputs": [
            {"name": "scores", "datatype": "FP32", "shape": [-1, len(names)]},
            {"name": "selected", "datatype": "BOOL", "shape": [-1, len(names)]},
            {"name": "maps", "datatype": "FP32", "shape": [-1, len(names), -1, -1]},
            {"name": "labels", "datatype": "BYTES", "shape": [len(names)]},
        ],
    }


def routes(
    predict: Predict, names: tuple[str, ...], model: str, limits: Limits, ready: Callable[[], bool]
) -> APIRouter:
    """The routes of the protocol, for one model.

    Args:
        predict: the server's predictions.
        names: labels in column order.
        model: name of the model.
        limits: bounds on a request.
        ready: whether images are answered now.
    """
    router = APIRouter()
    unknown_model: dict[int | str, dict[str, Any]] = {404: REFUSALS[404]}

    def check(name: str) -> None:
        if name != model:
            raise Refused(404, f"model {name!r}", repr(model), "correct the address")

    def state() -> JSONResponse:
        return JSONResponse({"ready": ready()}, 200 if ready() else 503)

    @router.get("/v2", summary="The server, and the extensions of the protocol")
    async def server() -> dict[str, Any]:
        return {"name": "labelwise", "version": __version__, "extensions": ["binary_tensor_data"]}

    @router.get("/v2/health/live", summary="Whether the process lives")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/v2/health/ready", summary="Whether images are answered now", responses={503: REFUSALS[503]})
    async def server_ready() -> JSONResponse:
        return state()

    @router.get("/v2/models/{name}", summary="Inputs and outputs of the model", responses=unknown_model)
    async def metadata(name: str) -> dict[str, Any]:
        check(name)
        return model_metadata(model, names)

    @router.get(
        "/v2/models/{name}/ready",
        summary="Whether the model answers now",
        responses={**unknown_model, 503: REFUSALS[503]},
    )
    async def model_ready(name: str) -> JSONResponse:
        check(name)
        return state()

    @router.post(
        "/v2/models/{name}/infer", summary="Labels of images", openapi_extra=_BODY, responses=REFUSALS
    )
    async def infer(request: Request, name: str) -> Response:
        check(name)
        requested = read_inference(await request.body(), request.headers, limits)
        predictions = await predict(request, requested.images, "maps" in requested.outputs)
        return response(requested, predictions, names, model)

    return router
