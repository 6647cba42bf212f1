"""Checks that a resumed run has the settings, labels and data with which it began."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError, first_line
from labelwise.labels import lacking_and_extra
from labelwise.runs.config import Config, make_config
from labelwise.runs.plain_yaml import read_yaml
from labelwise.runs.run import STAGES, WEIGHTS, Run
from labelwise.training.checkpoint import has_state, recorded
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
_VECTOR_SETTINGS = ("vectors.dim", "vectors.missing", "vectors.digest", "vectors.texts_digest")
_PROCESS_ERRORS = ("gloo", "nccl", "peer", "process group", "processgroup")


def record_of(config: Config, *parts: Dataset) -> dict[str, Any]:
    """Record in every state of a run, by which a resumed run's settings and data are compared.

    Args:
        config: all settings.
        parts: training rows, and validation rows if there are any.
    """
    return {
        "config": config.model_dump(mode="json"),
        "labels": list(parts[0].labels.names),
        "data": [_digest(rows) for rows in parts],
    }


def _digest(rows: Dataset) -> str:
    """Digest of the images' names and label states."""
    names = [rows.image_id(i) for i in range(len(rows))]
    digest = hashlib.blake2b("\n".join(names).encode("utf-8", "surrogateescape"), digest_size=16)
    for array in (rows.values.astype(np.float32), rows.known):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def settings_begun(out: Path) -> dict[str, Any] | None:
    """The settings of an existing run, from its state or else its config.yaml; `None` without either.

    `test_time` is taken from config.yaml, since `labelwise tune` may have changed it after the state was saved.
    """
    stored, file = recorded(out).get("config"), out / "config.yaml"
    if stored is None:
        return read_yaml(file) if file.is_file() else None
    try:
        written = read_yaml(file) if file.is_file() else {}
    except LabelwiseError:  # truncated; the run writes it again
        written = {}
    return {**stored, **{name: written[name] for name in ("test_time",) if name in written}}


def as_begun(dataset: Dataset, out: Path) -> Dataset:
    """The same rows with the label columns in the run's order, matched by name.

    Raises:
        LabelwiseError: the rows have a label that the run lacks, or the other way round.
    """
    begun_labels = recorded(out).get("labels")
    if begun_labels is None or list(dataset.labels.names) == begun_labels:
        return dataset
    if differences := lacking_and_extra(dataset.labels.names, begun_labels):
        raise LabelwiseError(
            f"--resume with other labels ({differences})",
            "the labels that the run began with",
            "restore the table, or train on the new labels with --init-from and another --out",
        )
    note = "The order of the label columns has changed since the run began: they are matched by name."
    return dataset.with_labels(begun_labels).with_notes(note)


def claim(run: Run, resume: bool, record: Mapping[str, Any]) -> None:
    """Refuse a folder that holds another run.

    Raises:
        LabelwiseError: it holds a run and `resume` is false, or the run began with other settings or data.
    """
    if not resume:
        if has_state(run.path) or (run.path / WEIGHTS).is_file():
            raise LabelwiseError(f"{run.path} holds a run", "a new folder", "use --resume or another --out")
        return
    begun_settings = _begun_settings(run)
    if begun_settings is None:
        return
    begun = make_config(begun_settings)
    if _is_same_stage(run.path, begun.init_from, run.config.init_from):
        begun = begun.model_copy(update={"init_from": run.config.init_from})
    refuse_changes(begun, run.config)
    if recorded(run.path).get("data", record["data"]) != record["data"]:
        raise LabelwiseError(
            "--resume on data that changed since the run began",
            "the same images and labels in train and val",
            "restore the table, or train with --init-from and another --out",
        )


def refuse_changes(begun: Config, now: Config) -> None:
    """Refuse to resume with settings that would give another run.

    Raises:
        LabelwiseError: a setting has changed that is neither a log nor a number of processes.
    """
    old, new = (dotted(config.model_dump()) for config in (begun, now))
    changed = [k for k in {**new, **old} if new.get(k) != old.get(k) and k not in _MAY_CHANGE]
    if changed:
        raise LabelwiseError(
            f"--resume with another {changed[0]} ({new.get(changed[0])} after {old.get(changed[0])})",
            "the settings that the run began with",
            "restore the files of vectors.source and vectors.descriptions, or use another --out"
            if changed[0] in _VECTOR_SETTINGS
            else "leave the setting out, or use another --out",
        )


def _is_same_stage(path: Path, begun: str, now: str) -> bool:
    """Whether a stage starts from the same one as before, in a folder that was moved or is named by another path."""
    is_stage = path.parent.name == STAGES and Path(now).resolve().parent == path.resolve().parent
    return is_stage and Path(begun).name == Path(now).name


def _begun_settings(run: Run) -> dict[str, Any] | None:
    """Settings to compare with; `None` if no state was saved and config.yaml is absent or truncated."""
    try:
        settings = settings_begun(run.path)
    except LabelwiseError:
        if has_state(run.path):
            raise
        return None
    is_complete = (
        settings is not None
        and dotted(settings).keys() >= dotted(make_config({"data": {"source": ""}}).model_dump()).keys()
    )
    return settings if is_complete or has_state(run.path) else None


def dotted(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= dotted(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


@contextmanager
def readable_failures(stop: StopRequest) -> Iterator[None]:
    """Replace the traceback by one line if a decoding worker or another process has died."""
    try:
        yield
    except RuntimeError as error:
        text = first_line(error)
        is_worker = "DataLoader worker" in text
        if not is_worker and not any(name in str(error).lower() for name in _PROCESS_ERRORS):
            raise
        if stop.by:
            raise stop.stopped("; the last saved state is intact") from None
        process = "a decoding worker" if is_worker else "another process"
        raise LabelwiseError(
            f"{process} that died ({text[:120]})",
            "processes that live as long as the run",
            "check that there is enough memory, then go on with --resume; the last saved state is intact",
        ) from error
