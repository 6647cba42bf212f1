"""Attention maps of a split compared with boxes and with each other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.decode import image_size
from labelwise.data.fixed import shown_part
from labelwise.data.transforms import TransformConfig
from labelwise.decisions import Decisions
from labelwise.evaluation.scores import gather
from labelwise.metrics.attention import AttentionReport
from labelwise.metrics.localisation import PointingGame
from labelwise.types import Batch, Output

# Name in a result -> name in the game.
_IN_BOXES = {
    "pointing": "score",
    "energy": "energy",
    "pointing_centre": "centre",
    "pointing_random": "area",
    "pointing_hard": "score_hard",
    "energy_hard": "energy_hard",
    "pointing_centre_hard": "centre_hard",
    "pointing_random_hard": "area_hard",
    "pointing_found": "score_found",
    "pointing_found_hard": "score_found_hard",
    "pointing_found_centre": "centre_found",
    "pointing_found_centre_hard": "centre_found_hard",
    "pointing_found_random": "area_found",
    "pointing_found_random_hard": "area_found_hard",
}


class Evidence:
    """Metrics of maps, batch by batch: spread and overlap of true labels' maps and, with boxes, the pointing game.

    Args:
        rows: the evaluated rows, with their boxes.
        transform: the transform between whole images, in which boxes lie, and the part that the maps cover.
        decisions: fitted decisions for the metrics of selected labels; otherwise these are left out.
    """

    def __init__(self, rows: Dataset, transform: TransformConfig, decisions: Decisions | None = None) -> None:
        self._rows, self._transform = rows, transform
        self._decisions = decisions if decisions is not None and decisions.fitted else None
        self._report = AttentionReport()
        self._game = PointingGame(len(rows.labels)) if rows.boxes is not None else None

    def update(self, batch: Batch, output: Output) -> None:
        """Adds a batch and the model's output; does nothing if the output has no maps."""
        if output.maps is None:
            return
        maps, targets = output.maps.float(), batch.targets
        self._report.update(maps, (targets.values >= 0.5) & targets.known)
        if self._game is not None:
            index = [int(i) for i in batch.index]
            boxes, covered_parts = [self._rows.boxes_of(i) for i in index], self._covered_parts(index)
            self._game.update(maps, boxes, covers=covered_parts, called=self._selected(output))

    def _selected(self, output: Output) -> np.ndarray | None:
        """Labels selected by the run's decisions; `None` if nothing was fitted."""
        if self._decisions is None:
            return None
        logits = output.logits.detach().float().cpu().numpy()
        return self._decisions.select(self._decisions.probabilities(logits))

    def _covered_parts(self, index: list[int]) -> list[tuple[float, float, float, float]] | None:
        """The part of each image that its map covers; `None` if all of them are whole."""
        if self._transform.resize == "squash":
            return None
        sizes = (image_size(self._rows.encoded(i)) for i in index)
        return [shown_part(self._transform, height, width) for width, height in sizes]

    def add_to(self, metrics: dict[str, Any], per_label: dict[str, dict[str, Any]]) -> None:
        """Joins the counts of all processes and adds the metrics; metrics without any sample are left out."""
        spread = AttentionReport.joined(gather(self._report)).compute()
        figures = {f"attention_{name}": spread[name] for name in ("entropy", "overlap")}
        if self._game is not None:
            game: dict[str, Any] = PointingGame.joined(gather(self._game)).compute()
            figures |= {name: game[key] for name, key in _IN_BOXES.items()}
            metrics["pointing_baselines"] = {name: _number(game[name]) for name in ("centre", "area")}
            rates = zip(game["per_label"], game["energy_per_label"], strict=True)
            for label, (pointing, energy) in zip(self._rows.labels.names, rates, strict=True):
                per_label[label] |= {"pointing": _number(pointing), "energy": _number(energy)}
        metrics |= {name: value for name, value in figures.items() if not math.isnan(value)}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
