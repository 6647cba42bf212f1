"""Exports a run to an artefact and checks it against the run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from labelwise.errors import LabelwiseError
from labelwise.evaluation.labels import same_labels
from labelwise.export.accuracy import Accuracy, measure_accuracy
from labelwise.export.artefact import PRECISIONS, WEIGHTS_DIGEST, Artefact, Preprocessing, seal, sha256
from labelwise.export.card import card_of, portable_decisions
from labelwise.export.engines import Eager, fastest, installed_runtimes, open_engine
from labelwise.export.graph import FILES, program, require, write_graph
from labelwise.export.nncf_int8 import quantise_openvino
from labelwise.export.parity import Parity, batches_of, compare, compare_batches
from labelwise.export.photographs import batches, calibration_batches, judged_rows, readable, source_of
from labelwise.export.precision import OFFERED, quantise, require_precision
from labelwise.export.runtimes import Engine
from labelwise.export.tagger import write_tagger
from labelwise.export.timm_layout import write_timm
from labelwise.training.run import WEIGHTS, Run

AUTO = "auto"
COMPARED, JUDGED, CALIBRATED = 64, 2_000, 128


@dataclass(frozen=True)
class Export:
    """The result of an export.

    Args:
        artefact: the folder.
        parity: comparison with the run: by outputs in fp32, by mAP in a lower precision.
        seconds: with `auto`, seconds per image of each engine that passed, and of the run's own.
        refused: with `auto`, the reason for each rejected candidate.
    """

    artefact: Artefact
    parity: Parity | Accuracy
    seconds: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def export_run(
    run: Run | str | Path,
    out: str | Path,
    format: str = "onnx",
    *,
    precision: str = "fp32",
    data: str | None = None,
    images: int | None = None,
    maps: bool = True,
    features: bool = False,
    tagger: bool = False,
    transformers: bool = False,
) -> Export:
    """Writes a run as an artefact, after its outputs on real images were compared with the run's.

    Args:
        run: a finished run or its folder.
        out: a new or empty folder.
        format: `onnx`, `openvino`, `torch`, or `auto`, the fastest on this machine.
        precision: `fp32`; `bf16` or `int8`, which must keep the run's average precision within the bounds of
            `export.accuracy`; or `auto`, the fastest.
        data: SOURCE of the images for the comparison and the int8 calibration; `None` uses the run's own.
        images: number of images to compare; `None` uses 64 in fp32, up to 2,000 in a lower precision.
        maps: whether the graph also returns the evidence maps.
        features: whether it also returns label features, so that `embed` and `search` accept it; in fp32, with maps.
        tagger: also write the layout of community taggers, as `tagger/`.
        transformers: also write the layout that timm and transformers load, as `transformers/`.

    Raises:
        LabelwiseError: no images to compare on, a model that the format cannot express, or different outputs.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    out = Path(out)
    candidates = wanted(format, precision)
    if features and (precision != "fp32" or not maps):
        raise LabelwiseError(
            f"label features {'without maps' if not maps else 'in another precision'}",
            "maps, for the boxes of a collection, and fp32, in which features are compared",
            "leave out --no-maps and --precision",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LabelwiseError(f"{out}, which holds something", "a new folder", "choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        bench = Bench(run, part, data, images, maps, features)
        best = _best(bench, candidates, timed=AUTO in (format, precision))
        if tagger:
            write_tagger(run, best.artefact.path / "tagger", bench.photos)
        if transformers:
            write_timm(run, best.artefact.path / "transformers", bench.photos)
        if tagger or transformers:
            seal(best.artefact.path)
        os.replace(best.artefact.path, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Export(Artefact.open(out), best.parity, best.seconds, best.refused)


def wanted(format: str, precision: str) -> list[tuple[str, str]]:
    """Candidate formats with their precisions, fp32 first; an explicit but unavailable one raises an error."""
    if format != AUTO:
        require(format)
    if precision != AUTO:
        require_precision(precision, None if format == AUTO else format)
    kinds = FILES if format == AUTO else (format,)
    precisions = PRECISIONS if precision == AUTO else (precision,)
    return [(kind, p) for p in precisions for kind in kinds if kind in OFFERED[p]]


@dataclass
class Bench:
    """Creates graphs of a run and compares them with it.

    Args:
        run: the run to export.
        part: working folder, created if needed.
        data: SOURCE of images; `None` for the run's own.
        images: number of images to compare; `None` for the default.
        maps: whether the graphs return maps.
        features: whether they return features.
    """

    run: Run
    part: Path
    data: str | None
    images: int | None
    maps: bool
    features: bool = False

    def __post_init__(self) -> None:
        self.source = source_of(self.run, self.data)
        rows = judged_rows(self.source)
        first = islice(readable(self.run, rows), self.images or COMPARED)
        self.photos = [(rows.image_id(i), image) for i, image in first]
        if not self.photos:
            raise LabelwiseError(
                f"{rows.source} without a readable image", "at least one", "give --data SOURCE"
            )
        self.decisions, self.eager = portable_decisions(self.run), Eager(self.run.model(), "cpu")

    def make(self, kind: str, precision: str) -> tuple[Artefact, Engine]:
        """Writes a graph to its own folder and opens it.

        Raises:
            LabelwiseError: the format is unavailable on this machine or for this model.
        """
        require(kind)
        require_precision(precision, kind)
        folder = self.part / f"{kind}-{precision}"
        if precision == "int8":
            source = self._plain("onnx") / FILES["onnx"]
            folder.mkdir()
            write = quantise_openvino if kind == "openvino" else quantise
            write(source, folder / FILES[kind], self._calibration())
        elif precision == "bf16":
            shutil.copytree(self._plain(kind), folder)
        else:
            self._plain(kind)
        artefact = Artefact(
            folder,
            kind,
            FILES[kind],
            self.run.labels,
            preprocessing(self.run, self.eager),
            self.decisions,
            self.maps,
            card_of(self.run),
            precision=precision,
            test_time=self.run.config.test_time,
            has_features=self.features,
        )
        if self.features:
            artefact.card[WEIGHTS_DIGEST] = sha256(self.run.path / WEIGHTS)
        return artefact, open_engine(artefact)

    def judge(self, artefact: Artefact, engine: Engine) -> Parity | Accuracy:
        """Compares a graph with the run.

        Raises:
            LabelwiseError: different outputs, or a different mAP.
        """
        runtimes = self.runtimes(artefact.kind)
        if artefact.precision != "fp32":
            return self.accuracy(engine).demand(engine.name)
        names = self.run.labels.names
        parity = compare(self.eager, engine, batches_of(self.photos), self.decisions, names)
        return replace(parity, runtimes=runtimes)

    def runtimes(self, kind: str) -> dict[str, float | str]:
        """The differences of the fp32 graph in each installed runtime, see `compare_batches`."""
        opened = installed_runtimes(kind, self._plain(kind) / FILES[kind], self.maps, self.features)
        return compare_batches(self.eager, opened, self.photos, self.decisions, self.run.labels.names)

    def accuracy(self, engine: Engine) -> Accuracy:
        """The mAP of an engine on labelled images, compared with the run's.

        Raises:
            LabelwiseError: labels that differ from the run's, or no labelled image.
        """
        rows = judged_rows(same_labels(self.source, self.run.labels.names))
        labelled = batches(islice(readable(self.run, rows), self.images or JUDGED))
        return measure_accuracy(self.eager, engine, labelled, rows, self.decisions)

    def _plain(self, kind: str) -> Path:
        """The folder of the fp32 graph, which is written once."""
        folder = self.part / f"{kind}-fp32"
        if not folder.exists():
            folder.mkdir(parents=True)
            write_graph(self._program, kind, folder)
        return folder

    @cached_property
    def _program(self) -> Any:
        return program(self.eager.model, self.run.config.transform().input_size, self.maps, self.features)

    def _calibration(self) -> Any:
        return calibration_batches(self.run, self.source.split("train"), CALIBRATED)


def _best(bench: Bench, wanted: Sequence[tuple[str, str]], timed: bool) -> Export:
    """The fastest candidate that agrees with the run; if none does, the first error is raised."""
    passed: dict[str, tuple[Artefact, Parity | Accuracy]] = {}
    engines: list[Engine] = []
    refused: dict[str, LabelwiseError] = {}
    for kind, precision in wanted:
        try:
            artefact, engine = bench.make(kind, precision)
            passed[engine.name] = artefact, bench.judge(artefact, engine)
            engines.append(engine)
        except LabelwiseError as error:
            refused[f"{kind} in {precision}"] = error
    if not engines:
        raise next(iter(refused.values()))
    winner = engines[0]
    seconds: dict[str, float] = {}
    if timed:
        batch = torch.stack([image for _, image in bench.photos[:8]])
        winner, seconds = fastest(engines, batch)
        seconds |= fastest([bench.eager], batch)[1]
    artefact, parity = passed[winner.name]
    artefact.card.update(_card_entries(winner, parity, seconds))
    artefact.save()
    return Export(artefact, parity, seconds, {name: error.given for name, error in refused.items()})


def _card_entries(engine: Engine, parity: Parity | Accuracy, seconds: dict[str, float]) -> dict[str, Any]:
    entries: dict[str, Any] = {"export": {"engine": engine.name, "torch": torch.__version__}}
    entries["parity"] = parity.to_json()
    return entries | ({"seconds_per_image": seconds} if seconds else {})


def preprocessing(run: Run, eager: Eager) -> Preprocessing:
    """A run's preprocessing, with the normalisation of its backbone."""
    backbone: Any = eager.model.backbone
    transform = run.config.transform()
    mean, std = (tuple(t.flatten().tolist()) for t in (backbone.mean, backbone.std))
    larger = transform.sizes[1] if len(transform.sizes) > 1 else None
    return Preprocessing(transform.size, transform.resize, mean, std, transform.bits, larger)
