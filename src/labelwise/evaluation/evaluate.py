"""Evaluation of a run on a split: metrics with the conditions under which they hold."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from labelwise.classifiers import PerLabelClassifier
from labelwise.data import read
from labelwise.data.dataset import Dataset
from labelwise.data.loading import eval_loader
from labelwise.data.splits import ensure_splits
from labelwise.data.transforms import build_transform
from labelwise.decisions import Tuning
from labelwise.engines.frozen_engine import EAGER, engine_name, use_engine
from labelwise.errors import LabelwiseError
from labelwise.evaluation.evidence import Evidence
from labelwise.evaluation.figures import decision_conditions, figures, replace_nan, replaced
from labelwise.evaluation.frequency import COUNTS, Frequencies, frequencies_of
from labelwise.evaluation.groups import group_figures
from labelwise.evaluation.growth import growth_figures, labels_taken_over
from labelwise.evaluation.labels import same_labels, under_rules
from labelwise.evaluation.origin import code_version
from labelwise.evaluation.protocols import RULES, Protocol
from labelwise.evaluation.protocols import protocol as protocol_named
from labelwise.evaluation.refit import fit_of
from labelwise.evaluation.scores import Scores, collect, gather
from labelwise.metrics.angles import AngleReport
from labelwise.model import LabelModel
from labelwise.runs.config import Config
from labelwise.runs.mistakes import seen_in_training
from labelwise.runs.run import WEIGHTS, Run
from labelwise.types import Batch, Output


@dataclass(frozen=True)
class Result:
    """The result of `evaluate`.

    Args:
        protocol: name and rules of the metrics.
        metrics: metrics over all labels, fractions in [0, 1].
        per_label: metrics of each label.
        conditions: data, split sizes, resolution, weights, software.
        angles: the angle report, if requested.
        scores: the scores that the metrics were computed from.
    """

    protocol: dict[str, Any]
    metrics: dict[str, Any]
    per_label: dict[str, dict[str, Any]]
    conditions: dict[str, Any]
    scores: Scores
    angles: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The result as JSON data, without the scores."""
        record = {
            "protocol": self.protocol,
            "metrics": self.metrics,
            "per_label": self.per_label,
            "conditions": self.conditions,
        }
        return {**record, "angles": self.angles} if self.angles is not None else record

    def again(self, run: Run, tuning: Tuning | None = None) -> Result:
        """The result of the same scores under the run's changed decisions.

        Args:
            run: a run with its new decisions stored.
            tuning: passed if the decisions were fitted on these images.
        """
        decisions = run.decisions()
        metrics, per_label = figures(self.scores, run.labels.names, decisions, tuning)
        return replace(
            self,
            metrics={**self.metrics, **metrics},
            per_label={name: replaced(self.per_label[name], changed) for name, changed in per_label.items()},
            conditions=replaced(self.conditions, decision_conditions(decisions, tuning is not None)),
        )


def evaluate(
    run: Run | str | Path,
    data: Dataset,
    split: str = "test",
    *,
    angles: bool = False,
    pointing: bool = True,
    protocol: str | None = None,
    cross_fit: bool = True,
    batch_size: int = 32,
    workers: int = 0,
    say: Callable[[str], None] | None = None,
) -> Result:
    """Evaluates a run on a split of a data set.

    With several processes, each image is scored once and every process gets the same result.

    Args:
        run: a run or its folder.
        data: a data set with the run's labels, in any order; `same_labels` handles labels that only one of them has.
        split: name of the split, or several as `val+test`.
        angles: also report the angles between label features and their classifiers.
        pointing: also evaluate the maps, by their spread and, where boxes are known, by the pointing game.
        protocol: name of the data set's protocol; its conventions are checked and its metrics are added.
        cross_fit: decide images that the run's decisions were fitted on by fits without their folds, as training did.
        say: called with each message for the user.

    Raises:
        LabelwiseError: no such split, other labels, no readable image, or another convention than the protocol's.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    named_protocol = protocol_named(protocol) if protocol else None
    data = under_rules(same_labels(data, run.labels.names, whole=named_protocol is not None), run.labels)
    rows = named_protocol.rows(run.config.data.source, data, split) if named_protocol else data.split(split)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rank, world = _rank_and_world_size()
    model = run.model().to(device)
    use_engine(model.backbone, run.config, len(rows), device, say or (lambda line: None), views=True)
    transform = build_transform(run.config.transform(), train=False)
    frequencies = frequencies_of(run.path, run.labels.names, run.config.frequency_bounds)
    loader = eval_loader(rows, transform, batch_size=batch_size, workers=workers, rank=rank, world=world)
    try:
        result = evaluate_model(
            run,
            rows,
            loader,
            model,
            device,
            split,
            angles=angles,
            pointing=pointing,
            frequencies=frequencies,
            taken_over=labels_taken_over(run.path),
            engine=engine_name(model.backbone),
        )
    finally:
        loader.close()
    fit = (
        fit_of(run.decisions(), run.labels, run.config.init_from, result.scores, split) if cross_fit else None
    )
    if fit is not None:
        result = result.again(run, fit)
        in_sample = {name for name in result.metrics if name.startswith("pointing_found")}  # not cross-fitted
        result = replace(result, metrics={n: v for n, v in result.metrics.items() if n not in in_sample})
    result = replace(result, conditions={**result.conditions, **_training_overlap(run, data, rows, split)})
    return result if named_protocol is None else _under_protocol(named_protocol, result, run, data, rows)


def _training_overlap(run: Run, data: Dataset, rows: Dataset, split: str) -> dict[str, Any]:
    """How many images the run was trained on, with a note if there are any; `None` if it cannot be determined."""
    source = run.config.data.source
    try:
        run_data = data if data.source == source and "train" in data.splits() else read(source)
        train = ensure_splits(run_data, seed=run.config.seed).split("train")
    except (LabelwiseError, OSError):
        return {"seen_in_training": None}
    return seen_in_training(train, rows, split)


def _under_protocol(protocol: Protocol, result: Result, run: Run, data: Dataset, rows: Dataset) -> Result:
    """The result with the conditions and metrics of a named protocol."""
    conditions = protocol.conditions(run.config.data.source, data, rows)
    return replace(
        result,
        protocol={**result.protocol, **conditions},
        metrics={**result.metrics, **replace_nan(protocol.figures(result.scores))},
    )


def evaluate_model(
    run: Run,
    rows: Dataset,
    loader: Any,
    model: LabelModel,
    device: torch.device,
    split: str,
    *,
    angles: bool = False,
    pointing: bool = True,
    frequencies: Frequencies | None = None,
    taken_over: int = 0,
    engine: str = EAGER,
) -> Result:
    """Metrics of a model over a loader of the rows; see `evaluate`.

    Args:
        frequencies: of the labels in training, for the metrics of the head, medium and tail labels.
        taken_over: labels that a grown run took over, for their metrics apart from those of the added labels.
        engine: name of the engine that runs the backbone.
    """
    decisions = run.decisions()
    evidence = Evidence(rows, run.config.transform(), decisions) if pointing else None
    report = AngleReport() if angles else None
    classifier = model.classifier
    if angles and not isinstance(classifier, PerLabelClassifier):
        raise LabelwiseError(
            f"angles of {run.config.method}",
            "a method with a linear classifier per label",
            "leave --angles out",
        )

    def watch(batch: Batch, output: Output) -> None:
        if evidence is not None:
            evidence.update(batch, output)
        if report is not None and isinstance(classifier, PerLabelClassifier):
            # Taught labels have no classifier of a label feature.
            classified = slice(len(classifier.rows()[1]))
            values, known = batch.targets.values[:, classified], batch.targets.known[:, classified]
            report.update(output.features[:, classified], *classifier.rows(), values, known)

    scores = collect(model, loader, rows, device, watch if evidence or report else None)
    metrics, per_label = figures(scores, run.labels.names, decisions)
    if evidence is not None:
        evidence.add_to(metrics, per_label)
    if frequencies is not None:
        metrics["frequency"] = frequencies.figures(per_label, metrics["labels_without_AP"])
        for name, count in frequencies.named(run.labels.names).items():
            per_label[name][COUNTS] = count
    if taken_over:
        metrics["growth"] = growth_figures(per_label, taken_over, metrics["labels_without_AP"])
    if run.labels.groups:
        metrics["groups"] = replace_nan(group_figures(scores, run.labels))
    angle_data = AngleReport.joined(gather(report)).compute() if report is not None else None
    return Result(
        dict(RULES), metrics, per_label, _conditions(run, rows, scores, split, engine), scores, angle_data
    )


def _conditions(run: Run, rows: Dataset, scores: Scores, split: str, engine: str) -> dict[str, Any]:
    """Everything that the figures depend on, for the record."""
    config: Config = run.config
    ids = "\n".join(rows.image_id(i) for i in range(len(rows)))
    return {
        "data": rows.source,
        "split": split,
        "images": len(rows),
        "scored": len(scores.rows),
        "unreadable": len(scores.unreadable),
        "image_ids_sha256": hashlib.sha256(ids.encode("utf-8", "surrogateescape")).hexdigest()[:16],
        "labels": len(rows.labels),
        "data_notes": list(rows.notes),
        "method": config.method,
        **({"controls": config.controls} if config.controls else {}),
        "backbone": config.backbone.name,
        "backbone_weights": config.backbone.weights,
        "frozen_backbone": config.backbone.freeze,
        "image_size": list(config.transform().size) if config.image_width else config.image_size,
        "resize": f"{config.augment.resize}, bicubic, antialiased",
        "loss": config.loss,
        "weights_evaluated": f"{WEIGHTS}, {'averaged (EMA)' if config.ema else 'raw'}",
        "test_time_augmentation": config.test_time,
        "seed": config.seed,
        **decision_conditions(run.decisions(), False),
        "precision": "fp32",
        "engine": engine,
        "labelwise_commit": code_version(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _rank_and_world_size() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
