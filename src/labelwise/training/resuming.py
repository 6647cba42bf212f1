"""Whether a run that goes on is the one that began: its settings, its labels, its data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError, first_line
from labelwise.training.checkpoint import has_state, recorded
from labelwise.training.config import Config, make_config
from labelwise.training.plain_yaml import read_yaml
from labelwise.training.run import WEIGHTS, Run
from labelwise.training.stopping import StopRequest

_MAY_CHANGE = (
    "test_time",
    "workers",
    "log_every",
    "save_every",
    "tensorboard",
    "mlflow",
    "wandb",
    "data.max_unreadable",
)
_OF_VECTORS = ("vectors.dim", "vectors.missing", "vectors.digest", "vectors.texts_digest")
_OF_PROCESSES = ("gloo", "nccl", "peer", "process group", "processgroup")


def record_of(config: Config, *parts: Dataset) -> dict[str, Any]:
    """What every state of a run carries, so that another run's settings or data are not taken for its own.

    Args:
        config: all settings.
        parts: rows that are learned, and those that are chosen by.
    """
    return {
        "config": config.model_dump(mode="json"),
        "labels": list(parts[0].labels.names),
        "data": [_digest(rows) for rows in parts],
    }


def _digest(rows: Dataset) -> str:
    """Of the images' names and label states."""
    names = [rows.image_id(i) for i in range(len(rows))]
    digest = hashlib.blake2b("\n".join(names).encode("utf-8", "surrogateescape"), digest_size=16)
    for array in (rows.values.astype(np.float32), rows.known):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def settings_begun(out: Path) -> dict[str, Any] | None:
    """The settings of a run that is there: as its state holds them, or its config.yaml; `None` where neither is.

    `test_time` is config.yaml's, which `labelwise tune` may have changed since the state was saved.
    """
    stored, file = recorded(out).get("config"), out / "config.yaml"
    if stored is None:
        return read_yaml(file) if file.is_file() else None
    try:
        written = read_yaml(file) if file.is_file() else {}
    except LabelwiseError:  # cut short, and written anew
        written = {}
    return {**stored, **{name: written[name] for name in ("test_time",) if name in written}}


def as_begun(dataset: Dataset, out: Path) -> Dataset:
    """The same rows with the label columns in the order that the run began with, matched by name.

    Raises:
        LabelwiseError: a label that the run lacks, or the other way round.
    """
    begun = recorded(out).get("labels")
    if begun is None or list(dataset.labels.names) == begun:
        return dataset
    lacking = [n for n in begun if n not in dataset.labels.names]
    extra = [n for n in dataset.labels.names if n not in begun]
    if lacking or extra:
        parts = (("lacking", lacking), ("extra", extra))
        told = "; ".join(f"{what}: {', '.join(names[:5])}" for what, names in parts if names)
        raise LabelwiseError(
            f"--resume with other labels ({told})",
            "the labels that the run began with",
            "restore the table, or train on the new labels with --init-from and another --out",
        )
    told = "The label columns stand in another order than when the run began: they are matched by name."
    return dataset.with_labels(begun).with_notes(told)


def claim(run: Run, resume: bool, record: Mapping[str, Any]) -> None:
    """Refuse a folder that holds another run.

    Raises:
        LabelwiseError: it holds a run and `resume` is not asked for, or the run began with other settings or data.
    """
    if not resume:
        if has_state(run.path) or (run.path / WEIGHTS).is_file():
            raise LabelwiseError(f"{run.path} holds a run", "a new folder", "use --resume or another --out")
        return
    begun = _comparable(run)
    if begun is None:
        return
    before, now = (_flat(c.model_dump()) for c in (make_config(begun), run.config))
    changed = [k for k in {**now, **before} if now.get(k) != before.get(k) and k not in _MAY_CHANGE]
    if changed:
        raise LabelwiseError(
            f"--resume with another {changed[0]} ({now.get(changed[0])} after {before.get(changed[0])})",
            "the settings that the run began with",
            "put what vectors.source and vectors.descriptions name back, or use another --out"
            if changed[0] in _OF_VECTORS
            else "leave the setting out, or use another --out",
        )
    if recorded(run.path).get("data", record["data"]) != record["data"]:
        raise LabelwiseError(
            "--resume on data that changed since the run began",
            "the same images and labels in train and val",
            "restore the table, or train with --init-from and another --out",
        )


def _comparable(run: Run) -> dict[str, Any] | None:
    """Settings to compare with; `None` where nothing was saved and config.yaml is absent or cut short."""
    try:
        begun = settings_begun(run.path)
    except LabelwiseError:
        if has_state(run.path):
            raise
        return None
    whole = (
        begun is not None
        and _flat(begun).keys() >= _flat(make_config({"data": {"source": ""}}).model_dump()).keys()
    )
    return begun if whole or has_state(run.path) else None


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


@contextmanager
def told_failures(stop: StopRequest) -> Iterator[None]:
    """Tell in one line of a decoding worker or another process that died; what was saved is whole."""
    try:
        yield
    except RuntimeError as error:
        text = first_line(error)
        of_worker = "DataLoader worker" in text
        if not of_worker and not any(word in str(error).lower() for word in _OF_PROCESSES):
            raise
        if stop.by:
            raise stop.stopped("; the last saved state stands") from None
        what = "a decoding worker" if of_worker else "another process"
        raise LabelwiseError(
            f"{what} that died ({text[:120]})",
            "processes that live as long as the run",
            "see that there is memory enough, then go on with --resume; the last saved state is intact",
        ) from error
