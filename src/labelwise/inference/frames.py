"""Predictions of images in data frames, as a function for Spark's `mapInPandas`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labelwise.errors import LabelwiseError
from labelwise.inference.folders import answer, decode_input
from labelwise.inference.loading import load
from labelwise.inference.parts import PartPredictions

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "image string, error string, selected array<string>, scores array<float>"
Frames = Iterator["pd.DataFrame"]


def in_frames(model: str | Path, batch_size: int = 32) -> Callable[[Frames], Frames]:
    """A function over data frames, for `frame.mapInPandas(in_frames(model), SCHEMA)` of Spark, or for pandas alone.

    Frames hold `image`, a path that every worker can read, and optionally `content`, the encoded bytes as returned by
    Spark's `binaryFile` source, which are then read instead of the file. The output has `image`, `error`, `selected`,
    and `scores`, probabilities in the order of `labelwise.load(model).labels`. The model is opened once for each
    worker's share of the frames.

    Args:
        model: a run, an exported folder, or a hub id; every worker opens it itself.
        batch_size: images per batch.

    Raises:
        LabelwiseError: frames without the column `image`.
    """

    def answers(frames: Frames) -> Frames:
        predictor = load(model)
        for frame in frames:
            if "image" not in frame:
                raise LabelwiseError(
                    f"a frame with columns {', '.join(map(str, frame.columns))}",
                    "the column image",
                    "rename the column of paths to image",
                )
            source = frame["content"].map(bytes) if "content" in frame else frame["image"]
            for start in range(0, len(frame), batch_size):
                rows = slice(start, start + batch_size)
                inputs = [decode_input(predictor.transform, s) for s in source.iloc[rows]]
                images, errors = [image for image, _ in inputs], [error for _, error in inputs]
                predictions = answer(predictor, np.arange(len(inputs)), images, errors)
                yield _frame(frame["image"].iloc[rows].tolist(), predictions, predictor.labels.names)

    return answers


def _frame(images: list[str], answers: PartPredictions, names: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    columns = {
        "image": images,
        "error": [error or None for error in answers.errors],
        "selected": answers.selected(names),
        "scores": [None if e else s.tolist() for s, e in zip(answers.scores, answers.errors, strict=True)],
    }
    return pd.DataFrame(columns, dtype=object)
