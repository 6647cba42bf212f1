"""Compares the probabilities, decisions and maps of an export with those of its run on real images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labelwise.decisions import Decisions
from labelwise.engines.engine import ON_THE_LINE, PROBABILITY, Deciding, Describing, Engine
from labelwise.errors import LabelwiseError, first_line

BATCHES = (1, 2, 3, 8)
"""Sizes of batches to compare in every runtime: some runtimes compute a batch of one right and others wrong."""
MAPS, FEATURES = 1e-3, 1e-3
"""Largest differences of maps and of features; those of probabilities and decisions are in `runtimes`."""


@dataclass(frozen=True)
class Parity:
    """The result of a comparison.

    Args:
        images: number of compared images.
        probability: largest difference of a calibrated probability.
        on_the_line: decisions that differ because the probability lies within 1e-5 of its threshold.
        maps: mean distance of the maps, `1/2 sum_p |a_p - b_p|`, in [0, 1]; `None` without maps.
        features: largest Euclidean distance of a label's or whole image's feature of unit length; no cosine to a third
            vector differs by more. `None` without features.
        runtimes: for each installed runtime that reads the format, the largest difference in batches of `BATCHES`, or
            why it cannot open the graph.
    """

    images: int
    probability: float
    on_the_line: int
    maps: float | None
    features: float | None = None
    runtimes: Mapping[str, float | str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON data for the card."""
        return {
            "images": self.images,
            "max_probability_difference": self.probability,
            "decisions": "identical",
            "decisions_on_the_threshold": self.on_the_line,
            "mean_map_distance": self.maps,
            **({} if self.features is None else {"max_feature_distance": self.features}),
            "batches": list(BATCHES),
            "runtimes": dict(self.runtimes),
        }

    def __str__(self) -> str:
        close = f" but for {self.on_the_line} within 1e-5 of a threshold" if self.on_the_line else ""
        maps = "" if self.maps is None else f", maps apart by {self.maps:.1e}"
        features = "" if self.features is None else f", features apart by at most {self.features:.1e}"
        text = f"largest difference of a probability {self.probability:.1e}, decisions identical{close}{maps}{features}"
        agreeing = [name for name, difference in self.runtimes.items() if not isinstance(difference, str)]
        sizes = ", ".join(map(str, BATCHES))
        batches = f"; batches of {sizes} in {' and '.join(agreeing)}" if agreeing else ""
        return f"{self.images:,} images: {text}{batches}"


def compare(
    reference: Engine,
    candidate: Engine,
    batches: Iterable[tuple[Sequence[str], Tensor]],
    decisions: Decisions,
    names: Sequence[str],
) -> Parity:
    """Compares two engines on the same images.

    Args:
        reference: the run.
        candidate: the export.
        batches: names of images, and the images `[B, 3, H, W]` uint8.
        decisions: from logits to probabilities and selected labels.
        names: labels in column order.

    Raises:
        LabelwiseError: probabilities that differ by more than 1e-4, a different decision, different maps or features.
    """
    images, probability, on_the_line, maps, features = 0, 0.0, 0, [], []
    for ids, batch in batches:
        ours, our_maps = reference(batch, candidate.has_maps)
        theirs, their_maps = candidate(batch, candidate.has_maps)
        if theirs.shape != ours.shape:
            raise _parity_error(
                candidate, f"returns logits of shape {list(theirs.shape)} for {list(ours.shape)}"
            )
        p, q = decisions.probabilities(ours), decisions.probabilities(theirs)
        difference = np.where(np.isfinite(q), np.abs(p - q), np.inf)
        _refuse_where(difference > PROBABILITY, difference, candidate, ids, names, p, q, decisions)
        differing = decisions.select(p) != decisions.select(q)
        is_close = np.abs(p - decisions.thresholds) < ON_THE_LINE
        _refuse_where(differing & ~is_close, difference, candidate, ids, names, p, q, decisions)
        images, probability = images + len(p), max(probability, float(difference.max()))
        on_the_line += int(differing.sum())
        if candidate.has_maps and our_maps is not None and their_maps is not None:
            maps.append(np.abs(our_maps - their_maps).sum((2, 3)).mean(1) / 2)
        if isinstance(candidate, Deciding) and candidate.has_decisions:
            _check_decided(candidate, ids, batch, decisions, names)
        if isinstance(reference, Describing) and isinstance(candidate, Describing) and candidate.has_features:
            pairs = zip(reference.describe(batch)[2:], candidate.describe(batch)[2:], strict=True)
            features += [float(np.linalg.norm(a - b, axis=-1).max()) for a, b in pairs]
    map_distance = float(np.concatenate(maps).mean()) if maps else None
    if map_distance is not None and not map_distance <= MAPS:
        raise _parity_error(candidate, f"returns evidence maps at a mean distance of {map_distance:.3g}")
    feature_distance = float(np.max(features)) if features else None
    if feature_distance is not None and not feature_distance <= FEATURES:
        raise _parity_error(candidate, f"returns features at a distance of up to {feature_distance:.3g}")
    return Parity(images, probability, on_the_line, map_distance, feature_distance)


def compare_batches(
    reference: Engine,
    runtimes: Iterable[tuple[str, Callable[[], Engine]]],
    photos: Sequence[tuple[str, Tensor]],
    decisions: Decisions,
    names: Sequence[str],
) -> dict[str, float | str]:
    """Compares a graph in several runtimes with the run, in batches of `BATCHES`.

    Args:
        reference: the run.
        runtimes: packages, each with a function that opens the graph.
        photos: named images `[3, H, W]` uint8.
        decisions: as in `compare`.
        names: labels in column order.

    Returns:
        For each engine the largest difference of a probability, or why the package cannot open the graph.

    Raises:
        LabelwiseError: different outputs in one of them.
    """
    differences: dict[str, float | str] = {}
    for package, open_engine in runtimes:
        try:
            engine = open_engine()
        except Exception as error:  # runtimes raise many kinds of errors on unsupported graphs
            differences[package] = f"cannot open it ({first_line(error)})"
            continue
        differences[engine.name] = compare(reference, engine, sized(photos), decisions, names).probability
    return differences


def sized(photos: Sequence[tuple[str, Tensor]]) -> Iterator[tuple[list[str], Tensor]]:
    """Batches of the sizes of `BATCHES`, of successive images; few images are repeated."""
    repeated_photos = cycle(photos)
    for size in BATCHES:
        ids, images = zip(*islice(repeated_photos, size), strict=True)
        yield list(ids), torch.stack(images)


def batches_of(
    named: Iterable[tuple[str, Tensor]], batch_size: int = 16
) -> Iterable[tuple[list[str], Tensor]]:
    """Named images of one size in batches, the last one shorter."""
    remaining = iter(named)
    while batch := list(islice(remaining, batch_size)):
        yield [name for name, _ in batch], torch.stack([image for _, image in batch])


def _refuse_where(
    is_wrong: np.ndarray,
    difference: np.ndarray,
    candidate: Engine,
    ids: Sequence[str],
    names: Sequence[str],
    p: np.ndarray,
    q: np.ndarray,
    decisions: Decisions,
) -> None:
    """Raise the error of the largest difference among the cells that are wrong, if there are any."""
    if not is_wrong.any():
        return
    i, j = divmod(int(np.where(is_wrong, difference, -1.0).argmax()), difference.shape[1])
    raise _parity_error(
        candidate,
        f"returns {names[j]} = {q[i, j]:.8f} for {ids[i]}, where the run returns {p[i, j]:.8f} at a threshold of "
        f"{decisions.thresholds[j]:.8f}",
    )


def _check_decided(
    candidate: Any, ids: Sequence[str], batch: Tensor, decisions: Decisions, names: Sequence[str]
) -> None:
    """Refuses a graph whose own probabilities or selected labels are not those of its logits."""
    logits, own_probabilities, selected = candidate.decide(batch)
    p = decisions.probabilities(logits)
    difference = np.where(np.isfinite(own_probabilities), np.abs(p - own_probabilities), np.inf)
    _refuse_where(
        difference > PROBABILITY, difference, candidate, ids, names, p, own_probabilities, decisions
    )
    differs = selected != decisions.select(p)
    if differs.any():
        i, j = np.argwhere(differs)[0]
        verb = "selects" if selected[i, j] else "does not select"
        reason = f"{verb} {names[j]} of probability {p[i, j]:.8f} for {ids[i]}, other than the decisions on its logits"
        raise _parity_error(candidate, reason)


def _parity_error(candidate: Engine, reason: str) -> LabelwiseError:
    """The error for an export whose outputs are not those of the run."""
    return LabelwiseError(
        f"{candidate.name} {reason}",
        f"probabilities within {PROBABILITY:g} and the same decisions",
        "choose another --format; nothing was written",
    )
