"""Teaches a run a new label from a few examples, on the stored features of a collection."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.collection.collection import Collection
from labelwise.collection.few import Space, fit_few
from labelwise.collection.schema import weights_digest
from labelwise.collection.taught_run import write_run
from labelwise.errors import LabelwiseError
from labelwise.runs.files import new_folder
from labelwise.runs.run import Run
from labelwise.types import LabelSet

MOST = 20_000
"""Images of the collection that serve as other images; of larger collections every k-th."""
SAMPLE, FEWEST = 5_000, 2
"""Images that the covariance is computed from, at most, and positives, at least."""


@dataclass(frozen=True)
class Taught:
    """A taught label.

    Args:
        name: of the label.
        out: the new run.
        positives, negatives, others: numbers of examples, and of unlabelled images taken as negatives at large.
        rank: mean share of the other images that a positive left out ranks above; .5 is chance.
        low, high: its interval at 90 %.
        p_value: of "no better than chance".
        learned: whether it is better than chance; a label that is not learned is never selected.
        threshold: probability from which the label is selected.
        prevalence: estimated share of the collection that has the label.
        seconds: time taken.
    """

    name: str
    out: Path
    positives: int
    negatives: int
    others: int
    rank: float
    low: float
    high: float
    p_value: float
    learned: bool
    threshold: float
    prevalence: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The result as JSON data."""
        return {**self.__dict__, "out": str(self.out)}

    def sentence(self) -> str:
        """The confidence in words."""
        figures = (
            f"{100 * self.rank:.0f} % of the other images ({100 * self.low:.0f} to {100 * self.high:.0f})"
        )
        if not self.learned:
            return (
                f"{self.name}: not learned, and never selected: an example that was left out ranks above "
                f"{figures}, no better than chance"
            )
        return f"{self.name}: an example that was left out ranks above {figures}"


def teach(
    run: str | Path,
    collection: str | Path | Collection,
    name: str,
    positives: Sequence[str | Path],
    negatives: Sequence[str | Path] = (),
    out: str | Path = "",
    *,
    device: str | None = None,
) -> Taught:
    """Adds a label to a run from a few examples; the outputs of its other labels do not change.

    Examples are photographs of the collection, recognised by their content, or others, which are embedded. All images
    of the collection that are not examples, at most 20,000 of them, serve as other images.

    Args:
        run: the run of the collection, or one taught from it.
        collection: its folder, or an open one.
        name: of the new label.
        positives: image files that have it, two or more.
        negatives: image files that do not.
        out: a new folder for the run with the label.
        device: for photographs that are not in the collection; `None` uses a GPU if there is one.

    Raises:
        LabelwiseError: a name that exists, a collection of another run, too few or contradictory examples, an
            unreadable photograph, or a folder that holds something; nothing is written then.
    """
    started = time.perf_counter()
    opened, examples = examples_of(run, collection, name, positives, negatives, device)
    target = new_folder(out)
    fitted = fit_few(examples.space, examples.positives, examples.negatives, examples.others)
    write_run(opened, target, name, fitted, len(examples.positives), examples.base)
    return Taught(
        name,
        target,
        len(examples.positives),
        len(examples.negatives),
        len(examples.others),
        fitted.rank,
        fitted.low,
        fitted.high,
        fitted.p_value,
        fitted.learned,
        fitted.threshold,
        fitted.prevalence,
        time.perf_counter() - started,
    )


@dataclass(frozen=True)
class Examples:
    """Features of examples and of other images of a collection.

    Args:
        positives, negatives, others: `[p, C]`, `[n, C]` and `[N, C]`, whole-image features.
        paths: of the others.
        images: numbers of the others in the collection.
        space: fitted to the features of the collection.
        base: digest of the weights of the collection's run.
    """

    positives: np.ndarray
    negatives: np.ndarray
    others: np.ndarray
    paths: tuple[str, ...]
    images: np.ndarray
    space: Space
    base: str


def examples_of(
    run: str | Path,
    collection: str | Path | Collection,
    name: str,
    positives: Sequence[str | Path],
    negatives: Sequence[str | Path],
    device: str | None = None,
) -> tuple[Run, Examples]:
    """The run, and the features of examples and other images; see `teach`."""
    opened_run = Run.open(run)
    if name in opened_run.labels.names:
        raise LabelwiseError(
            f"label {name!r}, which {run} has already", "a new name", "choose another --name"
        )
    LabelSet((*opened_run.labels.names, name))  # refuses an empty name
    if opened_run.decisions().top_k:
        raise LabelwiseError(
            f"run {run}, which selects only its {opened_run.decisions().top_k} most probable labels",
            "thresholds, since a new label would change what is selected",
            f"run: labelwise tune {run}",
        )
    opened_collection = collection if isinstance(collection, Collection) else Collection.open(collection)
    _refuse_other_run(opened_run, opened_collection)
    positive, negative = ({_digest(path): str(path) for path in paths} for paths in (positives, negatives))
    if twice := [positive[digest] for digest in positive if digest in negative]:
        raise LabelwiseError(
            f"{twice[0]} as a positive and as a negative",
            "each photograph once",
            "take it out of one of them",
        )
    if (count := len(positive)) < FEWEST:
        raise LabelwiseError(
            f"{count} different positive" + "s" * (count != 1), "two photographs or more", "add some"
        )
    images = opened_collection.images(("image", "path", "digest", "error")).sort_by("image")
    digests, errors = images["digest"].to_pylist(), images["error"].to_pylist()
    numbers = {d: i for i, (d, error) in enumerate(zip(digests, errors, strict=True)) if error is None}
    step = -(-len(images) // MOST)
    examples = {digest: numbers[digest] for digest in (*positive, *negative) if digest in numbers}
    others = np.array(
        [
            i
            for i in range(0, len(images), step)
            if errors[i] is None and digests[i] not in positive and digests[i] not in negative
        ],
        np.int64,
    )
    if not len(others) and not negative:
        raise LabelwiseError(
            "no negatives, and no image of the collection besides the positives", "some", "add --negatives"
        )
    rows = np.unique(np.concatenate([others, np.array(list(examples.values()), np.int64)]))
    stored = dict(zip(rows.tolist(), opened_collection.whole(rows), strict=True))
    embedded = _embed({d: p for d, p in (positive | negative).items() if d not in numbers}, run, device)
    features = {d: stored[examples[d]] if d in examples else embedded[d] for d in (*positive, *negative)}
    dim = opened_collection.identity.whole_dim
    p, n = (
        np.array([features[d] for d in group], np.float64).reshape(-1, dim) for group in (positive, negative)
    )
    vectors = np.array([stored[i] for i in others.tolist()], np.float64).reshape(-1, dim)
    sample = vectors[:: -(-len(vectors) // SAMPLE)] if len(vectors) else vectors
    space = Space(np.concatenate([sample, p, n]))
    paths = images["path"].take(others).to_pylist()
    return opened_run, Examples(
        p, n, vectors, tuple(paths), others, space, opened_collection.identity.weights
    )


def _refuse_other_run(run: Run, collection: Collection) -> None:
    """Raises an error unless the run made the collection, or was taught from the run that did."""
    base = run.config.taught.run or weights_digest(run.path)
    if base != collection.identity.weights:
        raise LabelwiseError(
            f"run {run.path} with other weights than the run of {collection.path}",
            f"the run that made it ({collection.identity.run}), or one taught from it",
            "name that run, or embed again",
        )


def _digest(path: str | Path) -> str:
    """SHA-256 of a photograph's file."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise LabelwiseError(
            f"photograph {os.fspath(path)} ({error.strerror})", "an image file", "correct the path"
        ) from None


def _embed(files: dict[str, str], run: str | Path, device: str | None) -> dict[str, np.ndarray]:
    """Whole-image features of files, by their digests."""
    if not files:
        return {}
    from labelwise.collection.features import Embedder
    from labelwise.collection.schema import LABEL
    from labelwise.inference.inputs import decode_upright
    from labelwise.inference.loading import load

    embedder = Embedder(load(run, device), LABEL)
    computed = {}
    for digest, path in files.items():
        pixels = embedder.predictor.transform(decode_upright(path, embedder.predictor.transform, []))
        computed[digest] = embedder(pixels[None], maps=False).whole[0]
    return computed
