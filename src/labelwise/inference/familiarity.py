"""Whether a model has seen anything like an image, and like a label in it, by distance to training features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import normalize

from labelwise.errors import LabelwiseError, first_line
from labelwise.export.artefact import sha256
from labelwise.inference.prediction import FAMILIARITY
from labelwise.runs.files import write_atomic
from labelwise.runs.run import WEIGHTS
from labelwise.runs.sealed import load_sealed, save_sealed

NEAREST = 5


@dataclass(frozen=True)
class Familiarity:
    """Training features, and the distances of validation images to them.

    A distance is `1 - cosine` to the fifth nearest training feature: of the whole-image feature among those of
    training images; of a label's feature among those of training images with the label. The p-value of a distance is
    conformal: `(1 + number of validation distances at least as large) / (1 + number of validation distances)`.

    Args:
        images: `[n, C]`, whole-image features of unit length.
        image_distances: `[m]`, ascending, of validation images.
        features: `[r, D]`, label features of unit length.
        labels: `[r]`, the column of each.
        label_distances: `[k]`, ascending, of labels selected in validation images, all labels together.
        model: digest of the weights that computed the features.

    Source: Sun et al. 2022, "Out-of-Distribution Detection with Deep Nearest Neighbors"; Vovk et al. 2005,
    "Algorithmic Learning in a Random World" (conformal p-values).
    """

    images: Float32[np.ndarray, "n C"]
    image_distances: Float32[np.ndarray, " m"]
    features: Float32[np.ndarray, "r D"]
    labels: np.ndarray
    label_distances: Float32[np.ndarray, " k"]
    model: str

    def of_images(self, whole: Float[np.ndarray, "B C"]) -> Float[np.ndarray, " B"]:
        """p-values of images by their whole-image features of unit length."""
        return p_values(distances(whole, self.images), self.image_distances)

    def of_labels(
        self, features: Float[np.ndarray, "B L D"], chosen: Bool[np.ndarray, "B L"]
    ) -> Float[np.ndarray, "B L"]:
        """p-values of the chosen labels by their features of unit length; NaN elsewhere, and for labels without any."""
        result = np.full(chosen.shape, np.nan)
        for j in range(min(features.shape[1], chosen.shape[1])):
            rows, training = np.flatnonzero(chosen[:, j]), self.features[self.labels == j]
            if len(rows) and len(training):
                result[rows, j] = p_values(distances(features[rows, j], training), self.label_distances)
        return result

    def save(self, folder: Path) -> Path:
        """Writes the file of a run, vectors in float16."""
        state = {
            "images": torch.from_numpy(self.images).half(),
            "image_distances": torch.from_numpy(self.image_distances),
            "features": torch.from_numpy(self.features).half(),
            "labels": torch.from_numpy(self.labels),
            "label_distances": torch.from_numpy(self.label_distances),
            "model": torch.tensor(list(bytes.fromhex(self.model)), dtype=torch.uint8),
        }
        write_atomic(folder / FAMILIARITY, lambda part: save_sealed(state, part))
        return folder / FAMILIARITY

    @classmethod
    def of_run(cls, folder: Path) -> Familiarity:
        """The file of a run.

        Raises:
            LabelwiseError: a damaged file, or one that other weights computed.
        """
        try:
            state = load_sealed(folder / FAMILIARITY)
            familiarity = cls(
                state["images"].float().numpy(),
                state["image_distances"].numpy(),
                state["features"].float().numpy(),
                state["labels"].numpy(),
                state["label_distances"].numpy(),
                bytes(state["model"].tolist()).hex(),
            )
        except (OSError, SafetensorError, KeyError) as error:
            raise LabelwiseError(
                f"{folder / FAMILIARITY} ({first_line(error)})",
                "the file that `labelwise familiarity` wrote",
                f"run: labelwise familiarity {folder}, or remove the file",
            ) from None
        if familiarity.model != sha256(folder / WEIGHTS):
            raise LabelwiseError(
                f"{folder / FAMILIARITY} of other weights",
                "one that the weights of the run computed",
                f"run: labelwise familiarity {folder}, or remove the file",
            )
        return familiarity


def distances(features: np.ndarray, known: Float32[np.ndarray, "n D"], nearest: int = NEAREST) -> np.ndarray:
    """`1 - cosine` of vectors of unit length to the `nearest`-th nearest of known ones, or the farthest of fewer."""
    k = min(nearest, len(known))
    cosine = np.asarray(features, np.float32) @ known.T
    return 1 - np.partition(cosine, len(known) - k, axis=1)[:, len(known) - k]


def p_values(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Conformal p-values of distances among ascending reference distances.

    >>> p_values(np.array([0.5, 3.0]), np.array([0.0, 1.0, 2.0])).tolist()
    [0.75, 0.25]
    """
    larger = len(reference) - np.searchsorted(reference, values, side="left")
    return (1 + larger) / (1 + len(reference))


class Watched:
    """The familiarity of a model's batches, whose features are kept by hooks.

    Args:
        model: a `LabelModel`.
        familiarity: of its training features.
    """

    def __init__(self, model: Any, familiarity: Familiarity) -> None:
        self._model, self._familiarity = model, familiarity
        self._map: list[Tensor] = []
        self._features: list[Tensor] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> Watched:
        """Keeps the features of the batch that is computed next."""
        self._map.clear()
        self._features.clear()
        self._hooks = [
            self._model.backbone.register_forward_hook(lambda m, i, output: self._map.append(output)),
            self._model.register_forward_hook(lambda m, i, output: self._features.append(output.features)),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def of_batch(
        self, chosen: Bool[np.ndarray, "B L"], names: Sequence[str]
    ) -> list[tuple[float, dict[str, float]]]:
        """p-values of each image of that batch, and of its chosen labels by name."""
        # The first map is that of the first view.
        whole = _unit_vectors(self._map[0][: len(chosen)].float().mean((2, 3)))
        features = _unit_vectors(self._features[0].float())
        images, labels = self._familiarity.of_images(whole), self._familiarity.of_labels(features, chosen)
        label_values = [
            {name: float(p) for name, p in zip(names, row, strict=True) if not np.isnan(p)} for row in labels
        ]
        return list(zip(images.tolist(), label_values, strict=True))


def _unit_vectors(features: Tensor) -> np.ndarray:
    return normalize(features, dim=-1).cpu().numpy()
