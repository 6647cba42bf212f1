"""Features of the photographs of a search."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from labelwise.collection.boxes import Box, box_of_part, boxes_of, seen_box
from labelwise.collection.schema import Identity, weights_digest
from labelwise.errors import LabelwiseError

if TYPE_CHECKING:
    from labelwise.collection.features import Embedded, Embedder
    from labelwise.collection.graphs import GraphEmbedder
    from labelwise.inference.inputs import Image

FEATURE, LABEL, APPEARANCE, SCORE = ORDERS = ("feature", "label", "appearance", "score")
"""Orders of a search: by the stored feature, by its part from the label's classifier or its appearance, or by score."""
AWAY = 0.2
"""Weight of the negative examples relative to the positive ones, as in Rocchio's method with .75 and .15."""


@dataclass(frozen=True)
class Query:
    """A photograph of a search.

    Args:
        path: as given; "" for pixels and bytes.
        feature: the label's feature, of unit length.
        score: the label's probability.
        selected: whether the label is selected.
        box: of the label's evidence, in fractions of the photograph.
        digest: SHA-256 of the file; "" for pixels.
        marked: the box to which the feature is restricted; `None` for the whole photograph.
    """

    path: str
    feature: Float32[np.ndarray, " D"]
    score: float
    selected: bool
    box: Box
    digest: str
    marked: Box | None = None

    def part(self, by: str, look_dim: int) -> Query:
        """The same photograph with the other part of its feature set to 0.

        Args:
            by: one of `ORDERS`.
            look_dim: width of the appearance, the last entries.
        """
        mask = np.ones(len(self.feature), bool)
        if by in (LABEL, APPEARANCE):
            mask[:] = by == LABEL
            mask[len(mask) - look_dim :] = by == APPEARANCE
        return replace(self, feature=np.where(mask, self.feature, 0).astype(np.float32))

    def to_json(self) -> dict[str, Any]:
        """The photograph without its feature, as JSON data."""
        return {
            "path": self.path,
            "score": self.score,
            "selected": self.selected,
            "box": list(self.box),
            "digest": self.digest,
            "marked": None if self.marked is None else list(self.marked),
        }


def open_embedder(identity: Identity, run: str | Path | None, path: str | Path) -> Embedder | GraphEmbedder:
    """The run of a collection, another copy of it, or an export of it with label features.

    Args:
        identity: of the collection.
        run: its run; `None` for the path in the collection.
        path: the collection, for messages.

    Raises:
        LabelwiseError: the run is not there, or another one.
    """
    if run is None:
        if not Path(identity.run).exists():
            raise LabelwiseError(
                f"{path}, whose run {identity.run} is not there", "that run", "name it with --run"
            )
        run = identity.run
    from labelwise.collection.graphs import embedder_of
    from labelwise.inference.loading import load

    same_weights = weights_digest(run) == identity.weights
    predictor = load(run) if same_weights else None
    if predictor is None or predictor.labels.names != identity.labels:
        difference = "with other labels or another order of them" if same_weights else "with other weights"
        raise LabelwiseError(
            f"run {run} {difference} than the run of {path}",
            f"the run that made it ({identity.run})",
            "name that run with --run, or embed again",
        )
    return embedder_of(predictor, identity.feature)


@dataclass(frozen=True)
class Look:
    """What a run computes of a photograph, or of a box of it.

    Args:
        path, digest, marked: see `Query`.
        result: the outputs, with maps.
        view: the part of the photograph that the maps cover.
    """

    path: str
    digest: str
    marked: Box | None
    result: Embedded
    view: Box

    def query(self, label: int) -> Query:
        """The photograph of a search by a label, given by its number."""
        from labelwise.collection.features import evidence_box

        result = self.result
        assert result.maps is not None, "a box needs maps"
        return Query(
            self.path,
            result.features[0, label].astype(np.float32),
            float(result.scores[0, label]),
            bool(result.chosen[0, label]),
            evidence_box(result.maps[0, label], self.view),
            self.digest,
            self.marked,
        )


def look_at(embedder: Embedder | GraphEmbedder, image: Image, marked: Box | None = None) -> Look:
    """A photograph, or a box of it, as the run of an embedder sees it.

    Raises:
        LabelwiseError: an image that cannot be read, or a box that cannot be used.
    """
    from labelwise.data.fixed import shown_part
    from labelwise.inference.inputs import decode_upright, name_of_image

    content = bytes(image) if isinstance(image, bytes | bytearray | memoryview) else None
    if isinstance(image, str | os.PathLike):
        try:
            content = Path(image).read_bytes()
        except OSError as error:
            raise LabelwiseError(
                f"photograph {os.fspath(image)} ({error.strerror})", "an image file", "correct the path"
            ) from None
    transform = embedder.predictor.transform
    pixels = decode_upright(image, transform, [])
    view = shown_part(transform.config, *pixels.shape[1:])
    in_view = None if marked is None else seen_box(marked, view)
    result = embedder(transform(pixels)[None], box=in_view)
    digest = hashlib.sha256(content).hexdigest() if content else ""
    return Look(
        name_of_image(image), digest, marked, result, view if in_view is None else box_of_part(in_view, view)
    )


def queries_of(
    embedder: Embedder | GraphEmbedder, images: Image | Iterable[Image], label: str, boxes: Any = None
) -> list[Query]:
    """Features of a label in photographs, or in boxes of them.

    Args:
        embedder: of the run.
        images: the photographs.
        label: of the run.
        boxes: see `boxes_of`.

    Raises:
        LabelwiseError: as `look_at`, or a label that the run does not have.
    """
    from labelwise.inference.inputs import as_images

    photographs, number = as_images(images), embedder.predictor.labels.index(label)
    marked = boxes_of(boxes, len(photographs))
    return [look_at(embedder, *pair).query(number) for pair in zip(photographs, marked, strict=True)]


def combined(
    positives: Float32[np.ndarray, "p D"], negatives: Float32[np.ndarray, "n D"]
) -> Float32[np.ndarray, " D"]:
    """One vector of several examples, `mean(p) - 0.2 mean(n)`, of unit length.

    Source: Rocchio 1971, "Relevance feedback in information retrieval".

    Raises:
        LabelwiseError: no positive example.
    """
    if not len(positives):
        raise LabelwiseError(
            "a search without a photograph", "a photograph to compare with", "name one, or order by score"
        )
    vector = positives.mean(0) - (AWAY * negatives.mean(0) if len(negatives) else 0)
    return (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)
