"""The search of a collection over HTTP."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from fastapi import APIRouter, Query, Request, Response
from pyarrow import csv
from pydantic import BaseModel, ConfigDict, Field

from labelwise.collection import Collection
from labelwise.collection.boxes import read_box
from labelwise.collection.collection import vectors_of_column
from labelwise.data.decode import UnreadableImage
from labelwise.data.review import Review
from labelwise.errors import LabelwiseError
from labelwise.inference.tables import columns_of
from labelwise.inference.writers import cell_writer
from labelwise.serving.intake import read_request
from labelwise.serving.limits import Limits, Refused
from labelwise.serving.query_photos import ID, Photograph
from labelwise.serving.review_additions import add_cells
from labelwise.serving.search_request import SearchRequest
from labelwise.serving.searching import Searches
from labelwise.serving.taught_label import teach_label

LONGEST_LIST = 10_000
UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                }
            }
        },
    }
}
_DAMAGED: dict[int | str, dict[str, Any]] = {503: {"description": "the collection cannot be read"}}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"description": "no such label or photograph, or its file is gone or was changed"},
    **_DAMAGED,
}
_PICTURE: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}, **_NOT_FOUND}
_TABLE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {}}}, **_DAMAGED}
_REVIEWED: dict[int | str, dict[str, Any]] = {
    404: {"description": "no such label"},
    409: {"description": "a label or images that the data of the review do not hold"},
    **_DAMAGED,
}
_TAUGHT: dict[int | str, dict[str, Any]] = {
    404: {"description": "no such photograph, or its file is gone or was changed"},
    409: {"description": "a label that cannot be taught; says why"},
}
_UPLOADED: dict[int | str, dict[str, Any]] = {
    400: {"description": "a body that cannot be read"},
    403: {"description": "an address of a host that was not allowed"},
    413: {"description": "too many bytes or files"},
    415: {"description": "another content type"},
    422: {"description": "no image"},
}
_Id = Annotated[str, Field(pattern=f"^({ID.pattern})$")]
_Ids = Annotated[Sequence[_Id], Query(max_length=100)]
_Boxes = Annotated[
    Sequence[str],
    Query(
        max_length=100,
        description="ID:X0,Y0,X1,Y1, the part of a photograph that is compared, in shares of its sides",
    ),
]
_Names = Annotated[Sequence[str], Query(max_length=50)]


class Selection(BaseModel):
    """Images of the collection."""

    model_config = ConfigDict(extra="forbid")
    images: list[Annotated[int, Field(ge=0, lt=10**15)]] = Field(min_length=1, max_length=LONGEST_LIST)


class ToReview(Selection):
    """A label of images of the collection."""

    label: str


class ToTeach(BaseModel):
    """Examples of a new label."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=100)
    positives: list[_Id] = Field(min_length=2, max_length=100)
    negatives: list[_Id] = Field(max_length=100)


def collection_routes(searches: Searches, limits: Limits, review: Review | None = None) -> APIRouter:
    """The routes under `/collection/`.

    Args:
        searches: the collection.
        limits: bounds of uploads.
        review: the queue that selected photographs are sent to.
    """
    routes = APIRouter(prefix="/collection", tags=["collection"])

    @routes.get("/about", summary="The collection and its labels")
    def about() -> dict[str, Any]:
        with _refusing():
            return searches.describe()

    @routes.get("/results", summary="A page of the photographs that fit", responses=_NOT_FOUND)
    def results(
        label: str | None = None,
        like: _Ids = (),
        unlike: _Ids = (),
        present: _Names = (),
        absent: _Names = (),
        least: Annotated[float, Query(ge=0, le=1)] = 0,
        by: Literal["feature", "score"] = "feature",
        box: _Boxes = (),
        page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    ) -> dict[str, Any]:
        with _refusing(other=422):
            boxes = tuple(
                (identifier, read_box(sides)) for identifier, _, sides in (b.partition(":") for b in box)
            )
        search = SearchRequest(
            label or None, tuple(like), tuple(unlike), tuple(present), tuple(absent), least, by, boxes
        )
        with _refusing():
            return searches.results(search, page)

    @routes.post(
        "/photographs",
        summary="Upload a photograph to search with",
        openapi_extra=UPLOAD,
        responses=_UPLOADED,
    )
    async def upload(request: Request) -> dict[str, Any]:
        uploads = (await read_request(request, limits)).uploads
        if uploads[0].error is not None:
            raise Refused(422, uploads[0].error, "an image file", "upload another one")
        content = await uploads[0].data()
        assert isinstance(content, bytes), "only tensors of KServe are pixels"
        with _refusing(422):
            return (await asyncio.to_thread(searches.photographs.upload, content)).to_json()

    @routes.get(
        "/photographs/{photo}/thumbnail", summary="A small JPEG", response_class=Response, responses=_PICTURE
    )
    def thumbnail(photo: _Id, version: str | None = None) -> Response:
        return picture_of(photo, searches.photographs.thumbnail, version)

    @routes.get(
        "/photographs/{photo}/picture", summary="A larger JPEG", response_class=Response, responses=_PICTURE
    )
    def picture(photo: _Id, version: str | None = None) -> Response:
        return picture_of(photo, searches.photographs.picture, version)

    @routes.post("/table", summary="Paths and labels of photographs as CSV", responses=_TABLE)
    def table(selection: Selection) -> Response:
        with _refusing():
            content = predictions_csv(searches.collection, selection.images)
        headers = {"Content-Disposition": 'attachment; filename="photographs.csv"'}
        return Response(content, media_type="text/csv; charset=utf-8", headers=headers)

    @routes.post("/teach", summary="Write a run with a new label, taught from photographs", responses=_TAUGHT)
    def to_teach(examples: ToTeach) -> dict[str, Any]:
        with _refusing(other=409):
            return teach_label(searches, examples.name, examples.positives, examples.negatives)

    if review is not None:

        @routes.post("/review", summary="Send a label of photographs to the review", responses=_REVIEWED)
        def to_review(selection: ToReview) -> dict[str, Any]:
            scores = searches.scores(selection.images, selection.label)
            with _refusing(409, 409):
                return add_cells(review, selection.label, scores)

    def picture_of(photo: str, make: Callable[[Photograph], bytes], version: str | None) -> Response:
        with _refusing():
            photograph = searches.photographs.shown(searches.collection, photo)
            content = make(photograph)
        # An address with the file's version never changes what it shows.
        caching = "max-age=31536000, immutable" if version == photograph.version else "no-cache"
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": f"private, {caching}"})

    return routes


def predictions_csv(collection: Collection, images: Sequence[int]) -> bytes:
    """Paths, selected labels and probabilities of images, as CSV in the form of `labelwise predict`."""
    rows = collection.rows(images, None, ("path", "error", "labels", "scores"))
    # In the order of the selection.
    index = {number: i for i, number in enumerate(rows["image"].to_pylist())}
    order = [index[number] for number in dict.fromkeys(images) if number in index]
    rows = rows.take(pa.array(order, pa.int64()))
    names = collection.identity.labels
    cell, schema = cell_writer(names), columns_of(names).set(2, pa.field("selected", pa.string()))
    scores = vectors_of_column(rows["scores"], len(names)).astype(np.float32)
    columns = [
        rows["path"],
        rows["error"],
        pa.array([cell(labels) for labels in rows["labels"].to_pylist()], pa.string()),
        *(pa.array(scores[:, j]) for j in range(len(names))),
    ]
    buffer = io.BytesIO()
    csv.write_csv(pa.Table.from_arrays(columns, schema=schema), buffer)
    return buffer.getvalue()


@contextmanager
def _refusing(unreadable: int = 404, other: int = 503) -> Iterator[None]:
    """Turns errors into refusals with a status: that of an unreadable photograph, or that of other errors."""
    try:
        yield
    except Refused:
        raise
    except UnreadableImage as error:
        raise Refused(unreadable, error.given, error.expected, error.todo) from None
    except LabelwiseError as error:
        raise Refused(other, error.given, error.expected, error.todo) from None
