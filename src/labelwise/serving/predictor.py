"""Photographs in, decisions and evidence out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from labelwise.data.decode import UnreadableImage, decode_image
from labelwise.data.loading import stacked
from labelwise.data.transforms import ImageTransform, build_transform, shown_part
from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.export.artefact import ARTEFACT, Artefact
from labelwise.export.engines import Eager, Engine, open_engine
from labelwise.training.run import Run
from labelwise.types import LabelSet

Image = str | Path | bytes | Tensor


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    Args:
        image: the path as given, or "" for bytes and tensors.
        scores: label -> probability, highest first.
        thresholds: label -> the threshold that decides.
        error: why there is no answer; `None` where there is one.
        maps: `[L, h, w]` evidence in label order, where asked for.
        names: labels in their order.
        chosen: the labels that the decisions select; `None` for all at or over their thresholds.
        shown: the part `(x0, y0, x1, y1)` of the photograph that the network saw, and maps cover, in fractions.
    """

    image: str
    scores: dict[str, float]
    thresholds: dict[str, float]
    error: str | None = None
    maps: np.ndarray | None = field(default=None, repr=False)
    names: tuple[str, ...] = field(default=(), repr=False)
    chosen: frozenset[str] | None = None
    shown: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    @property
    def selected(self) -> list[str]:
        """Labels over their own thresholds that no rule forbids, highest probability first."""
        return [name for name, score in self.scores.items() if self._selects(name, score)]

    def map(self, label: str) -> np.ndarray:
        """`[h, w]` evidence of a label, non-negative, sum 1.

        Raises:
            LabelwiseError: maps were not asked for, or no such label.
        """
        if self.maps is None:
            raise LabelwiseError("a prediction without maps", "predict(..., maps=True)", "predict again")
        if label not in self.names:
            raise LabelwiseError(
                f"label {label!r}", f"one of {', '.join(self.names[:8])}", "correct the name"
            )
        return self.maps[self.names.index(label)]

    def over_photograph(self, label: str) -> np.ndarray:
        """`map` over the whole photograph, on a grid of about the same step; 0 where the network did not look."""
        found = self.map(label)
        (h, w), (x0, y0, x1, y1) = found.shape, self.shown
        rows, columns = max(h, round(h / (y1 - y0))), max(w, round(w / (x1 - x0)))
        top, left = min(round(y0 * rows), rows - h), min(round(x0 * columns), columns - w)
        return np.pad(found, ((top, rows - h - top), (left, columns - w - left)))

    def to_json(self) -> dict[str, Any]:
        """The line that `labelwise predict --json` prints."""
        if self.error is not None:
            return {"image": self.image, "error": self.error}
        labels = [
            {"name": n, "score": s, "threshold": self.thresholds[n], "selected": self._selects(n, s)}
            for n, s in self.scores.items()
        ]
        return {"image": self.image, "labels": labels}

    def _selects(self, name: str, score: float) -> bool:
        return score >= self.thresholds[name] if self.chosen is None else name in self.chosen


class Predictor:
    """Something that computes, with the transform before it and the decisions behind it.

    Args:
        labels: in column order; or an opened run, which alone stands for all four.
        decisions: from logits to probabilities and selected labels.
        transform: from a decoded image to what the engine takes.
        engine: images to logits and maps.

    Raises:
        LabelwiseError: a run without weights, or with damaged ones.
    """

    def __init__(
        self,
        labels: LabelSet | Run,
        decisions: Decisions | None = None,
        transform: ImageTransform | None = None,
        engine: Engine | None = None,
    ) -> None:
        if isinstance(labels, Run):
            labels, decisions, transform, engine = _parts_of_run(labels, None)
        if decisions is None or transform is None or engine is None:
            raise LabelwiseError(
                "a predictor of labels alone",
                "a run, or labels with decisions, transform and engine",
                "see labelwise.load",
            )
        self.labels, self.decisions, self.transform, self.engine = labels, decisions, transform, engine
        self.thresholds = dict(zip(labels.names, decisions.thresholds.tolist(), strict=True))

    def predict(
        self, images: Iterable[Image], *, maps: bool = False, batch_size: int = 32, workers: int = 0
    ) -> Iterator[Prediction]:
        """One answer per image, in order; an unreadable image gets an answer with `error`, and the rest go on.

        Args:
            images: paths, encoded bytes, or `[3, H, W]` uint8 tensors.
            maps: also give evidence.
            batch_size: images at once.
            workers: decoding processes.

        Raises:
            LabelwiseError: maps of an export that was made without them.
        """
        if maps and not self.engine.gives_maps:
            raise LabelwiseError(
                "an export without evidence maps", "one that gives them", "export again with --maps"
            )
        loader = torch.utils.data.DataLoader(
            _Images(_shared(images if isinstance(images, Sequence) else list(images)), self.transform),
            batch_size=batch_size,
            num_workers=workers,
            collate_fn=list,
            generator=torch.Generator(),
        )
        for part in loader:
            yield from self._answer(part, maps)

    def evidence(self, images: Sequence[Image], labels: Sequence[int]) -> list[np.ndarray]:
        """Evidence of one label, given by its column, over each whole photograph."""
        found, names = self.predict(images, maps=True), self.labels.names
        return [
            p.over_photograph(names[j]) if p.maps is not None else np.zeros((1, 1))
            for p, j in zip(found, labels, strict=True)
        ]

    def _answer(self, part: list[_Decoded], maps: bool) -> list[Prediction]:
        readable = [d.image for d in part if d.image is not None]
        names, out = self.labels.names, []
        logits, found = self.engine(stacked(readable), maps) if readable else (np.zeros((0, 0)), None)
        p = self.decisions.probabilities(logits) if readable else logits
        chosen = self.decisions.select(p) if readable else p
        row = 0
        for d in part:
            if d.image is None:
                out.append(Prediction(d.name, {}, self.thresholds, d.error, None, names))
                continue
            ranked = {names[j]: float(p[row, j]) for j in np.argsort(-p[row], kind="stable")}
            picked = frozenset(names[j] for j in np.flatnonzero(chosen[row]))
            evidence = None if found is None else found[row]
            out.append(Prediction(d.name, ranked, self.thresholds, None, evidence, names, picked, d.shown))
            row += 1
        return out


class _Paths(Sequence[str]):
    """Many paths as one array: workers share its memory, which they would copy bit by bit of a list of strings."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = pa.array([os.fsencode(path) for path in paths], pa.large_binary())

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, i: Any) -> Any:
        return os.fsdecode(self._paths[i].as_py())


def _shared(images: Sequence[Image]) -> Sequence[Image]:
    return _Paths(images) if all(isinstance(image, str) for image in images) else images  # type: ignore[arg-type]


class _Decoded(NamedTuple):
    name: str
    image: Tensor | None
    error: str | None = None
    shown: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


class _Images(torch.utils.data.Dataset):
    def __init__(self, images: Sequence[Image], transform: ImageTransform) -> None:
        self._images, self._transform = images, transform

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: int) -> _Decoded:
        image, transform = self._images[i], self._transform
        name = str(image) if isinstance(image, str | Path) else ""
        try:
            whole = image if isinstance(image, Tensor) else decode_image(image, shrink_to=transform.shrink_to)
        except UnreadableImage as error:
            return _Decoded(name, None, str(error))
        return _Decoded(name, transform(whole), None, shown_part(transform.config, *whole.shape[1:]))


def load(path: str | Path, device: str | None = None) -> Predictor:
    """A predictor from a run's folder, an exported folder, or a model of the hub (`OWNER/NAME`).

    Args:
        path: a folder, or a hub id, which is downloaded once.
        device: where a run computes; `None` takes a GPU where there is one. Graphs compute on the CPU.

    Raises:
        LabelwiseError: nothing of the kind, a run without weights, or an artefact that was changed.
    """
    from labelwise.export.hub import fetch

    folder = fetch(path)
    if (folder / ARTEFACT).is_file():
        artefact = Artefact.open(folder)
        transform = build_transform(artefact.preprocessing.transform(), train=False)
        return Predictor(artefact.labels, artefact.decisions, transform, open_engine(artefact, device))
    if not (folder / "config.yaml").is_file():
        raise LabelwiseError(
            f"{path} holds neither config.yaml nor {ARTEFACT}",
            "the folder that `labelwise train --out` or `labelwise export --out` wrote",
            "check the path",
        )
    return Predictor(*_parts_of_run(Run.open(folder), device))


def _parts_of_run(run: Run, device: str | None) -> tuple[LabelSet, Decisions, ImageTransform, Engine]:
    transform = build_transform(run.config.transform(), train=False)
    return run.labels, run.decisions(), transform, Eager(run.model(), device)
