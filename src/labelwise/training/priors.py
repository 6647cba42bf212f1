"""What is known of the labels before the first step: their vectors, and counts of the training rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from labelwise.data.vectors import read_vectors
from labelwise.errors import LabelwiseError
from labelwise.training.config import Config
from labelwise.types import LabelPriors, LabelSet, Targets

CELLS = 1 << 20
"""Cells that are counted at once."""


def word_vectors(config: Config, labels: LabelSet) -> tuple[Config, Float[Tensor, "L V"] | None]:
    """The settings with the width, the gaps and the digests of the source of vectors that they name, and the vectors.

    Raises:
        LabelwiseError: see `read_vectors`; descriptions of labels whose vectors are learned.
    """
    asked = config.vectors
    if asked.source == "learned":
        if asked.descriptions:
            raise LabelwiseError(
                "vectors.descriptions with vectors.source=learned",
                "a sentence-transformers model, which reads sentences",
                "name a model as vectors.source, or leave vectors.descriptions out",
            )
        return config, None
    found = read_vectors(asked.source, labels.names, asked.descriptions)
    update = {
        "dim": found.vectors.shape[1],
        "missing": list(found.missing),
        "digest": found.digest,
        "texts_digest": found.texts_digest,
    }
    vectors = asked.model_copy(update=update)
    return config.model_copy(update={"vectors": vectors}), torch.from_numpy(found.vectors)


def count_priors(
    values: Shaped[np.ndarray, "N L"],
    known: Bool[np.ndarray, "N L"],
    vectors: Float[Tensor, "L V"] | None = None,
    missing: Sequence[str] = (),
) -> LabelPriors:
    """Counts of the label states of many rows, a block of rows at a time: no float copy of all cells is made.

    Args:
        values: `[N, L]` in [0, 1]; what stands where a cell is not known does not matter.
        known: `[N, L]`.
        vectors, missing: as `LabelPriors` takes them.

    >>> count_priors(np.array([[1, 1], [1, 0]], np.uint8), np.array([[True, True], [True, False]])).known.tolist()
    [2.0, 1.0]
    """
    rows, labels = values.shape
    found, step = LabelPriors.nothing(labels, vectors, missing), max(1, CELLS // labels)
    for start in range(0, rows, step):
        part = slice(start, start + step)
        block = Targets(torch.tensor(values[part], dtype=torch.float32), torch.tensor(known[part]))
        found += LabelPriors.count(block)
    return found
