"""Training that starts from the weights of another run and adds labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.composition import Method
from labelwise.composition.growth import grow
from labelwise.data.dataset import Dataset
from labelwise.data.implied import with_rules
from labelwise.errors import LabelwiseError
from labelwise.runs.config import Config
from labelwise.runs.run import Run
from labelwise.types import LabelPriors, LabelSet

_MODEL_SETTINGS = (
    "method",
    "backbone",
    "extractor",
    "relation",
    "classifier",
    "vectors",
    "controls",
    "image_size",
    "augment",
    "test_time",
)


def settings_of_run(init_from: str | Path) -> dict[str, Any]:
    """The settings of a run that decide the shape of its model; the caller may override them.

    Raises:
        LabelwiseError: not a run.
    """
    return _untaught_run(init_from).config.model_dump(mode="json", include=set(_MODEL_SETTINGS))


def _untaught_run(init_from: str | Path) -> Run:
    """The run to start from.

    Raises:
        LabelwiseError: it has taught labels, which are no part of its method.
    """
    run = Run.open(init_from)
    if taught := run.config.taught.labels:
        raise LabelwiseError(
            f"--init-from {init_from}, which has taught labels ({', '.join(taught[:8])})",
            "the run that they were taught to",
            "name that run, and teach them again",
        )
    return run


def with_labels_of(data: Dataset, init_from: str | Path) -> Dataset:
    """The same rows with the columns of a run's labels first, in the run's order, then the new labels.

    A label of the run that the data lack is unknown in every row. Cells that the run's rules imply are filled in.
    """
    run = _untaught_run(init_from)
    run_names, new = run.labels.names, data.labels.names
    lacking = [name for name in run_names if name not in new]
    rows = data.with_unknown_labels(lacking) if lacking else data
    groups = {**run.labels.groups, **data.labels.groups}
    rows = replace(rows, labels=LabelSet(rows.labels.names, groups, data.labels.rules))
    if run.labels.rules and run.labels.rules != data.labels.rules:
        rows = with_rules(rows, run.labels.rules, "the rules of the run to go on from")
    return rows.with_labels([*run_names, *(name for name in new if name not in run_names)])


def never_selected(rows: Dataset, init_from: str | Path) -> tuple[int, ...]:
    """Columns of the labels without a known positive in the training rows, which cannot be learned.

    A label that the run `init_from` has already learned is not among them, even if these rows lack it.

    Args:
        rows: the training rows, after cells are hidden for training.
        init_from: the run to start from, or "" for none.
    """
    empty = ~rows.positive.any(0)
    if init_from:
        earlier = Run.open(init_from)
        unlearned = {earlier.labels.names[j] for j in earlier.decisions().never}
        learned = set(earlier.labels.names) - unlearned
        empty &= np.array([name not in learned for name in rows.labels])
    return tuple(np.flatnonzero(empty).tolist())


def grow_from(init_from: str | Path, config: Config, method: Method, priors: LabelPriors) -> None:
    """Copy the weights of a run into a newly built method.

    Raises:
        LabelwiseError: the run is not finished, it has other parts, its vectors come from another source, or its
            labels depend on each other.
    """
    run = Run.open(init_from)
    old, new = ((c.vectors.dim, c.vectors.digest) for c in (run.config, config))
    if old != new:
        sources = [
            f"{dim} numbers" + (f" of the model {digest[:8]}" if digest else "") for dim, digest in (new, old)
        ]
        raise LabelwiseError(
            f"--init-from with other label vectors ({sources[0]} after {sources[1]})",
            "those of the run, since its labels share one map of them",
            "set the vectors.source of the run",
        )
    grow(run.model(), method, run.config.method, priors)
