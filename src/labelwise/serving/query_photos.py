"""Photographs of a collection and uploaded ones: their files as pictures, and the features of their labels."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.collection import Collection
from labelwise.collection.boxes import Box
from labelwise.collection.features import Embedder
from labelwise.collection.graphs import GraphEmbedder
from labelwise.collection.queries import Look, Query, look_at
from labelwise.cores import usable_cores
from labelwise.data.decode import UnreadableImage, image_size
from labelwise.errors import LabelwiseError
from labelwise.serving.kept_pictures import KeptPictures
from labelwise.serving.limits import Refused
from labelwise.serving.pictures import jpeg
from labelwise.serving.recent import Recent
from labelwise.serving.thumbnails import Thumbnails

ID = re.compile(r"\d{1,15}|u[0-9a-f]{64}")
"""The number of an image in the collection; or `u` and the SHA-256 of an uploaded file."""
THUMBNAIL = 320
"""Longest side of a thumbnail in pixels."""
FIRST = 12
"""Thumbnails of a page of results that are made before they are asked for."""
NAMED = 12
"""Labels of a photograph that are named beside the selected ones."""


@dataclass(frozen=True)
class Photograph:
    """A photograph that a search may begin with.

    Args:
        id: see `ID`.
        path: in the collection; "" for an uploaded one.
        digest: SHA-256 of its file.
        size: width and height in pixels.
        labels: `(name, probability, selected)`, the most probable first: the selected ones and the next.
        marked: the box of it that is compared, with its labels; `None` for all of it.
    """

    id: str
    path: str
    digest: str
    size: tuple[int, int]
    labels: tuple[tuple[str, float, bool], ...] = ()
    marked: Box | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return os.path.basename(self.path) or "uploaded photograph"

    @property
    def version(self) -> str:
        """Identifies the content of the file."""
        return self.digest[:16]

    def to_json(self) -> dict[str, Any]:
        """The photograph as JSON data."""
        return {
            "id": self.id,
            "name": self.name,
            "path": self.path or None,
            "version": self.version,
            "width": self.size[0],
            "height": self.size[1],
            "labels": [{"name": n, "score": s, "selected": chosen} for n, s, chosen in self.labels],
            "marked": None if self.marked is None else list(self.marked),
        }


class Photographs:
    """Opens photographs by their ids; a path is never part of a request.

    A file is used only while its SHA-256 is the one in the collection.

    Args:
        embedder: the run of the collection.
        kept: thumbnails and uploaded files.
        pixels: largest number of pixels of a photograph.
    """

    def __init__(self, embedder: Embedder | GraphEmbedder, kept: KeptPictures, pixels: int) -> None:
        self._embedder, self._pictures, self._pixels = embedder, kept, pixels
        self._computing, self._decoding = threading.Lock(), threading.Semaphore(usable_cores())
        self._photographs: Recent[Photograph] = Recent(4096)
        self._queries: Recent[Query] = Recent(512)
        self._looks: Recent[Look] = Recent(16)
        self._shown: Recent[Photograph] = Recent(4096)
        self._thumbnails = Thumbnails(kept)

    @property
    def takes_boxes(self) -> bool:
        """Whether features of a box can be computed, which a graph cannot."""
        return isinstance(self._embedder, Embedder)

    def shown(self, collection: Collection, identifier: str) -> Photograph:
        """A photograph whose file is wanted: as `find`, without labels if it was on a page of results.

        Raises:
            Refused: 404, none of this id.
        """
        return self._shown.of(identifier, lambda: self.find(collection, identifier))

    def find(self, collection: Collection, identifier: str) -> Photograph:
        """A photograph by its id.

        Raises:
            Refused: 404, none of this id.
        """
        if not ID.fullmatch(identifier):
            raise _unknown_photograph(identifier)
        if identifier.startswith("u"):
            return self._photographs.of(identifier, lambda: self._uploaded(self._upload_of(identifier[1:])))
        if int(identifier) >= len(collection):
            raise _unknown_photograph(identifier)
        return self._photographs.of(identifier, lambda: _stored_photograph(collection, int(identifier)))

    def boxed(self, photograph: Photograph, marked: Box) -> Photograph:
        """A box of a photograph, with the labels that the model sees in it.

        Raises:
            UnreadableImage: the file cannot be read.
            Refused: 422, a box that cannot be used.
        """
        try:
            result = self._look(replace(photograph, marked=marked)).result
        except UnreadableImage:
            raise
        except LabelwiseError as error:
            raise Refused(422, error.given, error.expected, error.todo) from None
        labels = _named_labels(self._embedder.predictor.labels.names, result.scores[0], result.chosen[0])
        return replace(photograph, labels=labels, marked=marked)

    def upload(self, content: bytes) -> Photograph:
        """Keeps an uploaded photograph and returns it with its labels.

        Raises:
            UnreadableImage: not an image, damaged, or too many pixels.
        """
        photograph = self._uploaded(content)
        self._pictures.put(f"upload {photograph.digest}", content)
        return self._photographs.of(photograph.id, lambda: photograph)

    def query(self, collection: Collection, photograph: Photograph, label: str) -> Query:
        """The feature of a label in a photograph: the stored one, or one that is computed now.

        Raises:
            UnreadableImage: the file cannot be read.
        """
        key = photograph.id, photograph.marked, label
        return self._queries.of(key, lambda: self._query(collection, photograph, label))

    def thumbnail(self, photograph: Photograph) -> bytes:
        """A small JPEG, made once.

        Raises:
            UnreadableImage: the file cannot be read.
        """
        return self._thumbnails.get(*self._thumbnail_job(photograph))

    def begin_thumbnails(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Makes the thumbnails of photographs that are about to be shown, given by their rows in the collection."""
        photographs = [
            Photograph(str(row["image"]), row["path"], row["digest"], (row["width"], row["height"]))
            for row in rows
        ]
        for photograph in photographs:
            self._remember(photograph)
        self._thumbnails.begin(map(self._thumbnail_job, photographs[:FIRST]))

    def _remember(self, photograph: Photograph) -> None:
        self._shown.of(photograph.id, lambda: photograph)

    def _thumbnail_job(self, photograph: Photograph) -> tuple[str, Callable[[], bytes]]:
        """The key of a thumbnail, and what makes it."""
        key = f"thumbnail {photograph.digest}"
        return key, lambda: jpeg(self._content(photograph), THUMBNAIL, self._pixels)

    def picture(self, photograph: Photograph) -> bytes:
        """A JPEG that fits a screen.

        Raises:
            UnreadableImage: the file cannot be read.
        """
        with self._decoding:
            return jpeg(self._content(photograph), max_pixels=self._pixels)

    def file(self, photograph: Photograph, folder: Path) -> Path:
        """The photograph as a file; an uploaded one is written to the folder.

        Raises:
            UnreadableImage: the file cannot be read.
        """
        content = self._content(photograph)
        if photograph.path:
            return Path(photograph.path)
        path = folder / photograph.id
        path.write_bytes(content)
        return path

    def _query(self, collection: Collection, photograph: Photograph, label: str) -> Query:
        """The stored feature of a whole photograph of the collection, else a computed one."""
        if photograph.path and photograph.marked is None:
            columns = ("path", "feature", "score", "selected", "box", "digest")
            for row in collection.rows([int(photograph.id)], label, columns).to_pylist():
                feature = np.array(row["feature"], np.float32)
                box = tuple(row["box"])
                return Query(row["path"], feature, row["score"], row["selected"], box, row["digest"])
        return self._look(photograph).query(self._embedder.predictor.labels.index(label))

    def _look(self, photograph: Photograph) -> Look:
        def look() -> Look:
            with self._decoding, self._computing:
                return look_at(self._embedder, self._content(photograph), photograph.marked)

        return self._looks.of((photograph.id, photograph.marked), look)

    def _content(self, photograph: Photograph) -> bytes:
        """The file of a photograph, while it is the one of the collection."""
        if not photograph.path:
            return self._upload_of(photograph.digest)
        path = Path(photograph.path)
        try:
            content = path.read_bytes() if path.is_file() else b""
        except OSError:
            content = b""
        if hashlib.sha256(content).hexdigest() != photograph.digest:
            raise UnreadableImage(
                f"{path}, which is not there or was changed",
                "the file that is in the collection",
                "restore it, or embed again",
            )
        return content

    def _upload_of(self, digest: str) -> bytes:
        content = self._pictures.get(f"upload {digest}")
        if content is None:
            raise Refused(
                404, "an uploaded photograph that is no longer kept", "a recent one", "upload it again"
            )
        return content

    def _uploaded(self, content: bytes) -> Photograph:
        """An uploaded file as a photograph, with its labels."""
        size = image_size(content, max_pixels=self._pixels)
        predictor = self._embedder.predictor
        with self._decoding:
            pixels = predictor.transform(predictor.transform.decode(content, max_pixels=self._pixels))
            with self._computing:
                result = self._embedder(pixels[None], maps=False)
        digest = hashlib.sha256(content).hexdigest()
        labels = _named_labels(predictor.labels.names, result.scores[0], result.chosen[0])
        return Photograph(f"u{digest}", "", digest, size, labels)


def _stored_photograph(collection: Collection, number: int) -> Photograph:
    """An image of the collection, with its labels."""
    columns = ("path", "digest", "width", "height", "labels", "scores")
    row = collection.rows([number], None, columns).to_pylist()[0]
    names = collection.identity.labels
    chosen = np.isin(names, row["labels"])
    labels = _named_labels(names, np.array(row["scores"], np.float32), chosen)
    return Photograph(str(number), row["path"], row["digest"], (row["width"], row["height"]), labels)


def _named_labels(
    names: tuple[str, ...], scores: np.ndarray, chosen: np.ndarray
) -> tuple[tuple[str, float, bool], ...]:
    """See `labels` of `Photograph`."""
    order = [int(j) for j in np.argsort(-scores, kind="stable")]
    columns = [j for rank, j in enumerate(order) if chosen[j] or rank < NAMED]
    return tuple((names[j], float(scores[j]), bool(chosen[j])) for j in columns)


def _unknown_photograph(identifier: str) -> Refused:
    return Refused(404, f"photograph {identifier[:80]!r}", "the id of one in the collection", "search again")
