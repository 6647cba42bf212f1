"""Images on which two models select different labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError
from labelwise.inference.predictor import Predictor


@dataclass(frozen=True)
class Disagreement:
    """A label of an image that one model selects and the other does not.

    Args:
        row: of the image in the data set.
        image: its id.
        label: the label.
        scores: probabilities of both models.
        selected: whether each model selects it.
        truth: the label in the data set; `None` where it is unknown.
    """

    row: int
    image: str
    label: str
    scores: tuple[float, float]
    selected: tuple[bool, bool]
    truth: bool | None

    def to_json(self) -> dict[str, Any]:
        """The cells of the row in a table."""
        return {
            "image": self.image,
            "label": self.label,
            "score_a": self.scores[0],
            "score_b": self.scores[1],
            "selected_a": self.selected[0],
            "selected_b": self.selected[1],
            "truth": self.truth,
        }


@dataclass(frozen=True)
class Disagreements:
    """Differences between two models.

    Args:
        images: images that both models could read.
        unreadable: the others.
        labels: for each common label its counts: `both`, `neither`, `only_a`, `only_b`, and of the latter two those
            that are known and right: `right_a` where A is right, `right_b` where B is.
        cells: the differences, the largest difference of probabilities first.
        only_in: labels that only A has, and only B.
    """

    images: int
    unreadable: int
    labels: dict[str, dict[str, int]]
    cells: list[Disagreement]
    only_in: tuple[tuple[str, ...], tuple[str, ...]]

    def to_json(self) -> dict[str, Any]:
        """The differences as JSON data."""
        return {
            "images": self.images,
            "unreadable": self.unreadable,
            "labels": self.labels,
            "only_in_a": list(self.only_in[0]),
            "only_in_b": list(self.only_in[1]),
            "disagreements": [cell.to_json() for cell in self.cells],
        }


def disagreements(
    models: tuple[Predictor, Predictor],
    rows: Dataset,
    labels: Sequence[str] | None = None,
    *,
    batch_size: int = 32,
    workers: int = 0,
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> Disagreements:
    """Predicts all images with two models and lists the labels that one of them selects.

    Args:
        models: A and B.
        rows: the images; their known labels say which model is right.
        labels: the labels to compare; `None` for all that both have.
        batch_size: images per batch.
        workers: decoding processes.
        on_images: called after each image with the number done and of all, over both models.

    Raises:
        LabelwiseError: a label that one of the models does not have, or no common label.
    """
    common = _common_labels(models, labels)
    scores, selections, readable = [], [], np.ones(len(rows), bool)
    for number, model in enumerate(models):
        p, selection = np.zeros((len(rows), len(common))), np.zeros((len(rows), len(common)), bool)
        sources = [rows.encoded(i) for i in range(len(rows))]
        predictions = model.predict(sources, batch_size=batch_size, workers=workers)
        for i, prediction in enumerate(predictions):
            if prediction.error is not None:
                readable[i] = False
            else:
                p[i] = [prediction.scores[name] for name in common]
                selection[i] = np.isin(common, prediction.selected)
            on_images(number * len(rows) + i + 1, 2 * len(rows))
        scores.append(p)
        selections.append(selection)
    truth = _truth(rows, common)
    a, b = (picked & readable[:, None] for picked in selections)
    positions = np.argwhere(a != b)
    order = np.argsort(-np.abs(scores[0] - scores[1])[positions[:, 0], positions[:, 1]], kind="stable")
    cells = [
        Disagreement(
            int(i),
            rows.image_id(int(i)),
            common[j],
            (float(scores[0][i, j]), float(scores[1][i, j])),
            (bool(a[i, j]), bool(b[i, j])),
            truth[i][j],
        )
        for i, j in positions[order]
    ]
    counts = {
        name: {
            "both": int((a & b)[:, j].sum()),
            "neither": int((~a & ~b)[readable, j].sum()),
            "only_a": int((a & ~b)[:, j].sum()),
            "only_b": int((b & ~a)[:, j].sum()),
            "right_a": sum(c.label == name and c.truth is c.selected[0] for c in cells),
            "right_b": sum(c.label == name and c.truth is c.selected[1] for c in cells),
        }
        for j, name in enumerate(common)
    }
    names = [model.labels.names for model in models]
    only_in = tuple(n for n in names[0] if n not in names[1]), tuple(n for n in names[1] if n not in names[0])
    return Disagreements(int(readable.sum()), int((~readable).sum()), counts, cells, only_in)


def _common_labels(models: tuple[Predictor, Predictor], labels: Sequence[str] | None) -> list[str]:
    """Labels that both models have, or those of them that were requested."""
    first, second = (model.labels.names for model in models)
    common = [name for name in first if name in second]
    if not common:
        raise LabelwiseError(
            "two runs without a common label", "runs that share labels", "compare runs of one task"
        )
    unknown = [name for name in labels or () if name not in common]
    if unknown:
        raise LabelwiseError(
            f"label {unknown[0]!r}, which not both runs have", f"one of {', '.join(common[:8])}", "correct it"
        )
    return [name for name in common if labels is None or name in labels]


def _truth(rows: Dataset, names: Sequence[str]) -> list[list[bool | None]]:
    """For each image whether each label is present; `None` where it is unknown."""
    columns = [rows.labels.names.index(n) if n in rows.labels.names else None for n in names]
    positive = rows.values >= 0.5
    return [
        [None if j is None or not rows.known[i, j] else bool(positive[i, j]) for j in columns]
        for i in range(len(rows))
    ]
