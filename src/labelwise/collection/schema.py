"""The tables of a collection, and the record of the run that made them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelwise.errors import LabelwiseError

FORMAT = 2
KEY = "labelwise"
"""Key of the record in the metadata of a table's schema."""
JOINED, LABEL = "joined", "label"
FEATURES = {
    JOINED: "input of the label's classifier, beside an early stage of the backbone and colours at the label's place",
    LABEL: "input of the label's classifier",
}
"""Kinds of stored vectors, of unit length and float16, and their meaning."""


@dataclass(frozen=True)
class Identity:
    """The run of a collection, and what is stored.

    Args:
        run: path of the run, as given.
        weights: SHA-256 of its weights.
        model: hash of its weights, settings, labels and thresholds.
        labels: names in the run's order.
        stored: names of the labels whose features are stored.
        every: whether features of labels that are not selected are stored too.
        dim: D, width of a label feature.
        whole_dim: C, width of the whole-image feature.
        one_feature: whether the classifiers of all labels have the same input.
        feature: kind of the stored feature, see `FEATURES`.
        look_dim: width of the appearance, the last entries of a stored feature; 0 without it.
        format: version of the tables.
    """

    run: str
    weights: str
    model: str
    labels: tuple[str, ...]
    stored: tuple[str, ...]
    every: bool
    dim: int
    whole_dim: int
    one_feature: bool
    feature: str = LABEL
    look_dim: int = 0
    format: int = FORMAT

    def to_json(self) -> str:
        """The record as text."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_schema(cls, schema: pa.Schema, path: str | Path) -> Identity:
        """The record in a table's schema.

        Raises:
            LabelwiseError: no record, a damaged one, or one of a later version.
        """
        try:
            data: dict[str, Any] = json.loads((schema.metadata or {})[KEY.encode()])
            version = data["format"]
            if version == FORMAT:
                return cls(**{**data, "labels": tuple(data["labels"]), "stored": tuple(data["stored"])})
        except (KeyError, TypeError, ValueError) as error:
            raise LabelwiseError(
                f"{path}, a table without a readable record ({type(error).__name__})",
                "a collection that `labelwise embed` wrote",
                "check the path, or embed again",
            ) from None
        raise LabelwiseError(
            f"{path}, a collection of format {version}", f"format {FORMAT}", "embed again with this version"
        )


def weights_digest(run: str | Path) -> str:
    """SHA-256 of the weights of a run, or of the run that a graph with features was exported from.

    Raises:
        LabelwiseError: neither weights nor such a graph there.
    """
    from labelwise.export.artefact import ARTEFACT, WEIGHTS_DIGEST, Artefact, sha256
    from labelwise.export.hub import fetch
    from labelwise.runs.run import WEIGHTS, folder_of

    folder = folder_of(fetch(run))
    if (folder / WEIGHTS).is_file():
        return sha256(folder / WEIGHTS)
    digest = Artefact.open(folder).card.get(WEIGHTS_DIGEST) if (folder / ARTEFACT).is_file() else None
    if not isinstance(digest, str):
        raise LabelwiseError(
            f"{run}, which holds no {WEIGHTS}",
            "a run, an export of weights, or an export with --features",
            "name the run with --run",
        )
    return digest


def vectors(dim: int) -> pa.DataType:
    """The type of a column of float16 vectors."""
    return pa.list_(pa.float16(), dim)


def _common_columns(labels: int) -> list[tuple[str, pa.DataType]]:
    return [
        ("image", pa.int64()),
        ("path", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("digest", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("scores", vectors(labels)),
    ]


def image_schema(identity: Identity) -> pa.Schema:
    """Columns of the table `images`: one row for each image.

    `image` is its number, `digest` the SHA-256 of its file, `labels` the selected labels, `scores` the probabilities in
    label order, `whole` the mean of the backbone's map over its places; an unreadable image has its `error` and zeros.
    """
    columns = [
        *_common_columns(len(identity.labels)),
        ("error", pa.string()),
        ("whole", vectors(identity.whole_dim)),
    ]
    return pa.schema(columns, metadata={KEY: identity.to_json()})


def feature_schema(identity: Identity) -> pa.Schema:
    """Columns of the table `features`: one row for each stored label of an image.

    In addition to those of the image: `label`, its probability `score`, whether it is `selected`, the `box` of its
    evidence `(x0, y0, x1, y1)` in fractions of the photograph, and `feature`.
    """
    columns = [
        *_common_columns(len(identity.labels)),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("selected", pa.bool_()),
        ("box", pa.list_(pa.float32(), 4)),
        ("feature", vectors(identity.dim)),
    ]
    return pa.schema(columns, metadata={KEY: identity.to_json()})


def stored_labels(labels: Sequence[str], chosen: Sequence[str] | None) -> tuple[str, ...]:
    """The labels to store, in label order; `None` for all of them.

    Raises:
        LabelwiseError: a name that the run does not have.
    """
    if chosen is None:
        return tuple(labels)
    unknown = [name for name in chosen if name not in labels]
    if unknown:
        raise LabelwiseError(f"label {unknown[0]!r}", f"one of {', '.join(labels[:8])}", "correct the name")
    return tuple(name for name in labels if name in chosen)
