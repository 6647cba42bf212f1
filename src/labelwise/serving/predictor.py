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
from labelwise.data.transforms import build_transform
from labelwise.errors import LabelwiseError
from labelwise.training.run import Run

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
    """

    image: str
    scores: dict[str, float]
    thresholds: dict[str, float]
    error: str | None = None
    maps: np.ndarray | None = None
    names: tuple[str, ...] = ()

    @property
    def selected(self) -> list[str]:
        """Labels at or over their own thresholds, highest probability first."""
        return [name for name, score in self.scores.items() if score >= self.thresholds[name]]

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
            {"name": n, "score": s, "threshold": self.thresholds[n], "selected": s >= self.thresholds[n]}
            for n, s in self.scores.items()
        ]
        return {"image": self.image, "labels": labels}


class Predictor:
    """A run's model with its transform and thresholds.

    Args:
        run: an opened run.
        device: where to compute; `None` takes a GPU where there is one.

    Raises:
        LabelwiseError: the run has no weights, or damaged ones.
    """

    def __init__(self, run: Run, device: str | None = None) -> None:
        self.run, self.labels = run, run.labels
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = run.model().to(self.device)
        self.transform = build_transform(run.config.transform(), train=False)
        self.thresholds = run.thresholds()

    def predict(
        self, images: Iterable[Image], *, maps: bool = False, batch_size: int = 32, workers: int = 0
    ) -> Iterator[Prediction]:
        """One answer per image, in order; an unreadable image gets an answer with `error`, and the rest go on.

        Args:
            images: paths, encoded bytes, or `[3, H, W]` uint8 tensors.
            maps: also give evidence.
            batch_size: images at once.
            workers: decoding processes.
        """
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

    @torch.inference_mode()
    def _answer(self, part: list[tuple[str, Tensor | None, str | None]], maps: bool) -> list[Prediction]:
        readable = [image for _, image, _ in part if image is not None]
        names = self.labels.names
        answers: Iterator[tuple[np.ndarray, np.ndarray | None]] = iter(())
        if readable:
            batch = torch.stack(readable).to(self.device)
            output = self.model(batch, want_maps=maps)
            p = output.logits.double().sigmoid().cpu().numpy()
            evidence = output.maps.float().cpu().numpy() if output.maps is not None else [None] * len(p)
            answers = zip(p, evidence, strict=True)
        out = []
        for name, image, error in part:
            if image is None:
                out.append(Prediction(name, {}, self.thresholds, error, None, names))
                continue
            scores, found = next(answers)
            order = np.argsort(-scores, kind="stable")
            ranked = {names[j]: float(scores[j]) for j in order}
            out.append(Prediction(name, ranked, self.thresholds, None, found, names))
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
    """A predictor from a run's folder.

    Raises:
        LabelwiseError: not a run, or one without weights.
    """
    return Predictor(Run.open(path), device)
