"""Predictions of images: decisions and evidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from labelwise.data.decode import UnreadableImage
from labelwise.data.loading import stacked
from labelwise.data.transforms import ImageTransform, build_transform, shown_part
from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.export.artefact import ARTEFACT, Artefact
from labelwise.export.engines import Eager, Engine, open_engine
from labelwise.serving.familiarity import FILE, LEVEL, Familiarity, Watched
from labelwise.serving.inputs import Image, as_images, decoded, name_of, shared
from labelwise.training.run import Run, folder_of
from labelwise.types import LabelSet


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Args:
        image: the path as given, or "" for bytes and tensors.
        scores: label -> probability, highest first.
        thresholds: label -> threshold.
        error: the reason why the image is unreadable; `None` for a readable one.
        maps: `[L, h, w]` evidence in label order, if requested.
        names: labels in their order.
        chosen: the labels that the decisions select; `None` for all at or above their thresholds.
        shown: the part `(x0, y0, x1, y1)` of the photograph that is the model's input, which maps cover, in fractions.
        note: a note on how the image was decoded; "" for none.
        familiar: p-value of the image among the training images; `None` for a run without `labelwise familiarity`.
        familiar_labels: selected label -> p-value of its feature among those of its training images.
    """

    image: str
    scores: dict[str, float]
    thresholds: dict[str, float]
    error: str | None = None
    maps: np.ndarray | None = field(default=None, repr=False)
    names: tuple[str, ...] = field(default=(), repr=False)
    chosen: frozenset[str] | None = None
    shown: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    note: str = ""
    familiar: float | None = None
    familiar_labels: dict[str, float] = field(default_factory=dict)

    @property
    def unfamiliar(self) -> bool:
        """Whether the model has seen nothing like the image, at a p-value of 1 %."""
        return self.familiar is not None and self.familiar <= LEVEL

    @property
    def selected(self) -> list[str]:
        """Labels over their own thresholds that no rule forbids, highest probability first."""
        return [name for name, score in self.scores.items() if self._selects(name, score)]

    def map(self, label: str) -> np.ndarray:
        """`[h, w]` evidence of a label, non-negative, sum 1.

        Raises:
            LabelwiseError: maps were not requested, or no such label.
        """
        if self.maps is None:
            raise LabelwiseError("a prediction without maps", "predict(..., maps=True)", "predict again")
        if label not in self.names:
            raise LabelwiseError(
                f"label {label!r}", f"one of {', '.join(self.names[:8])}", "correct the name"
            )
        return self.maps[self.names.index(label)]

    def over_photograph(self, label: str) -> np.ndarray:
        """`map` over the whole photograph, on a grid of about the same step; 0 outside the model's input."""
        evidence = self.map(label)
        (h, w), (x0, y0, x1, y1) = evidence.shape, self.shown
        rows, columns = max(h, round(h / (y1 - y0))), max(w, round(w / (x1 - x0)))
        top, left = min(round(y0 * rows), rows - h), min(round(x0 * columns), columns - w)
        return np.pad(evidence, ((top, rows - h - top), (left, columns - w - left)))

    def to_json(self) -> dict[str, Any]:
        """The line that `labelwise predict --json` prints."""
        if self.error is not None:
            return {"image": self.image, "error": self.error}
        labels = [
            {"name": n, "score": s, "threshold": self.thresholds[n], "selected": self._selects(n, s)}
            for n, s in self.scores.items()
        ]
        for label in labels:
            if label["name"] in self.familiar_labels:
                label["familiar"] = self.familiar_labels[label["name"]]
        known = {} if self.familiar is None else {"familiar": self.familiar, "unfamiliar": self.unfamiliar}
        return {"image": self.image, "labels": labels, **({"note": self.note} if self.note else {}), **known}

    def _selects(self, name: str, score: float) -> bool:
        return score >= self.thresholds[name] if self.chosen is None else name in self.chosen


class Predictor:
    """An engine with its transform and decisions.

    Args:
        labels: in column order; or an opened run instead of all four arguments.
        decisions: from logits to probabilities and selected labels.
        transform: from a decoded image to the engine's input.
        engine: from images to logits and maps.
        familiarity: of a run that `labelwise familiarity` was called for.

    Raises:
        LabelwiseError: a run without weights, or with damaged ones.
    """

    def __init__(
        self,
        labels: LabelSet | Run,
        decisions: Decisions | None = None,
        transform: ImageTransform | None = None,
        engine: Engine | None = None,
        familiarity: Familiarity | None = None,
    ) -> None:
        if isinstance(labels, Run):
            labels, decisions, transform, engine, familiarity = _parts_of_run(labels, None)
        if decisions is None or transform is None or engine is None:
            raise LabelwiseError(
                "a predictor of labels alone",
                "a run, or labels with decisions, transform and engine",
                "see labelwise.load",
            )
        self.labels, self.decisions, self.transform, self.engine = labels, decisions, transform, engine
        self.thresholds = dict(zip(labels.names, decisions.thresholds.tolist(), strict=True))
        self.familiarity = familiarity
        self._watched = Watched(engine.model) if familiarity and isinstance(engine, Eager) else None

    @property
    def never_selected(self) -> tuple[str, ...]:
        """Labels without a positive in training, which are never selected."""
        return tuple(self.labels.names[j] for j in self.decisions.never)

    def predict(
        self,
        images: Image | Iterable[Image],
        *,
        maps: bool = False,
        batch_size: int = 32,
        workers: int = 0,
    ) -> Iterator[Prediction]:
        """One prediction per image, in order; that of an unreadable image has an `error`.

        Args:
            images: one image or several: paths, encoded bytes, PIL images (turned upright by their EXIF orientation),
                arrays of RGB or grey, `[H, W, 3]` or `[H, W]`, uint8 or uint16, RGBA arrays `[H, W, 4]`, which are
                composited over white, and `[3, H, W]` uint8 tensors.
            maps: also return evidence.
            batch_size: images per batch.
            workers: decoding processes.

        Raises:
            LabelwiseError: an object that is not an image, pixels of another type or shape, or maps of an export
                without maps; raised before anything is computed.
        """
        if maps and not self.engine.has_maps:
            raise LabelwiseError(
                "an export without evidence maps", "an export with maps", "export again with --maps"
            )
        loader = torch.utils.data.DataLoader(
            _Images(shared(as_images(images)), self.transform),
            batch_size=batch_size,
            num_workers=workers,
            collate_fn=list,
            generator=torch.Generator(),
        )
        return (answer for part in loader for answer in self._answer(part, maps))

    def of_prepared(self, images: Sequence[UInt8[Tensor, "3 h w"]], maps: bool = False) -> list[Prediction]:
        """Predictions for outputs of `transform`, as one batch; they have no names.

        Args:
            images: inputs of the engine.
            maps: also return evidence.
        """
        return self._answer([_Decoded("", image) for image in images], maps)

    def with_bits(self, bits: int) -> Predictor:
        """The same model for images whose 16-bit grey uses `bits` bits, 8 to 16."""
        config = self.transform.config.model_copy(update={"bits": bits})
        transform = build_transform(config, train=False)
        return Predictor(self.labels, self.decisions, transform, self.engine, self.familiarity)

    def evidence(self, images: Sequence[Image], labels: Sequence[int]) -> list[np.ndarray]:
        """Evidence of one label per image, given by its column, over the whole photograph."""
        predictions, names = self.predict(images, maps=True), self.labels.names
        return [
            p.over_photograph(names[j]) if p.maps is not None else np.zeros((1, 1))
            for p, j in zip(predictions, labels, strict=True)
        ]

    def _answer(self, part: list[_Decoded], maps: bool) -> list[Prediction]:
        readable = [d.image for d in part if d.image is not None]
        names, out = self.labels.names, []
        logits, evidence_maps = np.zeros((0, 0)), None
        if readable:
            with self._watched() if self._watched else nullcontext():
                logits, evidence_maps = self.engine(stacked(readable), maps)
        p = self.decisions.probabilities(logits) if readable else logits
        chosen = self.decisions.select(p) if readable else p
        familiar = self._familiar(chosen) if readable else []
        row = 0
        for d in part:
            if d.image is None:
                out.append(Prediction(d.name, {}, self.thresholds, d.error, None, names))
                continue
            ranked = {names[j]: float(p[row, j]) for j in np.argsort(-p[row], kind="stable")}
            picked = frozenset(names[j] for j in np.flatnonzero(chosen[row]))
            evidence = None if evidence_maps is None else evidence_maps[row]
            known = familiar[row] if familiar else (None, {})
            out.append(
                Prediction(
                    d.name, ranked, self.thresholds, None, evidence, names, picked, d.shown, d.note, *known
                )
            )
            row += 1
        return out

    def _familiar(self, chosen: np.ndarray) -> list[tuple[float, dict[str, float]]]:
        """p-values of the last batch's images, and of their selected labels; empty without familiarity."""
        if self.familiarity is None or self._watched is None:
            return []
        return self.familiarity.of_batch(self._watched, chosen, self.labels.names)


class _Decoded(NamedTuple):
    name: str
    image: Tensor | None
    error: str | None = None
    shown: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    note: str = ""


class _Images(torch.utils.data.Dataset):
    def __init__(self, images: Sequence[Image], transform: ImageTransform) -> None:
        self._images, self._transform = images, transform

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: int) -> _Decoded:
        image, transform = self._images[i], self._transform
        name, notes = name_of(image), list[str]()
        try:
            whole = decoded(image, transform, notes)
        except UnreadableImage as error:
            return _Decoded(name, None, str(error))
        shown = shown_part(transform.config, *whole.shape[1:])
        return _Decoded(name, transform(whole), None, shown, next(iter(notes), ""))


def load(path: str | Path, device: str | None = None) -> Predictor:
    """A predictor from a run's folder, an exported folder, or a model of the hub (`OWNER/NAME`).

    Args:
        path: a folder, or a hub id, which is downloaded once.
        device: device of a run; `None` uses a GPU if there is one. Graphs run on the CPU.

    Raises:
        LabelwiseError: not a model, a run without weights, or an artefact that was changed.
    """
    from labelwise.export.hub import fetch

    folder = folder_of(fetch(path))
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


def _parts_of_run(
    run: Run, device: str | None
) -> tuple[LabelSet, Decisions, ImageTransform, Engine, Familiarity | None]:
    transform = build_transform(run.config.transform(), train=False)
    familiarity = Familiarity.of_run(run.path) if (run.path / FILE).is_file() else None
    return run.labels, run.decisions(), transform, Eager(run.model(), device), familiarity
