"""The predictor as the server uses it: decoding apart from the engine, and answers as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labelwise.decisions.projection import projection
from labelwise.export.engines import Eager
from labelwise.serving.batcher import Ask
from labelwise.serving.limits import Limits, Refused
from labelwise.serving.predictor import Prediction, Predictor
from labelwise.types import Targets

SHOWN = 20
"""Labels of an image whose maps are sent, beyond the selected ones: the highest."""


class Told:
    """A model in PyTorch that is told what is known of each image of one batch.

    Args:
        engine: of a method that takes states.
        columns: label -> column.
        states: of each image, label -> present or absent.
    """

    gives_maps = True

    def __init__(
        self, engine: Eager, columns: Mapping[str, int], states: Sequence[Mapping[str, bool]]
    ) -> None:
        values = torch.full((len(states), len(columns)), torch.nan)
        for row, known in enumerate(states):
            for name, present in known.items():
                values[row, columns[name]] = float(present)
        self._engine, self._states = engine, Targets.of(values).to(engine.device)
        self.name = engine.name

    @torch.inference_mode()
    def __call__(self, images: Tensor, want_maps: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        """The answer to the batch."""
        output = self._engine.model(images.to(self._engine.device), want_maps=want_maps, states=self._states)
        maps = output.maps.float().cpu().numpy() if want_maps and output.maps is not None else None
        return output.logits.float().cpu().numpy(), maps


class Answers:
    """What the server does with a predictor.

    Args:
        predictor: a run or an exported folder, loaded.
        limits: the most pixels of an image.
    """

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        self._predictor, self._limits = predictor, limits
        self.names = predictor.labels.names
        self._columns = {name: j for j, name in enumerate(self.names)}
        engine = predictor.engine
        self._told = engine if isinstance(engine, Eager) and engine.model.takes_states else None

    def decode(self, data: bytes) -> Tensor:
        """An image as the engine takes it.

        Raises:
            UnreadableImage: no image, damaged, or too many pixels.
        """
        transform = self._predictor.transform
        return transform(transform.decode(data, max_pixels=self._limits.pixels))

    def answer(self, asks: Sequence[Ask]) -> list[Prediction]:
        """Predictions of a batch; those with maps or told states are computed apart from those without."""
        found: dict[int, Prediction] = {}
        for maps in (False, True):
            for told in (False, True):
                rows = [i for i, a in enumerate(asks) if a.maps == maps and bool(a.states) == told]
                if rows:
                    states = [asks[i].states for i in rows] if told else None
                    found |= zip(
                        rows, self._predict([asks[i].image for i in rows], maps, states), strict=True
                    )
        return [found[i] for i in range(len(asks))]

    @property
    def gives_maps(self) -> bool:
        """Whether evidence can be asked for."""
        return self._predictor.engine.gives_maps

    def check(self, maps: bool, states: Mapping[str, bool]) -> None:
        """Refuse what this model cannot do.

        Raises:
            Refused: 400, maps of an export without them, states of a label that is not the model's, or states for a
                method that takes none.
        """
        if maps and not self.gives_maps:
            raise Refused(
                400, "maps of an export without them", "one that gives them", "export again with --maps"
            )
        if states and self._told is None:
            raise Refused(
                400, "label states for a model that cannot use them", "no `states`", "leave them out"
            )
        for name in states:
            if name not in self._columns:
                raise Refused(400, f"a state of the label {name!r}", "a name of GET /labels", "correct it")

    def describe(self) -> dict[str, Any]:
        """The labels with what decides about them, in their order, and what the page needs to know."""
        d, names = self._predictor.decisions, self.names
        never = [j in d.never for j in range(len(names))]
        rows = zip(names, d.thresholds, d.scale, d.bias, never, strict=True)
        return {
            "labels": [
                {"name": n, "threshold": float(t), "scale": float(s), "bias": float(b), "never_selected": no}
                for n, t, s, b, no in rows
            ],
            "exclusive": [[names[j] for j in group] for group in d.exclusive],
            "rules": {
                "implies": [[names[j] for j in pair] for pair in d.implies],
                "exactly_one": [[names[j] for j in group] for group in d.exactly_one],
                "parts": [part.to_json(names) for part in projection(d.rules).parts],
            },
            "top_k": d.top_k,
            "takes_states": self._told is not None,
            "gives_maps": self.gives_maps,
            "view": {
                "resize": self._predictor.transform.config.resize,
                "size": list(self._predictor.transform.config.size),
            },
            "limits": {"files": self._limits.files, "request_bytes": self._limits.request_bytes},
        }

    def _predict(
        self, images: list[Tensor], maps: bool, states: list[Mapping[str, bool]] | None
    ) -> list[Prediction]:
        predictor = self._predictor
        if states is not None and self._told is not None:
            told = Told(self._told, self._columns, states)
            predictor = Predictor(predictor.labels, predictor.decisions, predictor.transform, told)
        return predictor.of_prepared(images, maps)


def as_json(prediction: Prediction, name: str) -> dict[str, Any]:
    """The line of `labelwise predict --json`, with `map` (rows of shares) beside the labels that are likeliest.

    Args:
        prediction: of one image.
        name: what the image is called in the answer.
    """
    line = {**prediction.to_json(), "image": name}
    if prediction.maps is not None:
        for rank, label in enumerate(line["labels"]):
            if rank < SHOWN or label["selected"]:
                label["map"] = [[round(float(x), 6) for x in row] for row in prediction.map(label["name"])]
    return line
