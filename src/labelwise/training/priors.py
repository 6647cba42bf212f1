"""Label priors before the first step: word vectors, and counts of the training rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from labelwise.data.vectors import read_vectors
from labelwise.errors import LabelwiseError
from labelwise.runs.config import Config
from labelwise.types import LabelPriors, LabelSet, Targets

CELLS = 1 << 20
"""Cells counted at once."""


def word_vectors(config: Config, labels: LabelSet) -> tuple[Config, Float[Tensor, "L V"] | None]:
    """The vectors, and the settings with the width, the missing labels and the digests of their source.

    Raises:
        LabelwiseError: see `read_vectors`; also descriptions of labels with learned vectors.
    """
    settings = config.vectors
    if settings.source == "learned":
        if settings.descriptions:
            raise LabelwiseError(
                "vectors.descriptions with vectors.source=learned",
                "a sentence-transformers model, which reads sentences",
                "name a model as vectors.source, or leave vectors.descriptions out",
            )
        return config, None
    loaded = read_vectors(settings.source, labels.names, settings.descriptions)
    update = {
        "dim": loaded.vectors.shape[1],
        "missing": list(loaded.missing),
        "digest": loaded.digest,
        "texts_digest": loaded.texts_digest,
    }
    settings = settings.model_copy(update=update)
    return config.model_copy(update={"vectors": settings}), torch.from_numpy(loaded.vectors)


def count_priors(
    values: Shaped[np.ndarray, "N L"],
    known: Bool[np.ndarray, "N L"],
    vectors: Float[Tensor, "L V"] | None = None,
    missing: Sequence[str] = (),
) -> LabelPriors:
    """Counts of the label states, a block of rows at a time, so that no float copy of all cells is made.

    Args:
        values: `[N, L]` in [0, 1]; ignored where not known.
        known: `[N, L]`.
        vectors, missing: as `LabelPriors` takes them.

    >>> count_priors(np.array([[1, 1], [1, 0]], np.uint8), np.array([[True, True], [True, False]])).known.tolist()
    [2.0, 1.0]
    """
    rows, labels = values.shape
    priors, step = LabelPriors.nothing(labels, vectors, missing), max(1, CELLS // labels)
    for start in range(0, rows, step):
        part = slice(start, start + step)
        block = Targets(torch.tensor(values[part], dtype=torch.float32), torch.tensor(known[part]))
        priors += LabelPriors.count(block)
    return priors
