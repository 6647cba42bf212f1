"""Training cells whose state is unknown: which are hidden, what the loss does with them, and what is said of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from labelwise.data import known_mask, positives_mask, read_cells, save_cells, single_positive_mask
from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError
from labelwise.losses import Facts, UnknownLoss
from labelwise.losses.strategies import IGNORE, STRATEGIES
from labelwise.methods.compose import Part
from labelwise.training.config import TERMS, Config, DataSettings
from labelwise.training.files import write_atomic

KNOWN = "known.npz"
FEW_KNOWN, FEW_IMAGES = 0.3, 600


def shown_rows(rows: Dataset, settings: DataSettings) -> Dataset:
    """The training rows with the cells hidden that settings hide.

    Raises:
        LabelwiseError: settings that contradict each other, or a mask file of other images or labels.
    """
    mask = _mask(rows, settings)
    return rows if mask is None else rows.with_known(mask)


def _mask(rows: Dataset, settings: DataSettings) -> Bool[np.ndarray, "N L"] | None:
    share, kind = settings.known_proportion, settings.known
    drawn = share != 1 or kind != "cells"
    if settings.mask_file:
        if drawn:
            raise LabelwiseError(
                "data.mask_file beside known_proportion or known",
                "one of them",
                "leave one out; a mask file says itself which cells stay known",
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
    return known_mask(len(rows), len(rows.labels), share) if drawn else None


def keep_mask(folder: Path, rows: Dataset, settings: DataSettings) -> None:
    """Write `known.npz` into a run that hides cells, for `data.mask_file` of another one."""
    if settings.mask_file or settings.known_proportion != 1 or settings.known != "cells":
        write_atomic(folder / KNOWN, lambda part: save_cells(part, "known", rows.known, rows))


def strategy(config: Config, rows: Dataset) -> str:
    """The strategy's name; `auto` leaves unknown cells out where some cell is known to be absent, and takes them for
    negatives where none is, since nothing else would keep scores low.

    Chosen by the table of recipes/partial/voc-strategies.yaml, see results/LOG.md.
    """
    name = config.unknown["name"]
    if name != "auto":
        return name
    return IGNORE if (rows.known & ~rows.positive).any() else "negative"


def method_of(config: Config, rows: Dataset) -> str:
    """The method's id; `auto` is `dlfl`, but where there is little to learn from.

    Under `FEW_KNOWN` of the training cells known it is `baseline-mlp`, for one shared feature then learns more than a
    feature per label; of up to `FEW_IMAGES` images it is `csra`, which does not have to learn where to look. Both hold
    at 7 x 7 and at 14 x 14 places: see docs/comparison.md. Options of an extractor, relation or classifier are taken
    for dlfl's, and so are terms of the loss where the choice is `csra`, whose head has no classifier of label features.

    Args:
        rows: the training rows as they are shown.
    """
    if config.method != "auto":
        return config.method
    if config.extractor or config.relation or config.classifier:
        return "dlfl"
    if rows.known.mean() < FEW_KNOWN:
        return "baseline-mlp"
    terms = any(getattr(config, term) for term in TERMS)
    return "csra" if len(rows) <= FEW_IMAGES and not terms else "dlfl"


def unknown_loss(config: Config, rows: Dataset, loss: nn.Module) -> UnknownLoss | None:
    """What judges unknown cells, or `None` where they are left out.

    Args:
        config: with `unknown`.
        rows: the training rows as they are shown.
        loss: the chosen loss.

    Raises:
        LabelwiseError: no such strategy, options that it does not take, or settings that do not go with it.
    """
    options = {k: v for k, v in config.unknown.items() if k != "name"}
    name = strategy(config, rows)
    file = options.pop("file", None)
    if name != IGNORE and name not in STRATEGIES:
        known = ", ".join(["auto", IGNORE, *STRATEGIES])
        raise LabelwiseError(f"--unknown {name}", f"one of {known}", "see docs/partial-labels.md")
    if file is not None and name != "external":
        raise LabelwiseError(f"unknown.file with --unknown {name}", "--unknown external", "leave one out")
    if name == IGNORE:
        if options:
            raise LabelwiseError(
                f"unknown.{next(iter(options))} with --unknown ignore", "no options", "leave it out"
            )
        return None
    for joined in ("mixup", "cutmix"):
        if share := getattr(config, joined):
            raise LabelwiseError(
                f"--unknown {name} with {joined}={share:g}",
                "images as they are: a blend's cell is unknown where one image's is",
                f"set {joined} to 0, or use --unknown ignore",
            )
    scores = None if file is None else _scores(Path(str(file)), rows)
    facts = Facts(len(rows), len(rows.labels), _prior(rows), scores)
    return UnknownLoss(loss, Part(STRATEGIES[name], {"facts": facts}).build("unknown", options))


def _scores(file: Path, rows: Dataset) -> Tensor:
    found = read_cells(file, "scores", rows)
    if found.dtype.kind not in "fiub":
        raise LabelwiseError(
            f"{file} with scores of type {found.dtype}", "numbers in [0, 1]", "write it anew"
        )
    return torch.from_numpy(found.astype(np.float32))


def _prior(rows: Dataset) -> Tensor:
    """Share of positives among known cells; over all images where a label is never known to be absent."""
    positive, known = rows.positive.sum(0), rows.known.sum(0)
    over = np.where(known > positive, known, len(rows))
    return torch.from_numpy((positive / np.maximum(over, 1)).astype(np.float32))


def record(config: Config, rows: Dataset) -> dict[str, Any]:
    """What results say of it: counts of known cells, the digest of the mask (uint8, C order), and the strategy."""
    mask = np.ascontiguousarray(rows.known, dtype=np.uint8)
    return {
        "known_positives": int(rows.positive.sum()),
        "known_negatives": int((rows.known & ~rows.positive).sum()),
        "unknown_cells": int((~rows.known).sum()),
        "known_sha256": hashlib.sha256(mask.tobytes()).hexdigest(),
        "unknown": {**config.unknown, "name": strategy(config, rows)},
    }


def told(config: Config, rows: Dataset) -> Iterator[str]:
    """What is said of unknown training cells before the first step."""
    unknown, cells = int((~rows.known).sum()), rows.known.size
    if not unknown:
        return
    name = strategy(config, rows)
    says = "left out of the loss" if name == IGNORE else STRATEGIES[name].says
    yield f"note: {unknown:,} of {cells:,} training cells are unknown: {says} (--unknown {name})"
    if name in (IGNORE, "durand") and not (rows.known & ~rows.positive).any():
        yield "warning: no training cell is known to be absent, so nothing keeps scores low; choose another --unknown"
