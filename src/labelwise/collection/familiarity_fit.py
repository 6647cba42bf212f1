"""Fits familiarity: stores a sample of a run's training features, and the distances of its validation images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from labelwise.collection.features import Embedder
from labelwise.collection.schema import LABEL
from labelwise.data.dataset import Dataset
from labelwise.data.loading import eval_loader
from labelwise.errors import LabelwiseError
from labelwise.export.artefact import sha256
from labelwise.inference.familiarity import Familiarity, distances
from labelwise.inference.predictor import Predictor
from labelwise.runs.run import WEIGHTS, Run

IMAGES, PER_LABEL = 4_000, 100
"""Training images of the sample, and features stored for each label, at most."""
FEWEST = 99
"""Validation images that a p-value of 1 % needs."""


@dataclass(frozen=True)
class Fit:
    """What was stored.

    Args:
        path: of the file.
        size: of it, in bytes.
        images, features: training images and label features.
        val, labels: validation images, and labels selected in them.
    """

    path: Path
    size: int
    images: int
    features: int
    val: int
    labels: int


def fit_familiarity(
    run: str | Path,
    data: Dataset,
    *,
    batch_size: int = 32,
    workers: int = 0,
    on_note: Callable[[str], None] = lambda note: None,
) -> Fit:
    """Stores training features with a run, so that its predictions mark images that resemble none of them.

    Args:
        run: a run's folder.
        data: its data, with splits `train` and `val`.
        batch_size: images per batch.
        workers: decoding processes.
        on_note: called with each note to the user.

    Raises:
        LabelwiseError: no such splits, other labels, or no readable image.
    """
    from labelwise.evaluation.labels import same_labels

    opened = Run.open(run)
    embedder = Embedder(Predictor(opened), LABEL)
    trained = len(opened.labels) - len(opened.config.taught.labels)
    data = same_labels(data, opened.labels.names)
    train, val = data.split("train"), data.split("val")
    rows = np.random.default_rng(0).permutation(len(train))[:IMAGES]
    train = train.take(np.sort(rows))
    images, features, present, _ = _features_of(embedder, train, batch_size, workers)
    val_whole, val_features, _, selected = _features_of(embedder, val, batch_size, workers)
    if not len(images) or not len(val_whole):
        raise LabelwiseError("no readable image in train or val", "some of both", "check the data")
    if len(val_whole) < FEWEST:
        on_note(
            f"{len(val_whole)} validation images: no p-value reaches 1 %, so no image is called unfamiliar"
        )
    label_features, columns = [], []
    for j in range(trained):
        rows = np.flatnonzero(present[:, j])[:PER_LABEL]
        label_features.append(features[rows, j].astype(np.float32))
        columns.append(np.full(len(rows), j))
    familiarity = Familiarity(
        images,
        np.sort(distances(val_whole, images)),
        np.concatenate(label_features),
        np.concatenate(columns),
        np.zeros(0, np.float32),
        sha256(opened.path / WEIGHTS),
    )
    label_distances = [
        distances(val_features[selected[:, j], j], familiarity.features[familiarity.labels == j])
        for j in range(trained)
        if selected[:, j].any() and (familiarity.labels == j).any()
    ]
    reference = np.sort(np.concatenate(label_distances)) if label_distances else np.zeros(0, np.float32)
    familiarity = replace(familiarity, label_distances=reference)
    path = familiarity.save(opened.path)
    size, features_stored = path.stat().st_size, len(familiarity.features)
    return Fit(path, size, len(images), features_stored, len(val_whole), len(reference))


def _features_of(
    embedder: Embedder, rows: Dataset, batch_size: int, workers: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Whole-image features, label features, known positives and selected labels of readable images."""
    loader = eval_loader(rows, embedder.predictor.transform, batch_size=batch_size, workers=workers)
    parts: list[tuple[np.ndarray, ...]] = []
    try:
        for batch in loader:
            result = embedder(batch.images, maps=False)
            unreadable = {row for row, _ in batch.unreadable}
            readable = np.array([int(i) not in unreadable for i in batch.index])
            positive = ((batch.targets.values >= 0.5) & batch.targets.known).numpy()
            arrays = (result.whole, result.features, positive, result.chosen)
            parts.append(tuple(np.asarray(part)[readable] for part in arrays))
    finally:
        loader.close()
    whole, features, positive, chosen = (np.concatenate(part) for part in zip(*parts, strict=True))
    return whole.astype(np.float32), features, positive, chosen
