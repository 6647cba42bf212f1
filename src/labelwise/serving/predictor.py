"""Photographs in, decisions and evidence out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labelwise.data.decode import UnreadableImage, decode_image
from labelwise.data.transforms import ImageTransform, build_transform
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
    """

    image: str
    scores: dict[str, float]
    thresholds: dict[str, float]
    error: str | None = None
    maps: np.ndarray | None = None
    names: tuple[str, ...] = ()
    chosen: frozenset[str] | None = None

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
            _Images(images if isinstance(images, Sequence) else list(images), self.transform),
            batch_size=batch_size,
            num_workers=workers,
            collate_fn=list,
            generator=torch.Generator(),
        )
        for part in loader:
            yield from self._answer(part, maps)

    def evidence(self, images: Sequence[Image], labels: Sequence[int]) -> list[np.ndarray]:
        """Evidence `[h, w]` of one label for each image, given by its column."""
        found = self.predict(images, maps=True)
        return [
            p.maps[j] if p.maps is not None else np.zeros((1, 1)) for p, j in zip(found, labels, strict=True)
        ]

    def _answer(self, part: list[tuple[str, Tensor | None, str | None]], maps: bool) -> list[Prediction]:
        readable = [image for _, image, _ in part if image is not None]
        names, out = self.labels.names, []
        logits, found = self.engine(torch.stack(readable), maps) if readable else (np.zeros((0, 0)), None)
        p = self.decisions.probabilities(logits) if readable else logits
        chosen = self.decisions.select(p) if readable else p
        row = 0
        for name, image, error in part:
            if image is None:
                out.append(Prediction(name, {}, self.thresholds, error, None, names))
                continue
            ranked = {names[j]: float(p[row, j]) for j in np.argsort(-p[row], kind="stable")}
            picked = frozenset(names[j] for j in np.flatnonzero(chosen[row]))
            evidence = None if found is None else found[row]
            out.append(Prediction(name, ranked, self.thresholds, None, evidence, names, picked))
            row += 1
        return out


class _Images(torch.utils.data.Dataset):
    def __init__(self, images: Sequence[Image], transform: Any) -> None:
        self._images, self._transform = images, transform

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: int) -> tuple[str, Tensor | None, str | None]:
        image = self._images[i]
        name = str(image) if isinstance(image, str | Path) else ""
        if isinstance(image, Tensor):
            return name, self._transform(image), None
        try:
            return name, self._transform(decode_image(image, shrink_to=self._transform.shrink_to)), None
        except UnreadableImage as error:
            return name, None, str(error)


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
