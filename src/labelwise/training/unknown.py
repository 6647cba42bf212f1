"""Training cells of unknown state: which cells are hidden, how the loss treats them, and what is logged about them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from labelwise.data import (
    group_mask,
    known_mask,
    positives_mask,
    read_cells,
    save_cells,
    single_positive_mask,
)
from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError, advice
from labelwise.losses import Facts, UnknownLoss
from labelwise.options import build_part
from labelwise.registry import STRATEGIES
from labelwise.runs.config import Config, DataSettings
from labelwise.runs.files import write_atomic

KNOWN = "known.npz"
IGNORE = "ignore"
"""Leaves unknown cells out; every loss does this by default, so there is no strategy of this name."""
FEW_KNOWN, FEW_IMAGES = 0.3, 600


def shown_rows(rows: Dataset, settings: DataSettings) -> Dataset:
    """The training rows after the settings have hidden cells.

    Raises:
        LabelwiseError: the settings contradict each other, or the mask file is of other images or labels.
    """
    mask = _mask(rows, settings)
    return rows if mask is None else rows.with_known(mask)


def _mask(rows: Dataset, settings: DataSettings) -> Bool[np.ndarray, "N L"] | None:
    """The cells that stay known; `None` if the settings hide none."""
    share, kind = settings.known_proportion, settings.known
    hides = share != 1 or kind != "cells"
    if settings.mask_file:
        if hides:
            raise LabelwiseError(
                "data.mask_file beside known_proportion or known",
                "one of them",
                "leave one out; a mask file already lists the cells that stay known",
            )
        return read_cells(Path(settings.mask_file), "known", rows).astype(bool)
    if kind == "single-positive":
        if share != 1:
            raise LabelwiseError(
                f"known_proportion {share:g} with single positives", "one of them", "leave one out"
            )
        return single_positive_mask(rows.positive)
    if kind == "positives":
        return positives_mask(rows.positive, share)
    if kind == "groups":
        if rows.group is None:
            raise LabelwiseError(
                "data.known=groups and images without groups",
                "a table with the column group",
                "add it, or set data.known to cells",
            )
        return group_mask(rows.group, len(rows.labels), share)
    return known_mask(len(rows), len(rows.labels), share) if hides else None


def keep_mask(folder: Path, rows: Dataset, settings: DataSettings) -> None:
    """Write `known.npz` into a run that hides cells; another run can read it as `data.mask_file`."""
    if settings.mask_file or settings.known_proportion != 1 or settings.known != "cells":
        write_atomic(folder / KNOWN, lambda temporary: save_cells(temporary, "known", rows.known, rows))


def strategy(config: Config, rows: Dataset) -> str:
    """The strategy's name. `auto` is `ignore` if any cell is a known negative, else `negative`.

    Without any known negative, nothing but assumed negatives would keep scores low. Chosen by the table of
    recipes/partial/voc-strategies.yaml, see results/LOG.md.
    """
    name = config.unknown["name"]
    if name != "auto":
        return name
    return IGNORE if (rows.known & ~rows.positive).any() else "negative"


def method_of(config: Config, rows: Dataset) -> str:
    """The method's id; `auto` is `dlfl` unless there is little training data.

    If less than `FEW_KNOWN` of the training cells are known, it is `baseline-mlp`: one shared feature then learns
    more than a feature per label. With up to `FEW_IMAGES` images it is `csra`, which does not have to learn where to
    attend. Both hold for maps of 7 x 7 and 14 x 14: see docs/comparison.md. Controls, and options of an extractor,
    relation or classifier, select dlfl. Terms of the loss rule out `csra`, since its head has no classifier of label
    features.

    Args:
        rows: the training rows, after cells are hidden.
    """
    if config.method != "auto":
        return config.method
    if config.extractor or config.relation or config.classifier or config.controls:
        return "dlfl"
    if rows.known.mean() < FEW_KNOWN:
        return "baseline-mlp"
    return "csra" if len(rows) <= FEW_IMAGES and not config.terms() else "dlfl"


def unknown_loss(config: Config, rows: Dataset, loss: nn.Module) -> UnknownLoss | None:
    """The loss of unknown cells, or `None` for `ignore`, which leaves them out.

    Args:
        config: with `unknown`.
        rows: the training rows, after cells are hidden.
        loss: the chosen loss.

    Raises:
        LabelwiseError: unknown strategy, options that it does not take, or settings that exclude it.
    """
    options = {k: v for k, v in config.unknown.items() if k != "name"}
    name = strategy(config, rows)
    if name != IGNORE and name not in STRATEGIES:
        known = ["auto", IGNORE, *STRATEGIES]
        raise LabelwiseError(f"--unknown {name}", f"one of {', '.join(known)}", advice(name, known))
    if name == IGNORE:
        if options:
            raise LabelwiseError(
                f"unknown.{next(iter(options))} with --unknown ignore", "no options", "leave it out"
            )
        return None
    for mixing in ("mixup", "cutmix"):
        if share := getattr(config, mixing):
            raise LabelwiseError(
                f"--unknown {name} with {mixing}={share:g}",
                "images that are not blended: a blended cell is unknown if either image's cell is",
                f"set {mixing} to 0, or use --unknown ignore",
            )
    file = options.get("file") if name == "external" else None
    scores = _scores(Path(str(file)), rows) if file else None
    facts = Facts(len(rows), len(rows.labels), _prior(rows), scores)
    return UnknownLoss(loss, build_part(STRATEGIES[name], "unknown", options, {"facts": facts}))


def _scores(file: Path, rows: Dataset) -> Tensor:
    """External scores `[N, L]` of the training rows, from an npz file."""
    scores = read_cells(file, "scores", rows)
    if scores.dtype.kind not in "fiub":
        raise LabelwiseError(
            f"{file} with scores of type {scores.dtype}", "numbers in [0, 1]", "write it again"
        )
    return torch.from_numpy(scores.astype(np.float32))


def _prior(rows: Dataset) -> Tensor:
    """Share of positives among known cells; among all images for a label without known negatives."""
    positive, known = rows.positive.sum(0), rows.known.sum(0)
    counted = np.where(known > positive, known, len(rows))
    return torch.from_numpy((positive / np.maximum(counted, 1)).astype(np.float32))


def record(config: Config, rows: Dataset) -> dict[str, Any]:
    """The entry of results: counts of known cells, the digest of the mask (uint8, C order), and the strategy."""
    mask = np.ascontiguousarray(rows.known, dtype=np.uint8)
    return {
        "known_positives": int(rows.positive.sum()),
        "known_negatives": int((rows.known & ~rows.positive).sum()),
        "unknown_cells": int((~rows.known).sum()),
        "known_sha256": hashlib.sha256(mask.tobytes()).hexdigest(),
        "unknown": {**config.unknown, "name": strategy(config, rows)},
    }


def unknown_notes(config: Config, rows: Dataset) -> Iterator[str]:
    """Log lines about unknown training cells, printed before the first step."""
    unknown, cells = int((~rows.known).sum()), rows.known.size
    if not unknown:
        return
    name = strategy(config, rows)
    treatment = "left out of the loss" if name == IGNORE else STRATEGIES[name].treatment
    yield f"note: {unknown:,} of {cells:,} training cells are unknown: {treatment} (--unknown {name})"
    if name in (IGNORE, "durand") and not (rows.known & ~rows.positive).any():
        yield "warning: no training cell is known to be absent, so nothing keeps scores low; choose another --unknown"
