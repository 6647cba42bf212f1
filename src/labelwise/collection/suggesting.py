"""The photographs of a collection whose answer would help a new label most, and lists of them to be answered."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from labelwise.collection.collection import Collection
from labelwise.collection.few import fit_few
from labelwise.collection.teaching import examples_of
from labelwise.data.review import COLUMNS
from labelwise.errors import LabelwiseError
from labelwise.runs.files import new_folder, save_csv, write_json

SUGGESTIONS = "suggestions.csv"
WIDTH = 3
"""Most probable images per suggestion, among which unlike ones are chosen."""


@dataclass(frozen=True)
class Suggestion:
    """A photograph to be answered.

    Args:
        rank: from 1 on.
        path: of the photograph.
        probability: of the label, by the examples so far.
    """

    rank: int
    path: str
    probability: float


def suggest(
    run: str | Path,
    collection: str | Path | Collection,
    name: str,
    positives: Sequence[str | Path],
    negatives: Sequence[str | Path] = (),
    count: int = 20,
    *,
    device: str | None = None,
) -> list[Suggestion]:
    """The next photographs to answer for a new label: see `choose`.

    Args:
        run, collection, name, positives, negatives, device: as `teach` takes them.
        count: number of photographs.

    Raises:
        LabelwiseError: as `teach`.
    """
    _, examples = examples_of(run, collection, name, positives, negatives, device)
    fitted = fit_few(examples.space, examples.positives, examples.negatives, examples.others)
    logits = examples.others @ fitted.weight + fitted.bias
    chosen = choose(logits, examples.space(examples.others), count)
    return [
        Suggestion(rank, examples.paths[i], float(1 / (1 + np.exp(-logits[i]))))
        for rank, i in enumerate(chosen, 1)
    ]


def choose(scores: np.ndarray, features: np.ndarray, count: int) -> list[int]:
    """Images to answer: the most probable one, then of the `3 count` most probable ones each time the least similar.

    A new label is rare, so that positives teach more than images whose answer is most uncertain.

    Args:
        scores: `[N]`.
        features: `[N, D]`, compared by their cosine.
        count: number of images.

    Returns:
        indices, in the order of their choice.
    """
    pool = np.argsort(-scores, kind="stable")[: WIDTH * count]
    units = features[pool] / np.maximum(np.linalg.norm(features[pool], axis=1, keepdims=True), 1e-12)
    nearest, chosen = np.full(len(pool), -np.inf), list[int]()
    for _ in range(min(count, len(pool))):
        index = int(nearest.argmin())  # the first of equals, which is the most probable one
        chosen.append(index)
        nearest = np.maximum(nearest, units @ units[index])
        nearest[chosen] = np.inf
    return pool[chosen].tolist()


def write_suggestions(out: Path, name: str, suggestions: Sequence[Suggestion]) -> None:
    """Writes a list to be answered.

    Args:
        out: `.json`; `.csv`, with an empty column `answer` for 1 or 0; or a new folder for the review page, with
            copies of the photographs.
        name: of the label.
        suggestions: of `suggest`.

    Raises:
        LabelwiseError: a folder that holds something, or a photograph that is gone.
    """
    if out.suffix.lower() == ".json":
        write_json(out, {"label": name, "suggestions": [asdict(s) for s in suggestions]})
    elif out.suffix.lower() == ".csv":
        rows = [(s.rank, s.path, s.probability, "") for s in suggestions]
        save_csv(out, [("rank", "path", "probability", "answer") if rows else COLUMNS, *rows])
    else:
        _write_review(out, name, suggestions)


def _write_review(out: Path, name: str, suggestions: Sequence[Suggestion]) -> None:
    """A folder that `labelwise serve --review` opens: "change" answers yes, "keep" answers no."""
    new_folder(out).mkdir(parents=True, exist_ok=True)
    rows = []
    for s in suggestions:
        file = f"{s.rank:03}{Path(s.path).suffix}"
        try:
            shutil.copyfile(s.path, out / file)
        except OSError as error:
            raise LabelwiseError(
                f"photograph {s.path} ({error.strerror})", "the files of the collection", "embed again"
            ) from None
        text = f"{s.probability:.4f}"
        values = (s.rank, file, name, "0", "1", "missing", text, text, f"Does it have the label {name}?")
        rows.append(values)
    save_csv(out / SUGGESTIONS, [COLUMNS, *rows])
