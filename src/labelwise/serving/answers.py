"""The server's use of the predictor: decoding apart from the engine, and answers as JSON data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labelwise.decisions.projection import projection
from labelwise.inference.prediction import Prediction
from labelwise.inference.predictor import Predictor
from labelwise.serving.batcher import QueuedImage
from labelwise.serving.limits import Limits, Refused

SHOWN = 20
"""Number of the most probable labels of an image with maps in the answer, in addition to the selected ones."""


class Answers:
    """The server's operations on a predictor.

    Args:
        predictor: a loaded run or exported folder.
        limits: provides the maximum number of pixels of an image.
    """

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        self._predictor, self._limits = predictor, limits
        self.names = predictor.labels.names
        self._columns = {name: j for j, name in enumerate(self.names)}
        engine: Any = predictor.engine
        takes_states = getattr(getattr(engine, "model", None), "takes_states", False)  # a model in PyTorch
        self._stateful_engine = engine if takes_states else None

    def decode(self, data: bytes | np.ndarray) -> Any:
        """Decodes and transforms an image, a file or upright pixels `[H, W, 3]`, for the engine.

        Raises:
            UnreadableImage: not an image, damaged, or too many pixels.
        """
        transform = self._predictor.transform
        if isinstance(data, np.ndarray):
            return transform(transform.accept(data.transpose(2, 0, 1)))
        return transform(transform.decode(data, max_pixels=self._limits.pixels))

    def answer(self, queries: Sequence[QueuedImage]) -> list[Prediction]:
        """Predictions of a batch; queries with maps or known states are computed apart from those without."""
        answers: dict[int, Prediction] = {}
        for maps in (False, True):
            for has_states in (False, True):
                rows = [i for i, q in enumerate(queries) if q.maps == maps and bool(q.states) == has_states]
                if rows:
                    states = [queries[i].states for i in rows] if has_states else None
                    answers |= zip(
                        rows, self._predict([queries[i].image for i in rows], maps, states), strict=True
                    )
        return [answers[i] for i in range(len(queries))]

    @property
    def has_maps(self) -> bool:
        """Whether the engine returns evidence maps."""
        return self._predictor.engine.has_maps

    def check(self, maps: bool, states: Mapping[str, bool]) -> None:
        """Refuses what this model does not support.

        Raises:
            Refused: 400, maps of an export without them, states of an unknown label, or states for a method that does
                not accept them.
        """
        if maps and not self.has_maps:
            raise Refused(
                400, "maps of an export without them", "an export with maps", "export again with --maps"
            )
        if states and self._stateful_engine is None:
            raise Refused(
                400, "label states for a model that cannot use them", "no `states`", "leave them out"
            )
        for name in states:
            if name not in self._columns:
                raise Refused(400, f"a state of the label {name!r}", "a name of GET /labels", "correct it")

    def describe(self) -> dict[str, Any]:
        """The labels in their order with their thresholds and rules, and the model's properties for the page."""
        decisions, names = self._predictor.decisions, self.names
        never = [j in decisions.never for j in range(len(names))]
        rows = zip(names, decisions.thresholds, decisions.scale, decisions.bias, never, strict=True)
        return {
            "labels": [
                {
                    "name": name,
                    "threshold": float(threshold),
                    "scale": float(scale),
                    "bias": float(bias),
                    "never_selected": is_never,
                }
                for name, threshold, scale, bias, is_never in rows
            ],
            "groups": [
                {"name": name, "labels": list(group.labels), "exclusive": group.exclusive}
                for name, group in self._predictor.labels.groups.items()
            ],
            "exclusive": [[names[j] for j in group] for group in decisions.exclusive],
            "rules": {
                "implies": [[names[j] for j in pair] for pair in decisions.implies],
                "exactly_one": [[names[j] for j in group] for group in decisions.exactly_one],
                "parts": [part.to_json(names) for part in projection(decisions.rules).parts],
            },
            "top_k": decisions.top_k,
            "engine": self._predictor.engine.name,
            "takes_states": self._stateful_engine is not None,
            "gives_maps": self.has_maps,
            "view": {
                "resize": self._predictor.transform.config.resize,
                "size": list(self._predictor.transform.config.size),
            },
            "limits": {"files": self._limits.files, "request_bytes": self._limits.request_bytes},
        }

    def _predict(
        self, images: list[Any], maps: bool, states: list[Mapping[str, bool]] | None
    ) -> list[Prediction]:
        predictor = self._predictor
        if states is not None and self._stateful_engine is not None:
            from labelwise.serving.states import EngineWithStates

            engine = EngineWithStates(self._stateful_engine, self._columns, states)
            predictor = Predictor(predictor.labels, predictor.decisions, predictor.transform, engine)
        return predictor.of_prepared(images, maps)


def as_json(prediction: Prediction, name: str) -> dict[str, Any]:
    """The line of `labelwise predict --json`, with `map` (rows of shares) for the selected and most probable labels.

    Args:
        prediction: of one image.
        name: the image's name in the answer.
    """
    line = {**prediction.to_json(), "image": name}
    if prediction.maps is not None:
        for rank, label in enumerate(line["labels"]):
            if rank < SHOWN or label["selected"]:
                label["map"] = [[round(float(x), 6) for x in row] for row in prediction.map(label["name"])]
    return line
