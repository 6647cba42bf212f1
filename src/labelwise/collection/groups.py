"""Kinds within a label: clusters of its features, images unlike the others, and near copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from labelwise.collection.collection import Collection, vectors_of_column
from labelwise.errors import LabelwiseError
from labelwise.lazy import require_package

MOST_FEATURES = 20_000
"""Features that are grouped; of more, a random sample."""
SAMPLED = 2_000
"""Features from which the mean silhouette is computed."""
KINDS = range(2, 9)
ONE_KIND_BELOW = 0.1
"""Mean silhouette under which a label has one kind."""
NEIGHBOURS = 10
APART = 3.0
"""Deviations below the median, estimated by the median absolute deviation, from which an image stands apart."""
COPY_COSINE = 0.98
"""Least cosine of near copies."""
_BLOCK = 1024


@dataclass(frozen=True)
class Groups:
    """Kinds of a label: clusters of its features.

    An image is given by its row: `image`, `path`, `score`, `labels` and `box`.

    Args:
        label: the label.
        count: features of the label in the collection.
        grouped: features that were grouped.
        silhouettes: mean silhouette of each number of kinds that was tried.
        kinds: for each kind its `size`, and the `examples` nearest its centre, the largest kind first.
        apart: images that are unlike all others, the most unlike first, with the mean cosine to 10 neighbours.
        copies: pairs of images with a cosine of at least `COPY_COSINE`, the closest first; `same` for equal files.
    """

    label: str
    count: int
    grouped: int
    silhouettes: Mapping[int, float]
    kinds: list[dict[str, Any]]
    apart: list[dict[str, Any]]
    copies: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """The groups as JSON data."""
        return {**self.__dict__, "silhouettes": {str(k): v for k, v in self.silhouettes.items()}}


def groups_of(
    collection: Collection,
    label: str,
    *,
    kinds: int | None = None,
    examples: int = 8,
    top: int = 24,
    seed: int = 0,
) -> Groups:
    """Groups the features of a label by k-means.

    The number of kinds is that of 2 to 8 with the largest mean silhouette, or 1 where that is under 0.1.

    Args:
        collection: the collection.
        label: a stored label.
        kinds: number of kinds; `None` for the rule.
        examples: images of each kind.
        top: most images that stand apart, and most pairs of near copies.
        seed: of k-means and of samples.

    Raises:
        LabelwiseError: a label that is not stored, fewer than three features, or more kinds than features.
    """
    table = collection.features(label, ["image", "path", "score", "labels", "box", "digest", "feature"])
    count = len(table)
    if count < max(3, kinds or 0):
        raise LabelwiseError(
            f"{count} features of {label} in {collection.path}",
            f"at least {max(3, kinds or 0)}",
            "embed more images, or with --all",
        )
    rng = np.random.default_rng(seed)
    if count > MOST_FEATURES:
        table = table.take(np.sort(rng.choice(count, MOST_FEATURES, replace=False)))
    x = vectors_of_column(table["feature"], collection.identity.dim).astype(np.float32)
    rows = table.drop_columns(["feature"]).to_pylist()
    assigned, centres, silhouettes = _kinds(x, kinds, seed, rng)
    kind_rows = []
    for k in np.argsort(-np.bincount(assigned), kind="stable").tolist():
        members = np.flatnonzero(assigned == k)
        cosines = x[members] @ (centres[k] / max(float(np.linalg.norm(centres[k])), 1e-12))
        order = members[np.argsort(-cosines, kind="stable")][:examples]
        kind_rows.append({"size": len(members), "examples": [rows[i] for i in order]})
    means, pairs = _neighbours(x)
    median = float(np.median(means))
    spread = 1.4826 * float(np.median(np.abs(means - median)))
    apart = [i for i in np.argsort(means, kind="stable").tolist() if means[i] < median - APART * spread]
    return Groups(
        label,
        count,
        len(rows),
        silhouettes,
        kind_rows,
        [{**rows[i], "neighbours": float(means[i])} for i in apart[:top]],
        [_pair(rows, *pair) for pair in pairs[:top]],
    )


def _kinds(
    x: Float32[np.ndarray, "n D"], kinds: int | None, seed: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " n"], np.ndarray, dict[int, float]]:
    """The kind of each row, the centres, and the silhouettes."""
    require_package("sklearn", "groups without scikit-learn", "search")
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    sample = np.sort(rng.choice(len(x), min(SAMPLED, len(x)), replace=False))
    fits: dict[int, tuple[float, Any]] = {}
    for k in [kinds] if kinds else [k for k in KINDS if k < len(x)]:
        model = KMeans(k, n_init=4, random_state=seed).fit(x)
        sample_kinds = model.labels_[sample]
        has_several = 1 < len(np.unique(sample_kinds)) < len(sample_kinds)
        fits[k] = float(silhouette_score(x[sample], sample_kinds)) if has_several else 0.0, model
    silhouettes = {k: round(value, 4) for k, (value, _) in fits.items()}
    best = max(fits, key=lambda k: fits[k][0])
    if not kinds and fits[best][0] < ONE_KIND_BELOW:
        return np.zeros(len(x), np.int32), x.mean(0, keepdims=True), silhouettes
    return fits[best][1].labels_, fits[best][1].cluster_centers_, silhouettes


def _neighbours(
    x: Float32[np.ndarray, "n D"],
) -> tuple[Float32[np.ndarray, " n"], list[tuple[int, int, float]]]:
    """Mean cosine of each row to its nearest others, and pairs of near copies, the closest first."""
    count, means, pairs = min(NEIGHBOURS, len(x) - 1), np.empty(len(x), np.float32), []
    for first in range(0, len(x), _BLOCK):
        cosines = x[first : first + _BLOCK] @ x.T
        rows = np.arange(len(cosines))
        cosines[rows, first + rows] = -2.0
        means[first : first + _BLOCK] = np.partition(cosines, -count, axis=1)[:, -count:].mean(1)
        for i, j in np.argwhere(cosines >= COPY_COSINE).tolist():
            if first + i < j:
                pairs.append((first + i, j, float(cosines[i, j])))
    return means, sorted(pairs, key=lambda pair: -pair[2])


def _pair(rows: list[dict[str, Any]], i: int, j: int, similarity: float) -> dict[str, Any]:
    is_same_file = bool(rows[i]["digest"]) and rows[i]["digest"] == rows[j]["digest"]
    return {"similarity": similarity, "same": is_same_file, "images": [rows[i], rows[j]]}
