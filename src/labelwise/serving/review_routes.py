"""The review queue over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from labelwise.data.decode import UnreadableImage
from labelwise.data.review import Review
from labelwise.data.review_table import export_table
from labelwise.errors import LabelwiseError
from labelwise.serving.answers import Answers
from labelwise.serving.batcher import Batcher
from labelwise.serving.limits import Refused
from labelwise.serving.pictures import jpeg


class Choice(BaseModel):
    """The decision on an item; `null` revokes it."""

    model_config = ConfigDict(extra="forbid")
    choice: Literal["keep", "change", "unknown"] | None


def review_routes(review: Review, answers: Answers, batcher: Batcher) -> APIRouter:
    """The routes under `/review/`.

    Args:
        review: the queue.
        answers: decodes the photographs.
        batcher: computes the evidence maps.
    """
    routes = APIRouter(prefix="/review", tags=["review"])

    @routes.get("/items", summary="The queue with what was decided")
    def items() -> dict[str, Any]:
        return review.to_json()

    @routes.post("/items/{i}", summary="Decide on an item")
    def decide(i: int, decision: Choice) -> dict[str, Any]:
        _check_index(review, i)
        try:
            review.decide(i, decision.choice)
        except LabelwiseError as error:
            raise Refused(507, error.given, error.expected, error.todo) from None
        return {"choice": decision.choice, "decided": review.decided}

    @routes.get("/items/{i}/photo", summary="An item's photograph, upright, as JPEG", response_class=Response)
    def photo(i: int) -> Response:
        _check_index(review, i)
        try:
            return Response(jpeg(review.encoded(i)), media_type="image/jpeg")
        except UnreadableImage as error:
            raise Refused(404, error.given, error.expected, error.todo) from None

    @routes.get("/items/{i}/map", summary="Where the model sees the item's label")
    async def evidence(i: int) -> dict[str, Any]:
        _check_index(review, i)
        if not answers.has_maps or review.items[i].label not in answers.names:
            return {"map": None}
        picture = review.encoded(i)
        try:
            content = picture if isinstance(picture, bytes) else await asyncio.to_thread(picture.read_bytes)
            with batcher.admitted(1):
                prediction = await batcher.submit(content, True, {})
        except (UnreadableImage, OSError):
            return {"map": None}
        return {"map": None if prediction.maps is None else prediction.map(review.items[i].label).tolist()}

    @routes.post("/export", summary="Write the corrected table next to the audit's file")
    def export() -> dict[str, Any]:
        try:
            return export_table(review)
        except LabelwiseError as error:
            raise Refused(409, error.given, error.expected, error.todo) from None

    return routes


def _check_index(review: Review, i: int) -> None:
    if not 0 <= i < len(review):
        raise Refused(404, f"item {i}", f"0 to {len(review) - 1}", "reload the page")
