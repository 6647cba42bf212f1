"""The folder of a run with a taught label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from labelwise.collection.few import Fitted
from labelwise.data.wholefile import whole_folder
from labelwise.decisions import Decisions
from labelwise.decisions.floors import Floors
from labelwise.evaluation.frequency import COUNTS
from labelwise.evaluation.growth import TAKEN_OVER
from labelwise.export.artefact import sha256
from labelwise.inference.familiarity import Familiarity
from labelwise.inference.prediction import FAMILIARITY
from labelwise.runs.files import read_json, write_atomic, write_json
from labelwise.runs.run import WEIGHTS, Run
from labelwise.runs.sealed import load_sealed, save_sealed
from labelwise.types import LabelSet


def write_run(run: Run, out: Path, name: str, fitted: Fitted, positives: int, base: str) -> None:
    """Writes a run with one more label, whole or not at all.

    Args:
        run: the run before.
        out: new or empty folder.
        name: of the label.
        fitted: its classifier and threshold.
        positives: number of its examples.
        base: digest of the weights of the run before its first taught label.
    """
    state = load_sealed(run.path / WEIGHTS)
    weight, bias = torch.from_numpy(fitted.weight).float()[None], torch.tensor([fitted.bias]).float()
    for key, new_row in (("added.weight", weight), ("added.bias", bias)):
        state[key] = torch.cat([state[key], new_row]) if key in state else new_row
    labels = LabelSet((*run.labels.names, name), run.labels.groups, run.labels.rules)
    previous = run.config.taught
    taught = previous.model_copy(update={"labels": [*previous.labels, name], "run": base})
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(out) as draft:
        new_run = Run(draft, run.config.model_copy(update={"taught": taught}), labels)
        new_run.save_settings()
        new_run.save_decisions(_with_label(run.decisions(), fitted))
        write_atomic(draft / WEIGHTS, lambda file: save_sealed(state, file))
        results = read_json(run.path / "results.json") if (run.path / "results.json").is_file() else {}
        training = {**results.get("training", {}), TAKEN_OVER: len(run.labels)}
        if COUNTS in training:
            training[COUNTS] = {**training[COUNTS], name: positives}
        write_json(draft / "results.json", {"format": 1, "splits": {}, "training": training})
        if (run.path / FAMILIARITY).is_file():
            replace(Familiarity.of_run(run.path), model=sha256(draft / WEIGHTS)).save(draft)


def _with_label(decisions: Decisions, fitted: Fitted) -> Decisions:
    """The decisions with those of the new label at the end; it is never selected if it was not learned."""
    return replace(
        decisions,
        thresholds=np.append(decisions.thresholds, fitted.threshold),
        scale=np.append(decisions.scale, 1.0),
        bias=np.append(decisions.bias, 0.0),
        never=decisions.never if fitted.learned else (*decisions.never, len(decisions)),
        floors=None if decisions.floors is None else _with_unpromised(decisions.floors),
    )


def _with_unpromised(floors: Floors) -> Floors:
    """The floors with a label that nothing is promised for."""
    return replace(
        floors,
        promised=np.append(floors.promised, False),
        hits=np.append(floors.hits, 0),
        trials=np.append(floors.trials, 0),
        short=np.append(floors.short, -1),
    )
