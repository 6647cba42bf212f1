"""Reads a run folder into one record for the report."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from labelwise.data.npz import read_npz
from labelwise.decisions import Decisions, Floors, Tuning
from labelwise.errors import LabelwiseError
from labelwise.evaluation.refit import fit_of
from labelwise.evaluation.scores import StoredScores
from labelwise.jsonfile import read_json
from labelwise.runs.plain_yaml import read_yaml
from labelwise.types import LabelSet


@dataclass(frozen=True)
class RecordedScores:
    """The model's scores of a split, row by row.

    Args:
        ids: `[N]` image ids.
        probabilities: `[N, L]` float32 in [0, 1], calibrated if the run is.
        true: `[N, L]` bool, a value of at least 0.5; undefined where not known.
        known: `[N, L]` bool.
        selected: `[N, L]` bool, the labels selected by the run's decisions; on the images that these were fitted on, by
            fits without the image's fold.
    """

    ids: np.ndarray
    probabilities: Float[np.ndarray, "N L"]
    true: Bool[np.ndarray, "N L"]
    known: Bool[np.ndarray, "N L"]
    selected: Bool[np.ndarray, "N L"]


@dataclass(frozen=True)
class RunRecord:
    """The contents of a run folder.

    Args:
        path: the folder.
        names: label names in column order.
        thresholds: `[L]` probabilities; 0.5 if the run stores none.
        thresholds_from: description of the origin of the thresholds.
        config: all settings, nested.
        splits: name -> `{"protocol", "metrics", "per_label", "conditions"}`.
        training: epochs, best epoch, seconds and similar values.
        steps: one dict per logged training step.
        epochs: one dict per epoch.
        scores: split -> scores, for the splits that have them.
        bad_images: (image, reason) pairs.
        never: columns of labels without a positive in training, which are never selected.
        floors: what is promised of a precision or recall floor; `None` if the thresholds are of another objective.
    """

    path: Path
    names: tuple[str, ...]
    thresholds: Float[np.ndarray, " L"]
    thresholds_from: str
    config: Mapping[str, Any]
    splits: Mapping[str, Mapping[str, Any]]
    training: Mapping[str, Any]
    steps: list[dict[str, Any]]
    epochs: list[dict[str, Any]]
    scores: Mapping[str, RecordedScores]
    bad_images: list[tuple[str, str]]
    never: tuple[int, ...] = ()
    floors: Floors | None = None

    @property
    def shown_split(self) -> str:
        """The split in the headline: test, else val, else the first one."""
        return next((name for name in ("test", "val") if name in self.splits), next(iter(self.splits)))


def read_run(path: Path) -> RunRecord:
    """The record of a run folder; `labels.json` and `results.json` are required, the rest is optional.

    Raises:
        LabelwiseError: names the file that is missing, broken or inconsistent with the labels.
    """
    if not path.is_dir():
        raise LabelwiseError(
            f"run folder {path}, which does not exist", "a folder that train wrote", "check the path"
        )
    labels, results = read_json(path / "labels.json"), read_json(path / "results.json")
    for name, content in (("labels.json", labels), ("results.json", results)):
        if not isinstance(content, dict):
            kind = type(content).__name__
            raise LabelwiseError(f"{path / name} holding a {kind}", "an object", "evaluate the run again")
    if results.get("format") != 1:
        raise LabelwiseError(
            f"{path / 'results.json'} of format {results.get('format')!r}",
            "format 1",
            "evaluate the run again",
        )
    if not results.get("splits"):
        raise LabelwiseError(
            f"{path / 'results.json'} without splits",
            "at least one evaluated split",
            "evaluate the run first",
        )
    names = tuple(labels.get("names", ()))
    if not names:
        raise LabelwiseError(
            f"{path / 'labels.json'} without names", "the label names", "train the run again"
        )
    decisions = Decisions.from_json(labels, LabelSet(names))
    log = _read_log(path / "metrics.jsonl")
    config = read_yaml(path / "config.yaml") if (path / "config.yaml").is_file() else {}
    fit = partial(fit_of, decisions, LabelSet.from_json(labels), str(config.get("init_from") or ""))
    return RunRecord(
        path=path,
        names=names,
        thresholds=decisions.thresholds,
        thresholds_from=str(labels.get("thresholds_from") or "not tuned, 0.5 for every label"),
        config=config,
        splits=results["splits"],
        training=results.get("training") or {},
        steps=[line for line in log if line.get("kind") == "step"],
        epochs=[line for line in log if line.get("kind") == "epoch"],
        scores={
            split: _read_scores(file, decisions, partial(fit, split=split))
            for split in results["splits"]
            if (file := path / "scores" / f"{split}.npz").is_file()
        },
        bad_images=_read_bad_images(path / "bad_images.csv"),
        never=decisions.never,
        floors=decisions.floors,
    )


def finite_number(value: Any) -> float | None:
    """The value as a finite float, or `None` for anything else (missing, NaN, text)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted key, text) rows, in their own order.

    >>> flatten({"seed": 0, "optim": {"lr": 0.1, "betas": [0.9, 0.999]}})
    [('seed', '0'), ('optim.lr', '0.1'), ('optim.betas', '0.9, 0.999')]
    """
    rows: list[tuple[str, str]] = []
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            rows += flatten(value, name + ".")
        else:
            rows.append((name, _setting_text(value)))
    return rows


def _setting_text(value: Any) -> str:
    if value is None or value in ([], {}, ""):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_setting_text(item) for item in value)
    return str(value)


def _read_log(file: Path) -> list[dict[str, Any]]:
    """The lines of the training log; a last line truncated by a crash is left out."""
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8").splitlines()
    records = []
    for position, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except ValueError:
            if position == len(lines):
                break
            raise LabelwiseError(
                f"line {position} of {file}", "one JSON object a line", "remove the broken line"
            ) from None
    return records


def _read_scores(
    file: Path, decisions: Decisions, fit: Callable[[StoredScores], Tuning | None]
) -> RecordedScores:
    try:
        ids, logits, values, known = read_npz(file, ("ids", "logits", "values", "known"))
    except ValueError as error:
        raise LabelwiseError(
            f"{file} ({error})", "arrays ids, logits, values and known", "evaluate the run again"
        ) from None
    shape = (len(ids), len(decisions))
    for name, array in (("logits", logits), ("values", values), ("known", known)):
        if array.shape != shape:
            raise LabelwiseError(
                f"{name} of shape {array.shape} in {file}",
                f"{shape} for {len(ids)} images and {len(decisions)} labels",
                "evaluate the run again",
            )
    probabilities = decisions.probabilities(logits)
    selected, known = decisions.select(probabilities), known.astype(bool)
    if (tuning := fit(StoredScores(ids, logits, values, known))) is not None:
        probabilities, selected = tuning.probabilities, tuning.selected
    return RecordedScores(ids, probabilities.astype(np.float32), values >= 0.5, known, selected)


def _read_bad_images(file: Path) -> list[tuple[str, str]]:
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return [(row.get("image") or "", row.get("reason") or "") for row in csv.DictReader(stream)]
