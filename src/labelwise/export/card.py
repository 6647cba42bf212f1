"""The model card of an artefact."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.registry import METHODS
from labelwise.runs.files import read_json
from labelwise.runs.run import Run

_FIGURES = ("mAP", "CF1", "OF1", "mA")


def card_of(run: Run) -> dict[str, Any]:
    """Method, backbone, training conditions, metrics and the fingerprint of the data, from a run's own records.

    A run without results.json, such as a stopped one, has no metrics.
    """
    config = run.config
    try:
        results = read_json(run.path / "results.json")
    except LabelwiseError:
        results = {}
    splits = results.get("splits", {})
    method, _ = METHODS[config.method]
    card = {
        "method": {"name": config.method, "summary": method.summary, "source": method.source},
        **({"controls": config.controls} if config.controls else {}),
        "backbone": config.backbone.name,
        "backbone_weights": config.backbone.weights.split("/")[-1],
        "image_size": config.image_size,
        "loss": config.loss,
        "seed": config.seed,
        "training": results.get("training", {}),
        "metrics": {name: _main_figures(split.get("metrics", {})) for name, split in splits.items()},
        "data": {name: _data_record(split.get("conditions", {})) for name, split in splits.items()},
    }
    first_split: dict[str, Any] = next(iter(splits.values()), {})
    conditions = first_split.get("conditions", {})
    card["software"] = {key: conditions[key] for key in ("labelwise_commit", "torch") if key in conditions}
    return card


def portable_decisions(run: Run) -> Decisions:
    """A run's decisions with an origin that has the kind of the data but not their folder."""
    decisions, source = run.decisions(), run.config.data.source
    kind = source.partition(":")[0] if ":" in source else "the data"
    return replace(decisions, source=decisions.source.replace(source, kind))


def _main_figures(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: metrics[name] for name in _FIGURES if isinstance(metrics.get(name), float)}


def _data_record(conditions: dict[str, Any]) -> dict[str, Any]:
    """Kind, size and fingerprint of the data, without their folder."""
    source = str(conditions.get("data", ""))
    record = {"source": source.partition(":")[0] if ":" in source else ""}
    return record | {
        key: conditions[key] for key in ("images", "labels", "image_ids_sha256") if key in conditions
    }
