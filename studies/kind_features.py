"""Features that `kinds.py` compares: of a run, of its backbone's early stage, and of colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn.functional import adaptive_avg_pool2d

from kind_questions import STRIPES, Task
from labelwise.backbones import TimmBackbone
from labelwise.collection.appearance import body_regions, colours, early_stage, places
from labelwise.collection.features import HEAD_WEIGHTS
from labelwise.data.dataset import Dataset
from labelwise.data.loading import eval_loader
from labelwise.data.transforms import build_transform
from labelwise.engines.frozen_engine import use_engine
from labelwise.runs.run import Run
from labelwise.training.loaders import Loaders
from labelwise.training.progress import ProgressBar

WHOLE, STRIPE = "whole image", "stripe"


@dataclass
class Seen:
    """Outputs of a run on a split, and means over places weighted by its evidence.

    Args:
        features: `[N, L, D]`.
        scores: `[N, L]`.
        maps: `[N, L, h, w]`.
        last: `[N, L, C]`, the backbone's last map weighted by the evidence.
        whole: `[N, C]`, its mean.
        rows: `[N, C, h]`, its mean over columns.
    """

    features: np.ndarray
    scores: np.ndarray
    maps: np.ndarray
    last: np.ndarray
    whole: np.ndarray
    rows: np.ndarray


@torch.no_grad()
def seen(run: Run, rows: Dataset, labels: list[int]) -> Seen:
    """Outputs of a run for some labels, from stored maps."""
    model, watch, accelerator = run.model().eval(), ProgressBar(quiet=True), Accelerator(cpu=True)
    use_engine(model.backbone, run.config, len(rows), torch.device("cpu"), watch.say)
    loaders = Loaders(run.config, model.backbone, accelerator, watch)
    parts: list[tuple[torch.Tensor, ...]] = []
    for batch in loaders.evaluation(rows):
        output, x = model(batch.images, want_maps=True, is_map=True), batch.images
        maps = output.maps[:, labels]
        last = torch.einsum("blhw,bchw->blc", maps, x)
        own = output.features[:, labels], output.logits, maps, last, x.mean((2, 3)), x.mean(3)
        parts.append((batch.index, *(part.half() for part in own)))
    loaders.close()
    index, *columns = (torch.cat(column) for column in zip(*parts, strict=True))
    return Seen(*(column[index.argsort()].numpy() for column in columns))


@torch.no_grad()
def cells(run: Run, rows: Dataset, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The early map and the colours on a grid: `[N, C, h, w]` and `[N, 64, h, w]` float16."""
    c = run.config
    whole = TimmBackbone(c.backbone.name, weights="none", image_size=c.image_size)
    chosen = early_stage(whole.net)
    assert chosen is not None, "a backbone with an early stage"
    number = next(
        i for i, s in enumerate(whole.net.feature_info) if whole.net.get_submodule(s["module"]) is chosen[0]
    )
    early = TimmBackbone(c.backbone.name, c.backbone.weights, c.image_size, freeze=True, stage=number)
    use_engine(early, c, len(rows), torch.device("cpu"), print)
    grid = [np.zeros((len(rows), n, *size), np.float16) for n in (chosen[1], 64)]
    for batch in eval_loader(rows, build_transform(c.one_view(), train=False), batch_size=32, workers=0):
        index = batch.index.numpy()
        grid[0][index] = adaptive_avg_pool2d(early(batch.images), size).half().numpy()
        grid[1][index] = colours(batch.images, size).half().numpy()
    return grid[0], grid[1]


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of unit length, float32."""
    x = x.astype(np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)


Feature = Callable[[int, Task], np.ndarray]
"""`[rows, D]` of a task, given its label's position among those that are judged."""


def pooled(grid: np.ndarray, weights: Callable[[int, Task], np.ndarray]) -> Feature:
    """Means over the cells of a grid, with weights `[rows or 1, h, w]`."""

    def feature(j: int, t: Task) -> np.ndarray:
        w = weights(j, t).astype(np.float32)
        x, w = grid[t.rows].astype(np.float32), np.broadcast_to(w, (len(t.rows), *w.shape[1:]))
        return np.matmul(x.reshape(*x.shape[:2], -1), w.reshape(len(w), -1, 1))[..., 0]

    return feature


def joined(*parts: Feature) -> Feature:
    """Parts of unit length, side by side."""
    return lambda j, t: np.concatenate([unit(part(j, t)) for part in parts], 1)


def roots(part: Feature) -> Feature:
    """The square root of shares."""
    return lambda j, t: np.sqrt(np.maximum(part(j, t), 0))


def weighted(part: Feature, factor: float) -> Feature:
    """A part of length `factor`, beside others of unit length; see `both`."""
    return lambda j, t: factor * unit(part(j, t))


def both(head: Feature, looks: Feature) -> Feature:
    """The head's feature beside the appearance."""
    return lambda j, t: np.concatenate([head(j, t), looks(j, t)], 1)


def looks_of(
    early: np.ndarray, shares: np.ndarray, weights: Callable[[int, Task], np.ndarray]
) -> dict[str, Feature]:
    """The early stage, the colours and both, pooled with weights."""
    stage, colour = pooled(early, weights), roots(pooled(shares, weights))
    return {"early stage": stage, "colours": colour, "early stage and colours": joined(stage, colour)}


def fixed_features(
    one: Seen, early: np.ndarray, shares: np.ndarray, run: Run, tasks: list[Task]
) -> Iterator[tuple[str, Feature]]:
    """Features that need no head."""
    size = early.shape[2:]
    yield WHOLE, lambda j, t: one.whole[t.rows]
    yield f"{WHOLE}, centred", lambda j, t: one.whole[t.rows] - one.whole.astype(np.float32).mean(0)
    even = np.full((1, *size), 1 / (size[0] * size[1]), np.float32)
    for name, feature in looks_of(early, shares, lambda j, t: even).items():
        yield f"{name}, whole image", feature
    regions = body_regions(run.labels)
    if not regions:
        return

    def stripe(t: Task, count: int) -> np.ndarray:
        low, high = STRIPES[t.group]
        edges = np.clip(np.arange(count + 1) / count, low, high)
        return np.diff(edges) / (high - low)

    yield STRIPE, lambda j, t: one.rows[t.rows].astype(np.float32) @ stripe(t, one.rows.shape[2])
    for name, feature in looks_of(
        early, shares, lambda j, t: np.tile(stripe(t, size[0])[None, :, None] / size[1], (1, 1, size[1]))
    ).items():
        yield f"{name}, stripe", feature
    blank = torch.zeros(1, len(run.labels), size[0] // 2, size[1] // 2)
    fixed = places(blank, regions)[0].numpy()
    for name, feature in looks_of(early, shares, lambda j, t: fixed[t.label][None]).items():
        yield f"{name}, region", feature


def head_features(s: Seen, early: np.ndarray, shares: np.ndarray, run: Run) -> Iterator[tuple[str, Feature]]:
    """Features that depend on a head."""
    regions = body_regions(run.labels)

    def evidence(j: int, t: Task) -> np.ndarray:
        return s.maps[t.rows, j].astype(np.float32).repeat(2, 1).repeat(2, 2) / 4

    def own(j: int, t: Task) -> np.ndarray:
        if t.label not in regions:
            return evidence(j, t)
        blank = torch.zeros(1, 1, *s.maps.shape[2:])
        return places(blank, {0: regions[t.label]})[:, 0].numpy()

    label = lambda j, t: s.features[t.rows, j]  # noqa: E731
    yield "label feature", label
    yield "label feature, centred", lambda j, t: (x := s.features[t.rows, j].astype(np.float32)) - x.mean(0)
    yield "all scores", lambda j, t: s.scores[t.rows]
    yield "last map, evidence", lambda j, t: s.last[t.rows, j]
    for name, feature in looks_of(early, shares, evidence).items():
        yield f"{name}, evidence", feature
    looks = looks_of(early, shares, own)["early stage and colours"]
    usual = HEAD_WEIGHTS[bool(regions)]
    for factor in (0.25, 0.5, 1.0, 2.0):
        name = "stored" if factor == usual else f"stored, head weight {factor:g}"
        yield name, both(weighted(label, factor), looks)
